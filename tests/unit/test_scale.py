"""The simulation of docs/scale.md agrees with the template, and with what it must show."""

from typing import Any

import pytest

from tests.bench.scale import FIRST_POLLERS, OURS, PLAIN, bill, simulate
from tests.unit.test_template import TEMPLATE, defaults, events


def test_the_simulation_has_the_shipped_defaults() -> None:
    ((function, event),) = events("SQS")
    memory: Any = function.get("MemorySize", TEMPLATE["Globals"]["Function"]["MemorySize"])

    assert OURS.batch == event["BatchSize"]
    assert OURS.window_s == event["MaximumBatchingWindowInSeconds"]
    assert OURS.concurrency == TEMPLATE["Parameters"]["QueueConcurrency"]["Default"]
    assert OURS.threads == defaults().threads
    assert OURS.memory_gb * 1024 == memory


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
