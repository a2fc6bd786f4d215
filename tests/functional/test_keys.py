"""A key for each operation: a refused key holds back its own operation, and no other."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from bridge.checks.stack import Examined, Reply, refused_keys, tokens
from bridge.commands import operate
from bridge.operating.operations import Operations
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.stacks.target import Target
from helpdesk.store.gate import Budget, Gate, RefusedKey
from helpdesk.store.table import Table
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN

KEYS = {"add": "key-to-add", "update": "key-to-update", "get": "key-to-get", "pull": "key-to-pull"}
ADD = {"operation": "add", "ticket": {"title": "by its own key"}}
LOST = FaultRule(operation="add", times=1, fault=Fault(reset="after"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch, kapture: KaptureSimulator, kapture_url: str, clock: Clock
) -> Iterator[Deployment]:
    _takes(kapture, KEYS)
    with mock_aws():
        made = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock)
        _put(made, KEYS)
        yield made


def _takes(kapture: KaptureSimulator, keys: Mapping[str, str]) -> None:
    """The keys that the account takes from now on."""
    kapture.switches = kapture.switches.model_copy(update={"keys": dict(keys)})


def _put(deployment: Deployment, fields: Mapping[str, str]) -> None:
    deployment.secrets.put_secret_value(SecretId=deployment.secret, SecretString=json.dumps(fields))


def _refused(deployment: Deployment) -> Mapping[str, RefusedKey]:
    return Gate(Table(deployment.dynamodb, "ledger"), "kapture", Budget()).read().refused


def _ended(deployment: Deployment, *bodies: Mapping[str, Any]) -> list[str]:
    """The kinds of outcome of some requests that come in one batch."""
    deployment.send(*bodies)
    deployment.consume()
    return [event["type"] for event in deployment.outcomes()]


def _add(deployment: Deployment) -> str:
    deployment.send(ADD)
    assert deployment.consume() == []
    [event] = deployment.outcomes()
    ticket_id: str = event["data"]["ticket_id"]
    return ticket_id


def _update(ticket_id: str) -> dict[str, Any]:
    return {"operation": "update", "ticket_id": ticket_id, "changes": {"sub_status": "PS"}}


def _get(ticket_id: str) -> dict[str, Any]:
    return {"operation": "get", "ticket_ids": [ticket_id]}


def _calls(kapture: KaptureSimulator, operation: str) -> int:
    return [call.operation for call in kapture.calls].count(operation)


@pytest.mark.parametrize("own", [KEYS, {"get": KEYS["get"], "token": TOKEN}], ids=["each", "one"])
def test_each_operation_is_called_with_its_own_key_and_the_token_opens_the_others(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock, own: Mapping[str, str]
) -> None:
    _takes(kapture, {name: key for name, key in own.items() if name != "token"})
    _put(deployment, own)
    ticket_id = _add(deployment)

    assert _ended(deployment, _update(ticket_id)) == ["ticket.updated"]
    assert deployment.call("GET", f"/tickets/{ticket_id}").status == 200
    kapture.faults.add(LOST)
    assert _ended(deployment, ADD) == ["ticket.unknown"]
    clock.let_pass(60)
    assert deployment.resolve_doubts()["found"] == 1
    assert _refused(deployment) == {}


def test_with_the_get_key_refused_adds_and_updates_go_on_in_the_same_batch(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    ticket_id = _add(deployment)
    _takes(kapture, KEYS | {"get": "another"})
    assert deployment.call("GET", f"/tickets/{ticket_id}").body["code"] == "token_refused"

    for _ in range(3):
        clock.let_pass(60)
        ended = _ended(deployment, _get(ticket_id), ADD, _update(ticket_id), ADD)
        assert sorted(ended) == ["ticket.added", "ticket.added", "ticket.updated"]

    assert _refused(deployment).keys() == {"get"}
    assert deployment.call("GET", f"/tickets/{ticket_id}").body["code"] == "gate_closed_token_refused"


def test_a_refused_add_key_lets_one_add_try_it_and_the_others_wait(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    ticket_id = _add(deployment)
    _takes(kapture, KEYS | {"add": "another"})
    _ended(deployment, ADD)
    before = _calls(kapture, "add")

    assert _ended(deployment, ADD, ADD, _update(ticket_id)) == ["ticket.updated"]
    assert _calls(kapture, "add") == before, "the try is not due yet"
    clock.let_pass(10)
    assert _ended(deployment, ADD, ADD, _update(ticket_id)) == ["ticket.updated"]

    assert _calls(kapture, "add") == before + 1


def test_a_changed_secret_is_tried_at_once_by_one_add_and_the_others_of_its_batch_follow(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    _takes(kapture, KEYS | {"add": "another"})
    _ended(deployment, ADD)
    _put(deployment, KEYS | {"add": "another"})

    assert _ended(deployment, ADD, ADD) == ["ticket.added", "ticket.added"]
    assert _refused(deployment) == {}


def test_a_key_that_changes_at_the_helpdesk_first_is_read_again_within_the_call(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    _add(deployment)
    _takes(kapture, KEYS | {"add": "another"})
    _put(deployment, KEYS | {"add": "another"})

    assert _ended(deployment, ADD) == ["ticket.added"]
    assert _refused(deployment) == {}


def test_a_changed_key_of_another_operation_does_not_repeat_a_refused_call(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    _add(deployment)
    _takes(kapture, KEYS | {"add": "another"})
    _put(deployment, KEYS | {"update": "newer"})
    before = _calls(kapture, "add")

    _ended(deployment, ADD)

    assert _calls(kapture, "add") == before + 1


def test_one_refusal_beside_an_add_that_was_taken_holds_nothing_back(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    # Late, so that the other call has begun: after a refusal none begins.
    kapture.faults.add(FaultRule(match="odd", fault=Fault(status=403, delay_before_s=0.3)))

    ended = _ended(deployment, ADD, {"operation": "add", "ticket": {"title": "odd"}})

    assert ended == ["ticket.added"]
    assert _refused(deployment) == {}


@pytest.mark.parametrize("operation", ["get", "pull"])
def test_a_refused_key_for_reads_is_tried_each_minute_without_any_request(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock, operation: str
) -> None:
    _takes(kapture, KEYS | {operation: "another"})
    if operation == "get":
        deployment.call("GET", "/tickets/1")
    else:
        kapture.faults.add(LOST)
        _ended(deployment, ADD)
        deployment.resolve_doubts()
    assert _refused(deployment).keys() == {operation}
    _takes(kapture, KEYS)

    clock.let_pass(60)
    deployment.resolve_doubts()

    assert _refused(deployment) == {}


def test_an_outage_closes_the_gate_to_all_operations_and_its_probe_may_be_refused(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    ticket_id = _add(deployment)
    _takes(kapture, KEYS | {"get": "another"})
    deployment.call("GET", f"/tickets/{ticket_id}")
    kapture.faults.add(FaultRule(fault=Fault(status=503, headers={"Retry-After": "30"})))
    assert _ended(deployment, ADD) == []
    before = len(kapture.calls)
    assert _ended(deployment, _update(ticket_id), ADD) == []
    assert len(kapture.calls) == before
    kapture.faults.clear()

    clock.let_pass(60)
    deployment.show_all()

    # The refused get is an answer: one request goes first, and the others follow.
    deployment.consume()
    assert len(deployment.outcomes()) == 3
    assert _refused(deployment).keys() == {"get"}


def test_an_update_without_a_key_opens_no_gate_to_adds(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    ticket_id = _add(deployment)
    _put(deployment, {name: key for name, key in KEYS.items() if name != "update"})
    deployment.restart()
    kapture.faults.add(FaultRule(operation="add", fault=Fault(reset="before")))
    assert _ended(deployment, ADD) == ["ticket.unknown"]
    deployment.resolve_doubts()
    assert _ended(deployment, _update(ticket_id)) == []
    assert _refused(deployment).keys() == {"update"}

    assert _ended(deployment, ADD, ADD, ADD) == ["ticket.unknown"], "one request goes first"


def test_requests_whose_key_is_refused_book_no_retry_time_of_the_budget(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    ticket_id = _add(deployment)
    _takes(kapture, KEYS | {"update": "another"})
    _ended(deployment, _update(ticket_id))
    deployment.set(KAPTURE_BUDGET="2")

    assert _ended(deployment, ADD, ADD, ADD, *[_update(ticket_id)] * 3) == ["ticket.added"] * 2

    gate = Gate(Table(deployment.dynamodb, "ledger"), "kapture", Budget())
    # A minute until a call comes free, and half of the budget's interval for the one add that waits.
    assert gate.read().booked_until - clock() == pytest.approx(76, abs=1)


def test_an_update_by_reference_waits_while_the_key_for_adds_is_refused_and_for_an_hour_after_that(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    _takes(kapture, KEYS | {"add": "another"})
    changes = {"sub_status": "PS"}
    _ended(deployment, ADD, {"operation": "update", "reference": "order-7", "changes": changes})
    clock.let_pass(4000)
    deployment.show_all()
    assert _ended(deployment) == []

    _takes(kapture, KEYS)
    clock.let_pass(60)
    deployment.show_all()
    assert _ended(deployment) == ["ticket.added"]
    clock.let_pass(60)
    deployment.show_all()
    assert _ended(deployment, ADD | {"reference": "order-7"}) == ["ticket.added"]
    clock.let_pass(60)
    deployment.show_all()
    assert _ended(deployment) == ["ticket.updated"]


# ── without a key for lists ──────────────────────────────────────────────────────────────────────────────


def _in_doubt_without_lists(deployment: Deployment, kapture: KaptureSimulator) -> None:
    _takes(kapture, KEYS | {"pull": "another"})
    kapture.faults.add(LOST)
    assert _ended(deployment, ADD | {"request_id": "lost"}) == ["ticket.unknown"]


def _minutes(deployment: Deployment, clock: Clock, minutes: int) -> dict[str, int]:
    """What came of the doubts in so many minutes."""
    counts = {"found": 0, "absent": 0, "parked": 0}
    for _ in range(minutes):
        clock.let_pass(60)
        run = deployment.resolve_doubts()
        counts = {name: counts[name] + run[name] for name in counts}
    return counts


def test_where_no_list_was_ever_read_a_refused_pull_key_parks_doubts_once_they_could_have_settled(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    _in_doubt_without_lists(deployment, kapture)

    assert _minutes(deployment, clock, 15) == {"found": 0, "absent": 0, "parked": 0}
    assert _minutes(deployment, clock, 2)["parked"] == 1
    deployment.show_all()
    deployment.consume()

    [event] = deployment.outcomes()
    assert event["type"] == "ticket.parked"
    assert "refuses our key for pull" in event["data"]["message"]
    assert _ended(deployment, ADD) == ["ticket.added"]


def test_a_doubt_waits_for_a_pull_key_that_was_taken_before(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock
) -> None:
    kapture.faults.add(LOST)
    _ended(deployment, ADD)
    assert _minutes(deployment, clock, 1)["found"] == 1
    _in_doubt_without_lists(deployment, kapture)

    assert _minutes(deployment, clock, 60) == {"found": 0, "absent": 0, "parked": 0}
    _put(deployment, KEYS | {"pull": "another"})
    assert _minutes(deployment, clock, 1)["found"] == 1


def test_without_a_pull_key_the_audit_is_off_and_says_so_and_is_not_late(
    deployment: Deployment,
    kapture: KaptureSimulator,
    clock: Clock,
    log: io.StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _put(deployment, {name: key for name, key in KEYS.items() if name != "pull"})

    for _ in range(3):
        clock.let_pass(86_400)
        assert deployment.audit()["audited"] == 0

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"the audit is off"} == {line["message"] for line in lines if line["level"] == "WARNING"}
    assert '"AuditLateSeconds":[0.0]' in capsys.readouterr().out.replace(" ", "")
    deployment.resolve_doubts()
    assert '"TokenRefused":[0.0]' in capsys.readouterr().out.replace(" ", "")
    assert _refused(deployment)["pull"].code == "key_missing"


# ── who says it ──────────────────────────────────────────────────────────────────────────────────────────


class _Stack:
    """A stack as `bridge doctor` sees it."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.settings = deployment.parts.settings
        self.target = Target(
            boto3.Session(),
            None,
            "shop",
            deployment.requests,
            deployment.dead_letter_queue,
            "ledger",
            ("kapture",),
        )

    def call(self, path: str) -> Reply:
        path, _, query = path.partition("?")
        answer = self._deployment.call("GET", path, query=dict([query.split("=")]))
        return Reply(answer.status, answer.body)


