"""What AWS can do: deliver twice, late and out of order, refuse, and lose answers on the way."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.simulators.faults import Fault, FaultRule
from tests.faults.aws import AwsOnLoopback, Mishap
from tests.faults.scene import Scene, add, get
from tests.waiting import eventually, held

# Powertools keeps one set of metrics a process; here several handlers share it.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

_SCHEDULED = Path(__file__).parents[2] / "events" / "schedule_add.json"
_THRICE = 3  # as often as a client tries


def only(*names: str) -> pytest.MarkDecorator:
    """Names the faults that a test stands for."""
    return pytest.mark.parametrize("fault", names)


def _assert_added_once(scene: Scene, *names: str) -> None:
    for name in names:
        assert len(scene.tickets(name)) == 1
        assert scene.types(name) == ["ticket.added"]
    assert scene.letters == []


# ── delivered twice, late, out of order ──────────────────────────────────────────────────────────────────


@only("duplicate-delivery")
def test_a_record_that_is_delivered_again_is_answered_again(scene: Scene, fault: str) -> None:
    scene.deployment.send(add("twice"))
    records = scene.deployment.receive()
    assert scene.consume(records) == []
    calls = len(scene.helpdesk.calls)

    assert scene.consume(records) == []

    assert len(scene.helpdesk.calls) == calls
    assert len(scene.events("twice")) == 2
    _assert_added_once(scene, "twice")


@only("duplicate-delivery")
def test_a_request_that_comes_by_two_ways_is_one_request(scene: Scene, fault: str) -> None:
    scene.deployment.send(add("twice", source="shop"))
    scene.consume_all()
    body = {"ticket": {"title": "twice"}, "source": "shop"}
    headers = {"Idempotency-Key": "twice", "Prefer": "wait=20"}

    answer = scene.deployment.call("POST", "/tickets", body, headers)

    assert (answer.status, answer.body["ticket_id"]) == (201, scene.ticket("twice").ticket_id)
    scene.until_quiet()
    _assert_added_once(scene, "twice")


@only("two-copies-in-flight")
def test_two_copies_in_one_batch_make_one_ticket(scene: Scene, fault: str) -> None:
    scene.deployment.send(*[add("copied")] * 10)
    scene.until_quiet()

    _assert_added_once(scene, "copied")


@only("two-copies-in-flight")
def test_copies_in_functions_that_run_side_by_side_make_one_ticket(scene: Scene, fault: str) -> None:
    scene.deployment.send(*[add("copied")] * 4)
    records = scene.deployment.receive()
    with ThreadPoolExecutor(4) as functions, held(scene.helpdesk, scene.account.adds) as call:
        returned = [functions.submit(scene.consume, [record]) for record in records]
        # One of the four is in its call; the others come back meanwhile.
        eventually(lambda: sum(future.done() for future in returned) == 3)
        call.release()
    assert sum(len(future.result()) for future in returned) == 3
    scene.until_quiet()

    _assert_added_once(scene, "copied")


@only("out-of-order-updates")
def test_an_older_update_never_overwrites_a_newer_one(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("changed")

    def moved(name: str, sub_status: str, second: int) -> dict[str, Any]:
        at = f"2026-01-01T00:00:0{second}Z"
        return scene.update(name, ticket_id, changes={"sub_status": sub_status}, occurred_at=at)

    scene.deployment.send(moved("newer", "CL", 2))
    scene.until_quiet()
    scene.deployment.send(moved("older", "PS", 1))
    scene.until_quiet()

    assert scene.types("newer") == ["ticket.updated"]
    assert scene.types("older") == ["ticket.rejected"]
    assert scene.parked("older") == ["out_of_date"]
    assert scene.ticket("changed").state == "CL"
    assert scene.calls("update") == 1


@contextmanager
def _in_mid_call(scene: Scene, name: str) -> Iterator[list[dict[str, Any]]]:
    """While the block lasts, a function waits for the helpdesk to add the ticket; gives its records."""
    scene.deployment.send(add(name))
    records = scene.deployment.receive()
    with ThreadPoolExecutor(1) as function, held(scene.helpdesk, scene.account.adds) as call:
        returned = function.submit(scene.consume, records)
        call.wait_for_arrival()
        yield records
        call.release()
        assert returned.result() == []
    scene.is_read = False


@only("visibility-lapse-mid-call")
def test_a_record_that_comes_back_during_its_call_waits(scene: Scene, fault: str) -> None:
    with _in_mid_call(scene, "slow") as records:
        assert len(scene.consume(records)) == 1
    scene.until_quiet()

    _assert_added_once(scene, "slow")


@only("visibility-lapse-mid-call")
def test_a_call_that_outlasts_its_lease_is_in_doubt_until_it_answers(scene: Scene, fault: str) -> None:
    with _in_mid_call(scene, "slow") as records:
        scene.clock.let_pass(60)
        assert len(scene.consume(records)) == 1
        assert scene.types("slow") == ["ticket.unknown"]
    scene.until_quiet()

    assert scene.types("slow") == ["ticket.unknown", "ticket.added"]
    assert len(scene.tickets("slow")) == 1


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────

_ledger_fails = pytest.mark.parametrize(
    "kind",
    [{"refused": "ThrottlingException"}, {"lost": "before"}],
    ids=["ledger-throttled", "ledger-down"],
)


@_ledger_fails
def test_without_the_ledger_nothing_is_called_and_the_api_stays_open(
    wired: Scene, aws: AwsOnLoopback, kind: Any
) -> None:
    [ticket_id] = wired.make("earlier")
    calls = len(wired.helpdesk.calls)
    wired.deployment.send(add("queued"), get("got", ticket_id))
    aws.mishaps += [Mishap(operation, **kind) for operation in ("GetItem", "UpdateItem", "PutItem")]

    assert wired.deployment.call("POST", "/tickets", add("posted")).status == 202
    assert len(wired.consume()) == 3
    assert wired.deployment.call("GET", f"/tickets/{ticket_id}").status == 503

    assert len(wired.helpdesk.calls) == calls
    aws.mishaps.clear()
    wired.until_quiet()
    _assert_added_once(wired, "queued", "posted")
    assert wired.types("got") == ["ticket.retrieved"]


@_ledger_fails
def test_a_request_that_cannot_be_claimed_is_not_called(wired: Scene, aws: AwsOnLoopback, kind: Any) -> None:
    [ticket_id] = wired.make("earlier")
    wired.deployment.send(add("added"), wired.update("changed", ticket_id), get("got", ticket_id))
    aws.mishaps.append(Mishap("UpdateItem", '"request#', **kind))

    assert len(wired.consume()) == 2

    assert (wired.calls("add"), wired.calls("update"), wired.calls("get")) == (1, 0, 1)
    aws.mishaps.clear()
    wired.until_quiet()
    _assert_added_once(wired, "added")
    assert wired.types("changed") == ["ticket.updated"]


@_ledger_fails
def test_a_call_whose_end_cannot_be_remembered_is_in_doubt(
    wired: Scene, aws: AwsOnLoopback, kind: Any
) -> None:
    wired.make("earlier")
    wired.deployment.send(add("added"))
    aws.mishaps.append(Mishap("UpdateItem", "#added", spared=1, **kind))
    assert len(wired.consume()) == 1
    aws.mishaps.clear()

    wired.until_quiet()

    assert wired.types("added") == ["ticket.unknown", "ticket.added"]
    assert len(wired.tickets("added")) == 1


@_ledger_fails
@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500, act=True)], ids=["release", "doubt"])
def test_whatever_cannot_be_remembered_of_a_call_ends_in_one_ticket(
    wired: Scene, aws: AwsOnLoopback, kind: Any, fault: Fault
) -> None:
    wired.make("earlier")
    wired.helpdesk.faults.add(FaultRule(operation="add", times=1, fault=fault))
    wired.deployment.send(add("added"))
    aws.mishaps.append(Mishap("UpdateItem", "#added", spared=1, **kind))
    assert len(wired.consume()) == 1
    aws.mishaps.clear()

    wired.until_quiet()

    assert wired.types("added") == ["ticket.unknown", "ticket.added"]
    assert len(wired.tickets("added")) == 1


@only("ledger-throttled")
def test_a_reference_that_could_not_be_remembered_is_remembered_later(
    wired: Scene, aws: AwsOnLoopback, fault: str
) -> None:
    aws.mishaps.append(Mishap("PutItem", "reference#", times=_THRICE, refused="ThrottlingException"))
    wired.deployment.send(add("added", reference="ours-1"))
    wired.until_quiet()
    wired.deployment.send(wired.update("changed", None, reference="ours-1"))
    wired.until_quiet(rounds=2)

    assert wired.types("changed") == ["ticket.updated"]


# ── the topic ────────────────────────────────────────────────────────────────────────────────────────────


@only("sns-fails")
@pytest.mark.parametrize("kind", [{"refused": "Throttling"}, {"lost": "before"}], ids=["throttled", "down"])
def test_an_outcome_that_could_not_be_published_is_published_later_without_a_call(
    wired: Scene, aws: AwsOnLoopback, kind: Any, fault: str
) -> None:
    [ticket_id] = wired.make("earlier")
    wired.deployment.send(add("added"), wired.update("changed", ticket_id), get("got", ticket_id))
    aws.mishaps.append(Mishap("PublishBatch", **kind))
    assert len(wired.consume()) == 3
    aws.mishaps.clear()

    wired.until_quiet()

    _assert_added_once(wired, "added")
    assert wired.types("changed") == ["ticket.updated"]
    assert wired.types("got") == ["ticket.retrieved"]
    assert (wired.calls("add"), wired.calls("update")) == (2, 1)


@only("sns-fails")
def test_a_doubt_that_could_not_be_said_is_said_later(wired: Scene, aws: AwsOnLoopback, fault: str) -> None:
    wired.make("earlier")
    wired.helpdesk.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    wired.deployment.send(add("lost"))
    aws.mishaps.append(Mishap("PublishBatch", refused="Throttling"))
    wired.consume()
    aws.mishaps.clear()
    wired.deployment.show_all()
    wired.consume()

    assert wired.types("lost") == ["ticket.unknown"]


@only("sns-fails")
def test_a_rejected_request_is_parked_once_however_late_it_is_published(
    wired: Scene, aws: AwsOnLoopback, fault: str
) -> None:
    wired.deployment.send(add("refused", ticket={}))
    aws.mishaps.append(Mishap("PublishBatch", refused="Throttling"))
    wired.consume()
    aws.mishaps.clear()
    wired.until_quiet()

    assert wired.types("refused") == ["ticket.rejected"]
    assert wired.parked("refused") == ["invalid_request"]


@only("sns-one-entry-fails")
def test_only_the_entry_that_failed_is_published_again(wired: Scene, aws: AwsOnLoopback, fault: str) -> None:
    names = [f"entry-{number}" for number in range(10)]
    wired.deployment.send(*(add(name) for name in names))
    aws.refused_entry = '"entry-4"'
    assert len(wired.consume()) == 1
    assert wired.types("entry-4") == []
    aws.refused_entry = None

    wired.until_quiet()

    _assert_added_once(wired, *names)
    assert [len(wired.events(name)) for name in names] == [1] * 10
    assert wired.calls("add") == 10


@only("outcome-too-large")
def test_an_outcome_that_is_too_large_is_published_without_its_tickets(scene: Scene, fault: str) -> None:
    large = "large " * 30_000
    names = ["one", "two"]
    scene.deployment.send(*(add(name, ticket={"title": name, "details": large}) for name in names))
    assert scene.consume() == []
    ids = [scene.ticket(name).ticket_id for name in names]

    scene.deployment.send(get("both", *ids), get("first", ids[0]), get("second", ids[1]), add("beside"))
    assert scene.consume() == []

    [both] = scene.events("both")
    assert both["data"]["truncated"] is True
    assert "tickets" not in both["data"]
    for name in ("first", "second"):
        [event] = scene.events(name)
        assert len(event["data"]["ticket"]["details"]) >= len(large) - 1
    _assert_added_once(scene, "beside", *names)


# ── the secret ───────────────────────────────────────────────────────────────────────────────────────────


@only("secrets-throttled")
def test_without_the_secret_nothing_is_called(wired: Scene, aws: AwsOnLoopback, fault: str) -> None:
    aws.mishaps.append(Mishap("GetSecretValue", refused="ThrottlingException"))
    wired.deployment.send(add("added"))

    assert len(wired.consume()) == 1
    assert wired.deployment.call("GET", "/tickets/1").status == 503

    assert wired.helpdesk.calls == []
    aws.mishaps.clear()
    wired.until_quiet()
    _assert_added_once(wired, "added")
    [event] = wired.events("added")
    assert event["data"]["attempts"] == 1


@only("secret-malformed")
@pytest.mark.parametrize("text", ["{}", '{"token": 7}', "{broken", " "], ids=repr)
def test_a_malformed_secret_closes_the_gate_and_says_so(scene: Scene, text: str, fault: str) -> None:
    scene.deployment.secrets.put_secret_value(SecretId=scene.account.name, SecretString=text)
    answer = scene.deployment.call("GET", "/tickets/1")
    assert (answer.status, answer.body["code"]) == (502, "secret_malformed")
    scene.deployment.send(add("added"))
    assert len(scene.consume()) == 1
    assert scene.helpdesk.calls == []

    scene.account.mend_token(scene.deployment)
    scene.deployment.show_all()
    assert scene.consume() == []

    _assert_added_once(scene, "added")


# ── the queues ───────────────────────────────────────────────────────────────────────────────────────────


@only("sqs-refuses-delays")
def test_records_come_back_even_where_their_delays_cannot_be_set(
    wired: Scene, aws: AwsOnLoopback, fault: str
) -> None:
    wired.helpdesk.faults.add(FaultRule(operation="add", times=1, fault=Fault(status=429)))
    wired.deployment.send(add("added"))
    aws.mishaps.append(Mishap("ChangeMessageVisibilityBatch", refused="RequestThrottled"))
    assert len(wired.consume()) == 1
    aws.mishaps.clear()

    wired.until_quiet()

    _assert_added_once(wired, "added")


@only("sqs-refuses-a-parked-copy")
def test_a_record_is_let_go_only_when_its_copy_is_parked(
    wired: Scene, aws: AwsOnLoopback, fault: str
) -> None:
    wired.deployment.send("{not json")
    aws.mishaps.append(Mishap("SendMessage", "dead-letters", refused="RequestThrottled"))
    assert len(wired.consume()) == 1
    aws.mishaps.clear()

    wired.until_quiet()

    [letter] = wired.deployment.dead_letters()
    assert (letter["body"], letter["code"]) == ("{not json", "not_json")


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────────


@only("scheduler-double-tick")
def test_a_schedule_that_fires_twice_asks_for_one_ticket(scene: Scene, fault: str) -> None:
    sample = json.loads(_SCHEDULED.read_text())["send"]["input"]
    text = json.dumps(sample).replace("<aws.scheduler.scheduled-time>", "2026-01-05T09:00:00Z")
    scene.deployment.send(text, text)
    scene.until_quiet()

    assert len(scene.account.tickets()) == 1
    assert set(scene.types("weekly-review/2026-01-05T09:00:00Z")) == {"ticket.added"}


def _in_doubt(scene: Scene) -> None:
    """One add that was made, and one that was not; of neither an answer came."""
    scene.make("earlier")
    for name, reset in (("made", "after"), ("lost", "before")):
        fault = Fault.model_validate({"reset": reset})
        scene.helpdesk.faults.add(FaultRule(operation="add", match=name, times=1, fault=fault))
    scene.deployment.send(add("made"), add("lost"))
    scene.consume()


def _assert_settled(scene: Scene) -> None:
    for name in ("made", "lost"):
        assert scene.types(name) == ["ticket.unknown", "ticket.added"]
        assert len(scene.tickets(name)) == 1


@only("scheduler-double-tick")
def test_two_runs_of_resolve_doubts_at_once_settle_each_doubt_once(scene: Scene, fault: str) -> None:
    _in_doubt(scene)
    scene.helpdesk.faults.add(FaultRule(operation="pull", fault=Fault(delay_after_s=0.2)))
    with ThreadPoolExecutor(2) as functions:
        list(functions.map(lambda _: scene.deployment.resolve_doubts(), range(2)))
    scene.until_quiet()

    _assert_settled(scene)


@only("scheduler-missed-tick")
def test_after_ticks_that_were_missed_the_next_settles_all(scene: Scene, fault: str) -> None:
    _in_doubt(scene)
    for _ in range(5):
        scene.clock.let_pass(3600)
        scene.deployment.show_all()
        scene.consume_all()
    assert scene.types("made") == ["ticket.unknown"]
    scene.until_quiet(rounds=2)

    _assert_settled(scene)


# ── a record that nothing can be made of ─────────────────────────────────────────────────────────────────

_late = {"sub_status": "PS", "callback_at": "9999-12-31T23:59:59-12:00"}


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param("{not json", id="poison-record"),
        pytest.param(
            '{"operation": "add", "request_id": "x", "ticket": {"title": "\\ud800"}}', id="surrogate"
        ),
        pytest.param("[" * 5000, id="nested"),
        pytest.param(
            json.dumps({"operation": "update", "request_id": "x", "ticket_id": "1", "changes": _late}),
            id="moment-beyond-all-calendars",
        ),
    ],
)
def test_a_poison_record_takes_no_other_with_it(scene: Scene, poison: str) -> None:
    others = [f"other-{number}" for number in range(9)]
    scene.deployment.send(poison, *(add(name) for name in others))
    assert scene.consume() == []

    for name in others:
        assert scene.types(name) == ["ticket.added"]
        assert len(scene.tickets(name)) == 1
    assert [event["type"] for event in scene.published].count("ticket.rejected") == 1
    assert len(scene.letters) == 1
