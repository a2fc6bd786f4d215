"""The metrics that functions record: what alarms and dashboard show."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.stacks.local_metrics import figures_in
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.table import Table
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN
from tests.functional.scripted import Reply, scripted

STACK = "ticket-bridge"
ADD = {"operation": "add", "ticket": {"title": "counted"}}

type HelpdeskMetrics = Mapping[tuple[str, ...], Mapping[str, list[float]]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str, clock: Clock) -> Iterator[Deployment]:
    with mock_aws():
        yield Deployment(monkeypatch, kapture_url, TOKEN, clock=clock, KAPTURE_BUDGET="100")


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Callable[[], HelpdeskMetrics]:
    """Figures since the last look, by their dimensions, read as CloudWatch reads them."""

    def read() -> HelpdeskMetrics:
        figures: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for line in capsys.readouterr().out.splitlines():
            for namespace, figure in figures_in(line):
                assert namespace == "TicketBridge"
                # Those of the whole stack have the stack's name alone.
                names = {dimension["Name"]: dimension["Value"] for dimension in figure.get("Dimensions", [])}
                key = (names["helpdesk"],) if "helpdesk" in names else ()
                assert names.keys() <= {"service", "helpdesk"}
                figures[key][figure["MetricName"]] += figure["Values"]
        return figures

    return read


def test_each_end_and_wait_is_counted_for_its_helpdesk_in_one_line(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    # None is answered before all have come: a failure would hold back those that come later.
    together = threading.Barrier(4)
    added = Reply(body={"status": "success", "ticket_id": "1"}, together=together)
    lost, busy = Reply(500, together=together), Reply(429, together=together)
    with scripted(added, added, lost, busy) as helpdesk:
        deployment.set(KAPTURE_URL=helpdesk.url)
        deployment.send({"operation": "add"}, *[ADD] * 4)
        deployment.consume()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    (line,) = [line for line in lines if "helpdesk" in line]
    assert {name: line[name] for name in ("Succeeded", "Rejected", "Unknown", "Deferred")} == {
        "Succeeded": [1, 1],
        "Rejected": [1],
        "Unknown": [1],
        "Deferred": [1],
    }
    assert len(line["RequestMilliseconds"]) == 4, "what was never tried has no time"
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["helpdesk", "service"]]


def test_the_oldest_request_without_an_end_is_told_with_its_age(
    deployment: Deployment, kapture: KaptureSimulator, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=429, headers={"Retry-After": "1"})))
    deployment.send(ADD)
    clock.let_pass(5000)
    deployment.consume()

    (age,) = logged()[()]["OldestSeconds"]
    assert 5000 <= age < 5100


def test_each_run_tells_how_it_stands_with_zeros_where_all_is_well(
    deployment: Deployment, logged: Callable[[], HelpdeskMetrics]
) -> None:
    deployment.resolve_doubts()

    figures = logged()
    assert figures[()] == {
        "Checked": [1],
        "TokenRefused": [0],
        "ZoneContradicted": [0],
        "Paused": [0],
        "DownSeconds": [0],
        "DoubtSeconds": [0],
        "OldestSeconds": [0],
    }
    assert figures[("kapture",)] == {"GateClosed": [0], "InDoubt": [0], "BudgetPercent": [0]}


def test_a_refused_token_is_told_until_it_works_again_without_any_request(
    deployment: Deployment, kapture: KaptureSimulator, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    kapture.token = "another"
    deployment.call("GET", "/tickets/1")
    assert logged()[()]["TokenRefused"] == [1]
    for _ in range(3):
        clock.let_pass(60)
        deployment.resolve_doubts()
        figures = logged()
        assert (figures[()]["TokenRefused"], figures[()]["DownSeconds"]) == ([1], [0])
        assert (figures[("kapture",)]["GetKeyRefused"], figures[("kapture",)]["GateClosed"]) == ([1], [0])

    deployment.put_token("another")
    clock.let_pass(60)
    deployment.resolve_doubts()

    figures = logged()
    assert figures[()]["TokenRefused"] == [0]
    assert "GetKeyRefused" not in figures[("kapture",)]
    assert kapture.tickets == []


def test_an_outage_is_told_with_its_length_and_its_end(
    deployment: Deployment, kapture: KaptureSimulator, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=503, headers={"Retry-After": "30"})))
    deployment.call("GET", "/tickets/1")
    for minute in range(1, 7):
        clock.let_pass(60)
        deployment.resolve_doubts()
        (down_s,) = logged()[()]["DownSeconds"]
        assert 60 * minute <= down_s < 60 * minute + 30

    kapture.faults.clear()
    clock.let_pass(60)
    deployment.resolve_doubts()

    assert logged()[()]["DownSeconds"] == [0]


def test_one_probe_a_minute_is_all_that_a_closed_gate_costs(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    kapture.token = "another"
    deployment.call("GET", "/tickets/1")
    before = len(kapture.calls)
    for _ in range(5):
        deployment.resolve_doubts()
    assert len(kapture.calls) == before, "the next probe is not due yet"

    clock.let_pass(61)
    for _ in range(5):
        deployment.resolve_doubts()

    assert len(kapture.calls) - before == 1


def test_a_pause_is_told_and_not_probed(
    deployment: Deployment, kapture: KaptureSimulator, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    gate = Gate(Table(deployment.dynamodb, "ledger"), "kapture", Budget())
    gate.pause()
    clock.let_pass(100)
    deployment.resolve_doubts()

    assert (logged()[()]["Paused"], kapture.calls) == ([1], [])

    gate.resume()
    deployment.resolve_doubts()
    assert logged()[()]["Paused"] == [0]


def test_doubts_are_told_with_their_number_and_the_age_of_the_oldest(
    deployment: Deployment, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    # The first answer comes when both have been asked for: it would hold back what comes later.
    lost = Reply(500, together=threading.Barrier(2))
    with scripted(lost, lost) as helpdesk:
        deployment.set(KAPTURE_URL=helpdesk.url)
        deployment.send(ADD, ADD)
        deployment.consume()
        logged()
        clock.let_pass(300)
        # It shows no list either.
        deployment.resolve_doubts()

    figures = logged()
    assert figures[("kapture",)]["InDoubt"] == [2]
    (oldest,) = figures[()]["DoubtSeconds"]
    assert 300 <= oldest < 330
    assert figures[()]["OldestSeconds"] == [oldest]


def test_the_budget_is_told_as_the_share_that_the_last_period_has_drawn(
    deployment: Deployment, logged: Callable[[], HelpdeskMetrics], clock: Clock
) -> None:
    deployment.send(*[ADD] * 10)
    deployment.consume()
    logged()
    deployment.resolve_doubts()
    assert logged()[("kapture",)]["BudgetPercent"] == [10]

    clock.let_pass(120)
    deployment.resolve_doubts()

    assert logged()[("kapture",)]["BudgetPercent"] == [0]


def test_what_is_no_figure_is_left_alone() -> None:
    lines: list[Any] = ["START RequestId: 1", '{"message": "x"}', '{"_aws"', ""]
    assert [figure for line in lines for figure in figures_in(line)] == []