def test_doctor_names_each_operation_whose_key_is_refused_and_the_whole_secret_to_put(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    _takes(kapture, KEYS | {"get": "another"})
    _put(deployment, {name: key for name, key in KEYS.items() if name != "update"})
    assert _ended(deployment, ADD, _update("1")) == ["ticket.added"]
    stack = cast("Examined", _Stack(deployment))

    assert list(tokens(stack)) == []
    (finding,) = refused_keys(stack)

    get, update = finding.what.split(": token_refused. ")
    assert get.startswith("Kapture refuses our key for get since ")
    assert update == "The secret of Kapture holds no key for update. Requests in the queue: 1."
    assert finding.change.startswith("aws secretsmanager put-secret-value --secret-id ")
    assert finding.change.endswith("""'{"add": "...", "get": "...", "pull": "...", "update": "..."}'""")


def test_doctor_names_a_refused_token_as_the_gate_knows_it_and_asks_for_no_more_than_the_token(
    deployment: Deployment,
    kapture: KaptureSimulator,
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _takes(kapture, dict.fromkeys(KEYS, "another"))
    _put(deployment, {"token": "withdrawn"})
    assert _ended(deployment, ADD) == []

    (finding,) = refused_keys(cast("Examined", _Stack(deployment)))

    assert finding.what.startswith("Kapture refuses our key for add since ")
    assert finding.what.endswith(" Requests in the queue: 1.")
    # To resume does not make it take the key.
    monkeypatch.setattr(operate, "operations_on", lambda *_: operations)
    resumed = CliRunner().invoke(operate.resume, ["--helpdesk", "kapture"])
    assert resumed.output.splitlines()[-1].startswith("Kapture refuses our key for add since ")
    assert finding.change.endswith(""" '{"token": "..."}'""")


def test_a_changed_secret_clears_the_alarm_of_an_add_key_without_any_request(
    deployment: Deployment, kapture: KaptureSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    _takes(kapture, KEYS | {"add": "another"})
    _ended(deployment, ADD)
    deployment.resolve_doubts()
    assert '"AddKeyRefused":[1.0]' in capsys.readouterr().out.replace(" ", "")
    before = _calls(kapture, "add")

    _put(deployment, KEYS | {"add": "another"})
    deployment.resolve_doubts()

    shown = capsys.readouterr().out.replace(" ", "")
    assert '"TokenRefused":[0.0]' in shown
    assert "AddKeyRefused" not in shown
    assert _calls(kapture, "add") == before
