"""The ledger's states: each way from one to the next, who may go it, and what is kept on it."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any

import boto3
import pytest
from botocore.config import Config

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.errors import RejectedError, UnavailableError
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import AddRequest, GetRequest, Outcome, OutcomeKind, UpdateRequest, identity_of
from helpdesk.store.ledger import (
    MAX_ATTEMPTS,
    Abandoned,
    Busy,
    Claim,
    Ledger,
    Receipt,
    Reused,
    Settled,
    fingerprint,
)
from helpdesk.store.table import Table
from tests.deployment import Clock, Deployment
from tests.faults.aws import AwsOnLoopback, Mishap
from tests.functional.conftest import TOKEN

LEASE_S = 40.0
type Change = AddRequest | UpdateRequest


@pytest.fixture(scope="module")
def _server() -> Iterator[AwsOnLoopback]:
    with AwsOnLoopback().running() as aws:
        yield aws


@pytest.fixture
def aws(_server: AwsOnLoopback, monkeypatch: pytest.MonkeyPatch) -> AwsOnLoopback:
    _server.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", _server.url)
    return _server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(aws: AwsOnLoopback, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Ledger:
    """On a table as the template makes it."""
    Deployment(monkeypatch, "http://127.0.0.1:9", TOKEN)
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    aws.calls.clear()
    client = boto3.client(
        "dynamodb",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=20),
    )
    return Ledger(Table(client, "ledger"), lease_s=LEASE_S, keep_days=28, clock=clock)


def _read(body: dict[str, Any]) -> Change:
    request = read_body(body, Defaults("r-1", "tests", "kapture"))
    assert not isinstance(request, GetRequest)
    return request


ADD = _read({"operation": "add", "ticket": {"title": "a title"}})
OTHER_ADD = _read({"operation": "add", "ticket": {"title": "another title"}})
UPDATE = _read({"operation": "update", "ticket_id": "5", "changes": {"sub_status": "PS"}})
COMMENT = _read({"operation": "update", "ticket_id": "5", "changes": {"sub_status": "PS", "comment": "once"}})


def _outcome(kind: OutcomeKind, request: Change = ADD, **more: Any) -> Outcome:
    return Outcome(identity=identity_of(request), kind=kind, **more)


SUCCEEDED = _outcome(OutcomeKind.SUCCEEDED, ticket_id="7", ticket_url="https://helpdesk/7")
REJECTED = _outcome(OutcomeKind.REJECTED, code="refused_by_helpdesk", message="no")
PARKED = _outcome(OutcomeKind.PARKED, code="crashed")
UNKNOWN = _outcome(OutcomeKind.UNKNOWN, code="read_timeout")


def claimed(ledger: Ledger, request: Change = ADD) -> Claim:
    answer = ledger.claim(request)
    assert isinstance(answer, Claim)
    return answer


def receipt(ledger: Ledger) -> Receipt:
    found = ledger.receipt("r-1")
    assert found
    return found


def test_a_status_is_the_same_as_field_and_among_the_extra_fields() -> None:
    update = {"operation": "update", "ticket_id": "5"}
    field = _read(update | {"changes": {"status": "Complete", "extra": {"a": 1}}})
    extra = _read(update | {"changes": {"extra": {"a": 1, "status": "Complete"}}})

    assert fingerprint(field) == fingerprint(extra)


# ── each edge ────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_becomes_claimed(ledger: Ledger) -> None:
    assert ledger.receipt("r-1") is None
    assert claimed(ledger).attempts == 1
    assert receipt(ledger).state == "claimed"
    assert receipt(ledger).outcome is None


def test_released_becomes_claimed_and_counts_no_attempt(ledger: Ledger) -> None:
    for _ in range(10):
        claim = claimed(ledger)
        assert claim.attempts == 1
        ledger.release(claim, "rate_limited")
        assert (receipt(ledger).state, receipt(ledger).attempts) == ("released", 0)


@pytest.mark.parametrize("outcome", [SUCCEEDED, REJECTED, PARKED], ids=lambda outcome: outcome.kind)
def test_claimed_becomes_done_for_good(ledger: Ledger, outcome: Outcome) -> None:
    claim = claimed(ledger)
    ledger.finish(claim, outcome)

    assert receipt(ledger).ended
    assert receipt(ledger).outcome == outcome
    assert ledger.claim(ADD) == Settled(outcome)
    late: tuple[Callable[[], None], ...] = (
        lambda: ledger.finish(claim, REJECTED),
        lambda: ledger.doubt(claim, UNKNOWN),
        lambda: ledger.release(claim, "late"),
    )
    for move in late:
        with pytest.raises(UnavailableError, match="ledger_moved_on"):
            move()
    assert receipt(ledger).outcome == outcome


def test_several_receipts_are_read_at_once_and_a_refusal_where_nothing_was_claimed(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), SUCCEEDED)
    unread = REJECTED.identity.model_copy(update={"request_id": "r-2"})
    ledger.note_rejection(REJECTED)
    ledger.note_rejection(REJECTED.model_copy(update={"identity": unread}))

    receipts = ledger.receipts(["r-1", "r-2", "r-3"])

    assert {name: receipt.outcome.kind for name, receipt in receipts.items() if receipt.outcome} == {
        "r-1": OutcomeKind.SUCCEEDED,
        "r-2": OutcomeKind.REJECTED,
    }


def test_claimed_becomes_unknown_and_needs_attention(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.doubt(claim, UNKNOWN)

    assert ledger.claim(ADD) == Settled(UNKNOWN)
    assert not receipt(ledger).ended
    [doubt] = ledger.doubts("kapture", 10)
    assert (doubt.identity, doubt.claim) == (identity_of(ADD), claim)


def test_unknown_is_not_released_by_its_holder(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.doubt(claim, UNKNOWN)
    with pytest.raises(UnavailableError, match="ledger_moved_on"):
        ledger.release(claim, "late")


def test_claimed_is_nobody_elses_while_its_lease_runs(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger)
    clock.let_pass(LEASE_S - 5)
    answer = ledger.claim(ADD)
    assert isinstance(answer, Busy)
    assert 0 < answer.seconds <= 5


def test_after_its_lease_what_may_be_repeated_is_claimed_again(ledger: Ledger, clock: Clock) -> None:
    first = claimed(ledger, UPDATE)
    clock.let_pass(LEASE_S + 1)
    second = claimed(ledger, UPDATE)

    assert second.attempts == 2
    outcome = _outcome(OutcomeKind.SUCCEEDED, UPDATE, ticket_id="5", attempts=2)
    with pytest.raises(UnavailableError, match="ledger_moved_on"):
        ledger.finish(first, outcome)
    ledger.finish(second, outcome)


@pytest.mark.parametrize("request_", [ADD, COMMENT], ids=["add", "comment"])
@pytest.mark.parametrize("end", [UNKNOWN, PARKED], ids=lambda outcome: outcome.kind)
def test_after_its_lease_what_must_not_be_repeated_is_abandoned(
    ledger: Ledger, clock: Clock, request_: Change, end: Outcome
) -> None:
    claim = claimed(ledger, request_)
    clock.let_pass(LEASE_S + 1)
    assert ledger.claim(request_) == Abandoned(claim)

    (ledger.doubt if end is UNKNOWN else ledger.finish)(claim, end)
    assert ledger.claim(request_) == Settled(end.model_copy(update={"identity": identity_of(request_)}))


@pytest.mark.parametrize("outcome", [SUCCEEDED, PARKED], ids=lambda outcome: outcome.kind)
def test_unknown_becomes_done_and_needs_no_more_attention(ledger: Ledger, outcome: Outcome) -> None:
    claim = claimed(ledger)
    ledger.doubt(claim, UNKNOWN)
    ledger.finish(claim, outcome)

    assert ledger.claim(ADD) == Settled(outcome)
    assert ledger.doubts("kapture", 10) == []


def test_unknown_that_is_absent_is_freed_and_keeps_its_count(ledger: Ledger) -> None:
    ledger.doubt(claimed(ledger), UNKNOWN)
    assert ledger.reopen(receipt(ledger), "absent")

    assert ledger.doubts("kapture", 10) == []
    assert receipt(ledger).outcome is None
    assert claimed(ledger).attempts == 2


@pytest.mark.parametrize("outcome", [REJECTED, PARKED], ids=lambda outcome: outcome.kind)
def test_what_did_not_succeed_is_freed_with_a_new_count(ledger: Ledger, outcome: Outcome) -> None:
    ledger.finish(claimed(ledger), outcome)
    assert ledger.reopen(receipt(ledger), "redriven")
    assert claimed(ledger).attempts == 1


def test_what_succeeded_or_is_in_flight_is_never_freed(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert not ledger.reopen(receipt(ledger), "redriven")
    ledger.finish(claim, SUCCEEDED)
    assert not ledger.reopen(receipt(ledger), "redriven")
    assert ledger.claim(ADD) == Settled(SUCCEEDED)


def test_what_has_moved_on_since_it_was_read_is_not_freed(ledger: Ledger) -> None:
    ledger.doubt(claimed(ledger), UNKNOWN)
    old = receipt(ledger)
    assert ledger.reopen(old, "absent")
    ledger.doubt(claimed(ledger), UNKNOWN)

    assert not ledger.reopen(old, "absent")
    assert receipt(ledger).state == "unknown"


def test_a_late_answer_of_a_call_that_has_been_freed_is_too_late(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.doubt(claim, UNKNOWN)
    ledger.reopen(receipt(ledger), "absent")
    with pytest.raises(UnavailableError, match="ledger_moved_on"):
        ledger.finish(claim, SUCCEEDED)


@pytest.mark.parametrize("leave", ["claimed", "released", "unknown", "done"])
def test_another_request_under_the_same_id_is_refused_in_every_state(ledger: Ledger, leave: str) -> None:
    claim = claimed(ledger)
    ways: dict[str, Callable[[], None]] = {
        "claimed": lambda: None,
        "released": lambda: ledger.release(claim, "rate_limited"),
        "unknown": lambda: ledger.doubt(claim, UNKNOWN),
        "done": lambda: ledger.finish(claim, SUCCEEDED),
    }
    ways[leave]()
    before = receipt(ledger)

    assert isinstance(ledger.claim(OTHER_ADD), Reused)
    assert receipt(ledger) == before


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────


def test_after_five_crashes_an_update_is_no_longer_repeated(ledger: Ledger, clock: Clock) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = claimed(ledger, UPDATE)
        assert claim.attempts == attempt
        clock.let_pass(LEASE_S + 1)

    assert ledger.claim(UPDATE) == Abandoned(claim)


def test_absences_and_crashes_of_an_add_add_up(ledger: Ledger, clock: Clock) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = claimed(ledger)
        assert claim.attempts == attempt
        clock.let_pass(LEASE_S + 1)
        abandoned = ledger.claim(ADD)
        assert isinstance(abandoned, Abandoned)
        ledger.doubt(abandoned.claim, UNKNOWN)
        ledger.reopen(receipt(ledger), "absent")

    assert receipt(ledger).attempts == MAX_ATTEMPTS


# ── races, and answers that are lost ─────────────────────────────────────────────────────────────────────


def _race[T](*racers: Callable[[], T]) -> list[T | str]:
    start = Barrier(len(racers))

    def run(racer: Callable[[], T]) -> T | str:
        start.wait()
        try:
            return racer()
        except UnavailableError as error:
            return error.code

    with ThreadPoolExecutor(len(racers)) as pool:
        return list(pool.map(run, racers))


def test_of_two_that_claim_at_once_one_gets_it(ledger: Ledger) -> None:
    for number in range(10):
        request = ADD.model_copy(update={"request_id": f"race-{number}"})
        answers = _race(*[partial(ledger.claim, request)] * 2)
        assert sorted(type(answer).__name__ for answer in answers) == ["Busy", "Claim"]


def test_a_late_finish_and_a_free_that_race_leave_one_truth(ledger: Ledger) -> None:
    for number in range(10):
        request = ADD.model_copy(update={"request_id": f"race-{number}"})
        claim = claimed(ledger, request)
        ledger.doubt(claim, UNKNOWN)
        doubt = ledger.receipt(request.request_id)
        assert doubt
        finished, freed = _race(
            partial(ledger.finish, claim, SUCCEEDED), partial(ledger.reopen, doubt, "absent")
        )
        after = ledger.receipt(request.request_id)
        assert after
        if finished is None:
            assert (freed, after.state) == (False, "done")
        else:
            assert (finished, freed, after.state) == ("ledger_moved_on", True, "released")


def test_two_runs_that_free_at_once_free_once(ledger: Ledger) -> None:
    ledger.doubt(claimed(ledger), UNKNOWN)
    doubt = receipt(ledger)
    assert sorted(map(str, _race(*[lambda: ledger.reopen(doubt, "absent")] * 2))) == ["False", "True"]


def test_a_claim_whose_answer_was_lost_is_our_own(ledger: Ledger, aws: AwsOnLoopback) -> None:
    aws.mishaps.append(Mishap("UpdateItem", times=1, lost="after"))

    claim = claimed(ledger)

    assert claim.attempts == 1
    ledger.finish(claim, SUCCEEDED)
    assert aws.writes() == 3


def test_a_claim_that_never_arrived_is_made_again(ledger: Ledger, aws: AwsOnLoopback) -> None:
    aws.mishaps.append(Mishap("UpdateItem", times=1, lost="before"))
    assert claimed(ledger).attempts == 1


def test_an_end_whose_answer_was_lost_stands(ledger: Ledger, aws: AwsOnLoopback) -> None:
    claim = claimed(ledger)
    aws.mishaps.append(Mishap("UpdateItem", times=1, lost="after"))
    with pytest.raises(UnavailableError):
        # Told as unavailable, for it cannot be told from somebody else's; the next delivery is answered.
        ledger.finish(claim, SUCCEEDED)
    assert ledger.claim(ADD) == Settled(SUCCEEDED)


def test_a_doubt_whose_answer_was_lost_stands(ledger: Ledger, aws: AwsOnLoopback) -> None:
    claim = claimed(ledger)
    aws.mishaps.append(Mishap("UpdateItem", times=1, lost="after"))
    ledger.doubt(claim, UNKNOWN)
    assert ledger.claim(ADD) == Settled(UNKNOWN)


# ── references, and the order of updates ─────────────────────────────────────────────────────────────────


def test_a_reference_means_the_ticket_of_its_own_source(ledger: Ledger) -> None:
    request = ADD.model_copy(update={"reference": "ours-1"})
    ledger.finish(claimed(ledger, request), _outcome(OutcomeKind.SUCCEEDED, request, ticket_id="7"))

    assert ledger.ticket_of("kapture", "tests", "ours-1") == "7"
    assert ledger.ticket_of("kapture", "others", "ours-1") is None


def test_only_a_ticket_that_was_added_is_meant(ledger: Ledger) -> None:
    request = ADD.model_copy(update={"reference": "ours-1"})
    ledger.finish(claimed(ledger, request), _outcome(OutcomeKind.REJECTED, request, code="no"))
    assert ledger.ticket_of("kapture", "tests", "ours-1") is None


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(milliseconds=1)


def _begin(ledger: Ledger, moment: datetime, lease: str, ticket_id: str = "5") -> bool:
    return ledger.begin_update(Claim("request#kapture#u", lease, 1), "kapture", ticket_id, moment)


def _end(ledger: Ledger, moment: datetime, lease: str, *, made: bool | None) -> None:
    ledger.end_update(Claim("request#kapture#u", lease, 1), "kapture", "5", moment, made=made)


def test_an_older_update_is_refused_after_a_newer_one_that_was_made(ledger: Ledger) -> None:
    _begin(ledger, NOON, "newer")
    _end(ledger, NOON, "newer", made=True)

    with pytest.raises(RejectedError, match="out_of_date"):
        _begin(ledger, EARLIER, "older")
    _begin(ledger, NOON, "the same moment")
    _begin(ledger, EARLIER, "another ticket's", "6")


def test_an_older_update_may_follow_a_newer_one_that_was_refused(ledger: Ledger) -> None:
    _begin(ledger, NOON, "newer")
    _end(ledger, NOON, "newer", made=False)

    _begin(ledger, EARLIER, "older")


def test_an_older_update_waits_while_a_newer_one_is_in_doubt(ledger: Ledger, clock: Clock) -> None:
    assert not _begin(ledger, NOON, "newer")
    _end(ledger, NOON, "newer", made=None)
    with pytest.raises(UnavailableError, match="ticket_busy"):
        _begin(ledger, EARLIER, "older")

    assert _begin(ledger, NOON, "again")
    _end(ledger, NOON, "again", made=False)

    _begin(ledger, EARLIER, "older")


def test_an_update_that_stays_in_doubt_for_an_hour_counts_as_made(ledger: Ledger, clock: Clock) -> None:
    _begin(ledger, NOON, "newer")
    _end(ledger, NOON, "newer", made=None)
    clock.let_pass(3601)

    with pytest.raises(RejectedError, match="out_of_date"):
        _begin(ledger, EARLIER, "older")


def test_a_newer_update_that_is_refused_does_not_end_the_doubt_about_another(ledger: Ledger) -> None:
    later = NOON + timedelta(hours=1)
    _begin(ledger, NOON, "in doubt")
    _end(ledger, NOON, "in doubt", made=None)
    _begin(ledger, later, "refused")
    _end(ledger, later, "refused", made=False)

    with pytest.raises(UnavailableError, match="ticket_busy"):
        _begin(ledger, EARLIER, "older")


def test_an_older_update_does_not_slip_in_behind_a_newer_one_that_was_quicker(ledger: Ledger) -> None:
    def newer(**_: Any) -> None:
        events.unregister("after-call.dynamodb.GetItem", newer)
        _begin(ledger, NOON, "newer")
        _end(ledger, NOON, "newer", made=True)

    events = ledger._table._client.meta.events
    events.register("after-call.dynamodb.GetItem", newer)

    # It has read the ticket's item before the newer one came and went.
    with pytest.raises(UnavailableError, match="ticket_busy"):
        _begin(ledger, EARLIER, "older")
    with pytest.raises(RejectedError, match="out_of_date"):
        _begin(ledger, EARLIER, "older")


@pytest.mark.parametrize("moment", [EARLIER, NOON, NOON + timedelta(hours=1)])
def test_updates_of_one_ticket_are_made_one_at_a_time(ledger: Ledger, moment: datetime) -> None:
    _begin(ledger, NOON, "first")

    with pytest.raises(UnavailableError, match="ticket_busy"):
        _begin(ledger, moment, "second")


def test_an_update_whose_function_died_is_in_doubt(ledger: Ledger, clock: Clock) -> None:
    _begin(ledger, NOON, "died")
    clock.let_pass(41)

    with pytest.raises(UnavailableError, match="ticket_busy"):
        _begin(ledger, EARLIER, "older")
    assert _begin(ledger, NOON, "again")


# ── what it costs and what it keeps ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def deployment(aws: AwsOnLoopback, monkeypatch: pytest.MonkeyPatch, kapture_url: str) -> Deployment:
    return Deployment(monkeypatch, kapture_url, TOKEN, SETTLE_AFTER_S="0")


def _add(request_id: str, **ticket: Any) -> dict[str, Any]:
    return {"operation": "add", "request_id": request_id, "ticket": {"title": "plain"} | ticket}


def test_an_add_without_a_reference_costs_two_writes_and_one_with_it_three(
    deployment: Deployment, aws: AwsOnLoopback
) -> None:
    deployment.send(_add("without"))
    aws.calls.clear()
    assert deployment.consume() == []
    assert aws.writes() == 2
    deployment.send(_add("with") | {"reference": "ours-1"})
    aws.calls.clear()
    assert deployment.consume() == []
    assert aws.writes() == 3


def test_a_get_costs_no_write_and_a_batch_one_read(
    deployment: Deployment, aws: AwsOnLoopback, kapture: KaptureSimulator
) -> None:
    deployment.send(_add("read"))
    deployment.consume()
    ticket_id = kapture.tickets[0].ticket_id
    deployment.send(*[{"operation": "get", "ticket_ids": [ticket_id]}] * 10)
    aws.calls.clear()
    assert deployment.consume() == []
    assert aws.writes() == 0
    assert [call.operation for call in aws.calls].count("GetItem") == 1


def test_items_go_after_28_days(deployment: Deployment) -> None:
    began = datetime.now(UTC).timestamp()
    deployment.send(_add("kept") | {"reference": "ours-1"})
    deployment.consume()

    items = deployment.dynamodb.scan(TableName="ledger")["Items"]
    ages = {item["pk"]["S"]: float(item["expires_at"]["N"]) - began for item in items if "expires_at" in item}
    assert set(ages) == {"request#kept", "reference#kapture#7#unknown#ours-1"}
    assert all(abs(age - 28 * 86400) < 60 for age in ages.values())


CANARIES = {
    "title": "canary-title of a customer",
    "details": "canary-details, told in confidence",
    "queue": "canary-queue",
    "disposition": "canary-disposition",
    "requester": {"email": "canary@example.com", "name": "Canary Person", "phone": "+49-canary"},
    "extra": {"note": {"inner": ["canary-extra"]}},
}
_TEXTS = (
    "canary-title of a customer",
    "canary-details, told in confidence",
    "canary@example.com",
    "Canary Person",
    "+49-canary",
    "canary-extra",
)


def _everything_kept(deployment: Deployment) -> str:
    return json.dumps(deployment.dynamodb.scan(TableName="ledger")["Items"], ensure_ascii=False).lower()


def _tell(kapture: KaptureSimulator, status: int, message: str, operation: str) -> None:
    body = json.dumps({"status": "failed", "message": message})
    kapture.faults.add(FaultRule(operation=operation, fault=Fault(status=status, body=body)))


@pytest.mark.parametrize("status", [200, 422, 429, 500], ids=str)
def test_no_text_of_a_customer_is_kept_even_where_the_helpdesk_quotes_it(
    deployment: Deployment, kapture: KaptureSimulator, status: int
) -> None:
    deployment.send(_add("added", **CANARIES) | {"reference": "ours-1"})
    deployment.consume()
    _tell(kapture, status, "We cannot take: " + "; ".join(_TEXTS), "add")
    _tell(kapture, status, "We cannot take: canary-comment", "update")
    comment = {"sub_status": "PS", "comment": "canary-comment"}
    deployment.send(
        _add("refused", **CANARIES),
        {"operation": "update", "request_id": "changed", "ticket_id": "5", "changes": comment},
    )
    deployment.consume()
    deployment.resolve_doubts()
    deployment.show_all()
    if records := deployment.receive():
        deployment.consume(records)

    kept = _everything_kept(deployment)
    assert "request#refused" in kept
    assert "canary" not in kept


@pytest.mark.parametrize(
    "quoted",
    ["CANARY-TITLE OF A CUSTOMER", "canary-title of a cus...", "canary-title&#32;of a customer"],
    ids=["in-capitals", "cut-off", "escaped"],
)
def test_no_text_of_a_customer_is_kept_where_the_helpdesk_quotes_it_in_its_own_way(
    deployment: Deployment, kapture: KaptureSimulator, quoted: str
) -> None:
    _tell(kapture, 422, f"We cannot take {quoted!r}", "add")
    deployment.send(_add("refused", **CANARIES))
    deployment.consume()

    assert "canary" not in _everything_kept(deployment)
