"""The simulation of docs/scale.md agrees with the template, and with what it must show."""

from typing import Any

import pytest

from tests.bench.scale import (
    FIRST_POLLERS,
    IN_FLIGHT,
    OURS,
    PLAIN,
    beside,
    bill,
    bursts,
    cold_starts,
    drain,
    simulate,
)
from tests.documented import ROOT
from tests.formation import Formation
from tests.unit.test_template import TEMPLATE, defaults, events, of_type


def test_the_simulation_has_the_shipped_defaults() -> None:
    ((function, event),) = events("SQS")
    memory: Any = function.get("MemorySize", TEMPLATE["Globals"]["Function"]["MemorySize"])

    assert OURS.batch == event["BatchSize"]
    assert OURS.window_s == event["MaximumBatchingWindowInSeconds"]
    assert OURS.concurrency == TEMPLATE["Parameters"]["QueueConcurrency"]["Default"]
    assert OURS.threads == defaults().threads
    assert OURS.memory_gb * 1024 == memory


def test_the_fixed_cost_is_that_of_what_the_template_makes() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    values = {name: about.get("Default", "") for name, about in TEMPLATE["Parameters"].items()}
    made = Formation(values, TEMPLATE["Conditions"]).made(TEMPLATE["Resources"])
    types = [resource["Type"] for resource in made.values()]
    alarms = types.count("AWS::CloudWatch::Alarm")
    # A form's secret is made by its operator.
    secrets = types.count("AWS::SecretsManager::Secret") + 1

    assert f"| {alarms} alarms, 0.10 each | {alarms * 0.10:.2f} |" in page
    assert f"| {secrets} secrets, 0.40 each | {secrets * 0.40:.2f} |" in page
    assert f"**{9.30 + alarms * 0.10 + secrets * 0.40 + 0.30 + 0.10:.2f}**" in page


def test_two_hundred_a_second_go_through_the_shipped_defaults() -> None:
    course = simulate(OURS, 200, 600)

    assert course.requests == 200 * 600
    assert course.percentile(0.99) < 5
    assert course.ended_at < 605


@pytest.mark.parametrize("rate", [1, 100])
def test_a_million_requests_cost_no_more_than_by_a_plain_handler(rate: int) -> None:
    ours, plain = (sum(bill(worker, simulate(worker, rate, 600)).values()) for worker in (OURS, PLAIN))

    assert ours < plain


def test_no_more_batches_run_at_once_than_the_template_allows() -> None:
    assert simulate(OURS, 10_000, 10).most_at_once == OURS.concurrency == FIRST_POLLERS


def test_one_helpdesk_that_is_down_leaves_the_other_alone_until_too_many_wait() -> None:
    fewer, more = beside(110_000), beside(180_000)

    assert fewer.in_flight < IN_FLIGHT
    assert fewer.most_within_s < 60
    # An outage of an hour at fifty a second: the other one is slower, and goes on.
    assert more.in_flight == IN_FLIGHT
    assert 60 < more.half_within_s < more.most_within_s < 15 * 60


def test_the_alarm_comes_before_too_many_are_in_flight() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["ManyWaitAlarm"]

    assert alarm["MetricName"] == "ApproximateNumberOfMessagesNotVisible"
    assert 0.5 * IN_FLIGHT < alarm["Threshold"] < IN_FLIGHT


def test_what_waits_for_a_helpdesk_is_not_taken_for_a_queue_that_nobody_reads() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["QueueUnreadAlarm"]

    # Two waits, each a tenth longer than the longest: received three times by then, it does not count.
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Threshold"] > 2 * 1.1 * defaults().max_delay_s


def test_a_steady_load_meets_no_cold_start_and_a_burst_meets_one_for_each_batch() -> None:
    assert cold_starts(OURS, bursts(1, 1, hours=1)) < 1
    assert cold_starts(OURS, bursts(25, 600)) == 1000 / OURS.batch
    assert cold_starts(OURS, bursts(25, 60)) < 1


def test_what_waited_through_an_outage_has_ended_within_its_longest_delay() -> None:
    drained = drain(OURS, 180_000, 50)

    assert drained.half < drained.all <= defaults().max_delay_s / 60
    # New requests wait behind what was visible already.
    assert 0 < drained.newest_waits < drained.half
