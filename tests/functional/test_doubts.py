"""Adds whose answer was lost: said, looked up, and never made twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN

ADD = {"operation": "add", "request_id": "r-1", "ticket": {"title": "lost answer"}}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str) -> Iterator[Deployment]:
    with mock_aws():
        yield Deployment(monkeypatch, kapture_url, TOKEN, SETTLE_AFTER_S="0")


def _types(deployment: Deployment) -> list[str]:
    return [event["type"] for event in deployment.outcomes()]


def test_a_lost_answer_is_said_to_be_unknown_then_found_and_told_once(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(ADD)

    assert len(deployment.consume()) == 1
    assert _types(deployment) == ["ticket.unknown"]
    assert deployment.resolve_doubts()["found"] == 1
    deployment.show_all()
    assert deployment.consume() == []

    [event] = deployment.outcomes()
    assert event["type"] == "ticket.added"
    assert event["data"]["ticket_id"] == kapture.tickets[0].ticket_id
    assert len(kapture.tickets) == 1
    assert deployment.waiting() == 0


def test_an_add_that_never_arrived_is_made_once_a_look_up_shows_that_it_is_absent(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    deployment.send(
        {"operation": "add", "request_id": "r-0", "ticket": {"title": "shows that markers come back"}}
    )
    deployment.consume()
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="before")))
    deployment.send(ADD)
    deployment.consume()
    assert _types(deployment) == ["ticket.added", "ticket.unknown"]

    assert deployment.resolve_doubts()["absent"] == 1
    deployment.show_all()
    deployment.consume()

    assert _types(deployment) == ["ticket.added"]
    assert [ticket.title for ticket in kapture.tickets].count("lost answer") == 1


def test_marker_not_returned_parks_and_never_makes_a_second_ticket(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.switches = kapture.switches.model_copy(update={"marker_returned": False})
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(ADD)
    deployment.consume()

    assert deployment.resolve_doubts()["parked"] == 1
    deployment.show_all()
    deployment.consume()

    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]
    assert len(kapture.tickets) == 1
    [letter] = deployment.dead_letters()
    assert letter["code"] == "outcome_unknown"
    assert deployment.waiting() == 0


# ── settings that change, or are wrong, while something is in doubt ──────────────────────────────────────


def _with_a_marker_back(deployment: Deployment) -> None:
    """A marker has come back."""
    deployment.send(
        {"operation": "add", "request_id": "r-0", "ticket": {"title": "shows that markers come back"}}
    )
    deployment.consume()
    deployment.outcomes()


def test_an_add_without_a_marker_is_not_made_again_after_markers_are_switched_on(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    deployment.set(MARKER_FIELD="off")
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(ADD)
    deployment.consume()
    deployment.set(MARKER_FIELD="details")
    _with_a_marker_back(deployment)

    assert deployment.resolve_doubts()["parked"] == 1
    deployment.show_all()
    deployment.consume()

    assert [ticket.title for ticket in kapture.tickets].count("lost answer") == 1


def test_a_marker_that_comes_back_out_of_one_field_says_nothing_of_another(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    _with_a_marker_back(deployment)
    # The markers of the tickets before still show in their details.
    deployment.set(MARKER_FIELD="extra:hidden")
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="before")))
    deployment.send(ADD)
    deployment.consume()

    assert deployment.resolve_doubts()["parked"] == 1


def _wrong_zone(kapture: KaptureSimulator) -> str:
    """A zone in which it is another day now than at the helpdesk."""
    now = datetime.now(UTC)
    here = now.astimezone(kapture.zone).date()
    zones = ("Etc/GMT+12", "Pacific/Kiritimati")
    return next(zone for zone in zones if now.astimezone(ZoneInfo(zone)).date() != here)


def test_a_ticket_is_found_where_the_zone_in_the_settings_is_wrong(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    deployment.set(KAPTURE_ZONE=_wrong_zone(kapture))
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(ADD)
    deployment.consume()

    assert deployment.resolve_doubts()["found"] == 1
    assert len(kapture.tickets) == 1


def test_while_the_zone_is_contradicted_nothing_counts_as_absent(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    test_a_ticket_is_found_where_the_zone_in_the_settings_is_wrong(deployment, kapture)
    _with_a_marker_back(deployment)
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="before")))
    deployment.send(ADD | {"request_id": "r-2"})
    deployment.consume()
    assert deployment.resolve_doubts()["waiting"] == 1

    # Another zone has not been contradicted.
    deployment.set(KAPTURE_ZONE="Asia/Kolkata")
    assert deployment.resolve_doubts()["absent"] == 1


def test_a_day_that_cannot_be_listed_does_not_stand_before_the_others(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    clock = Clock()
    clock.pass_until_noon(kapture.zone)
    kapture.clock = deployment.clock = clock
    deployment.restart()
    _with_a_marker_back(deployment)
    tomorrow = (datetime.fromtimestamp(clock(), kapture.zone) + timedelta(days=1)).date()
    kapture.faults.add(FaultRule(operation="pull", match=str(tomorrow), fault=Fault(status=500)))
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="before")))
    deployment.send(ADD)
    deployment.consume()
    assert deployment.resolve_doubts()["waiting"] == 1
    # One that succeeds opens the gate.
    deployment.send(ADD | {"request_id": "r-1b"})
    deployment.consume()
    deployment.send(ADD | {"request_id": "r-2"})
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.consume()

    assert deployment.resolve_doubts()["found"] == 1


def test_an_update_of_the_future_is_refused_and_keeps_no_other_out(deployment: Deployment) -> None:
    later = {"operation": "update", "ticket_id": "1", "changes": {"sub_status": "PS"}}
    deployment.send(later | {"request_id": "far", "occurred_at": "9999-12-31T00:00:00Z"})

    assert deployment.consume() == []

    [event] = deployment.outcomes()
    assert event["data"]["errors"] == [{"field": "occurred_at", "problem": "must not lie in the future"}]


def test_look_ups_of_a_run_are_bounded(deployment: Deployment, kapture: KaptureSimulator) -> None:
    deployment.set(DOUBT_CALLS="1")
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="before")))
    deployment.send(ADD)
    deployment.consume()
    before = [call.operation for call in kapture.calls].count("pull")

    assert deployment.resolve_doubts()["waiting"] == 1

    assert [call.operation for call in kapture.calls].count("pull") - before == 1


# ── comments, where the account shows them ───────────────────────────────────────────────────────────────


@pytest.fixture
def shown(deployment: Deployment, kapture: KaptureSimulator) -> str:
    """A ticket of an account that shows comments, and has shown a marker in one."""
    kapture.switches = KaptureSwitches(notes_returned=True)
    deployment.set(KAPTURE_COMMENTS_READABLE="true")
    _with_a_marker_back(deployment)
    ticket_id = kapture.tickets[0].ticket_id
    deployment.send(_comment(ticket_id, "said before") | {"request_id": "before"})
    deployment.consume()
    deployment.outcomes()
    return ticket_id


def _comment(ticket_id: str, text: str) -> dict[str, Any]:
    changes = {"sub_status": "RS", "comment": text}
    return {"operation": "update", "request_id": "u-1", "ticket_id": ticket_id, "changes": changes}


def _said(kapture: KaptureSimulator) -> list[str]:
    return [comment.partition("\n")[0] for comment in kapture.tickets[0].comments]


@pytest.mark.parametrize(("when", "settled"), [("before", "absent"), ("after", "found")])
def test_a_comment_whose_answer_was_lost_is_looked_up_and_written_once(
    deployment: Deployment, kapture: KaptureSimulator, shown: str, when: Any, settled: str
) -> None:
    kapture.faults.add(FaultRule(operation="update", times=1, fault=Fault(reset=when)))
    deployment.send(_comment(shown, "said once"))
    deployment.consume()
    assert _types(deployment) == ["ticket.unknown"]

    assert deployment.resolve_doubts()[settled] == 1
    deployment.show_all()
    deployment.consume()

    [event] = deployment.outcomes()
    assert (event["type"], event["data"]["ticket_id"]) == ("ticket.updated", shown)
    assert _said(kapture) == ["said before", "said once"]
    assert kapture.tickets[0].sub_status == "RS"
    assert deployment.waiting() == 0


def test_a_comment_that_was_found_makes_no_call_and_so_opens_no_gate(
    deployment: Deployment, kapture: KaptureSimulator, shown: str
) -> None:
    for operation in ("update", "add"):
        kapture.faults.add(FaultRule(operation=operation, fault=Fault(reset="after")))
    deployment.send(_comment(shown, "said once"))
    deployment.consume()
    assert _types(deployment) == ["ticket.unknown"]
    assert deployment.resolve_doubts()["found"] == 1
    deployment.show_all()
    deployment.consume()
    assert _types(deployment) == ["ticket.updated"]

    deployment.send(*({**ADD, "request_id": f"add-{number}"} for number in range(5)))
    deployment.consume()

    assert _types(deployment) == ["ticket.unknown"], "one request goes first"


def test_a_comment_waits_while_its_ticket_is_not_shown(
    deployment: Deployment, kapture: KaptureSimulator, shown: str
) -> None:
    kapture.switches = KaptureSwitches(notes_returned=True, get_lag_s=3600)
    kapture.faults.add(FaultRule(operation="update", times=1, fault=Fault(reset="after")))
    deployment.send(_comment(shown, "said once"))
    deployment.consume()
    assert deployment.resolve_doubts()["waiting"] == 1

    kapture.switches = KaptureSwitches(notes_returned=True)
    assert deployment.resolve_doubts()["found"] == 1


def test_a_comment_without_a_marker_is_parked_after_comments_become_readable(
    deployment: Deployment, kapture: KaptureSimulator, shown: str
) -> None:
    deployment.set(KAPTURE_COMMENTS_READABLE="false")
    kapture.faults.add(FaultRule(operation="update", times=1, fault=Fault(reset="after")))
    deployment.send(_comment(shown, "said once"))
    deployment.consume()
    deployment.set(KAPTURE_COMMENTS_READABLE="true")
    # Shows that markers of comments come back.
    deployment.send(_comment(shown, "said after") | {"request_id": "after"})
    deployment.consume()

    assert deployment.resolve_doubts()["parked"] == 1
    assert _said(kapture) == ["said before", "said once", "said after"]


def test_an_update_with_extra_alone_is_parked_though_comments_are_readable(
    deployment: Deployment, kapture: KaptureSimulator, shown: str
) -> None:
    kapture.faults.add(FaultRule(operation="update", times=1, fault=Fault(reset="before")))
    changes = {"sub_status": "RS", "extra": {"order": [{"number": "5"}]}}
    deployment.send({"operation": "update", "request_id": "u-1", "ticket_id": shown, "changes": changes})
    deployment.consume()

    assert deployment.resolve_doubts()["parked"] == 1


# ── how late a helpdesk shows its tickets ────────────────────────────────────────────────────────────────


class _Late:
    """An account whose lists lack new tickets for a while, and the time that a test lets pass."""

    def __init__(self, deployment: Deployment, kapture: KaptureSimulator, clock: Clock) -> None:
        self._deployment = deployment
        self._kapture = kapture
        self._clock = clock

    def lose(self, request_id: str, *, when: Literal["before", "after"]) -> None:
        """An add whose answer is lost, before or after it was carried out."""
        self._kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset=when)))
        self._deployment.send(ADD | {"request_id": request_id})
        self._deployment.consume()

    def settled(self, *, after_s: float, shows: bool = True) -> dict[str, int]:
        """What a run settles so many seconds later, in which lists show new tickets or lack them."""
        self._clock.let_pass(after_s)
        lag = {"pull_lag_s": 0.0 if shows else 100_000.0}
        self._kapture.switches = self._kapture.switches.model_copy(update=lag)
        return {name: number for name, number in self._deployment.resolve_doubts().items() if number}


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch, kapture: KaptureSimulator, kapture_url: str) -> Iterator[_Late]:
    clock = Clock()
    with mock_aws():
        yield _Late(
            Deployment(monkeypatch, kapture_url, TOKEN, clock=clock, SETTLE_AFTER_S="10"), kapture, clock
        )


@pytest.mark.parametrize(
    ("delay_s", "absent_s"),
    # The lists are at 0 and at `delay_s`. Calls and runs take a moment of true time.
    [
        pytest.param(5, 60, id="floor"),
        pytest.param(100, 200, id="twice"),
        pytest.param(3600, 240, id="apart"),
    ],
)
def test_nothing_is_absent_before_twice_the_longest_delay_that_was_seen(
    late: _Late, delay_s: float, absent_s: float
) -> None:
    late.lose("late", when="after")
    assert late.settled(after_s=0, shows=False) == {"waiting": 1}
    assert late.settled(after_s=delay_s) == {"found": 1}
    late.lose("never", when="before")

    assert late.settled(after_s=absent_s - 5) == {"waiting": 1}
    assert late.settled(after_s=15) == {"absent": 1}


def test_the_longest_delay_stays_known_when_tickets_show_sooner_again(late: _Late) -> None:
    for delay_s in (100, 5):
        late.lose(f"after-{delay_s}", when="after")
        late.settled(after_s=0, shows=False)
        late.settled(after_s=delay_s)
    late.lose("never", when="before")

    assert late.settled(after_s=190) == {"waiting": 1}


def test_a_ticket_that_the_first_list_shows_teaches_no_delay(late: _Late) -> None:
    late.lose("at-once", when="after")
    assert late.settled(after_s=3600) == {"found": 1}
    late.lose("never", when="before")

    assert late.settled(after_s=15) == {"absent": 1}
