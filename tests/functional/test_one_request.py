"""One id is one request: it stays at the helpdesk of its first claim, whatever a later copy says."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from moto import mock_aws

from bridge.operating.operations import Operations, Selection
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from tests.accounts import ACCOUNTS, Account, KaptureAccount, deployed
from tests.deployment import Clock, Deployment, operations_on

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

ROUND_S = 75


class Move:
    """Two helpdesks are served, and the default is moved from one to the other."""

    def __init__(self, deployment: Deployment, old: Account, new: Account, clock: Clock) -> None:
        self.deployment = deployment
        self.old = old
        self.new = new
        self.clock = clock

    def send(self, *bodies: dict[str, Any]) -> list[str]:
        self.deployment.send(*bodies)
        return self.deployment.consume()

    def breaks(self, fault: Fault) -> None:
        """The next add at the old default suffers it."""
        self.old.simulator.faults.add(FaultRule(operation=self.old.adds, times=1, fault=fault))

    def move(self) -> None:
        self.deployment.set(HELPDESKS=f"{self.new.name},{self.old.name}")

    def until_quiet(self) -> None:
        for _ in range(12):
            self.deployment.show_all()
            while records := self.deployment.receive():
                self.deployment.consume(records)
            if not self.deployment.waiting():
                return
            self.clock.let_pass(ROUND_S)
            self.deployment.resolve_doubts()
        assert self.deployment.waiting() == 0, "requests are still waiting"

    def titles(self) -> list[list[str]]:
        """Of the tickets at the old default and at the new one."""
        return [[ticket.title for ticket in account.tickets()] for account in (self.old, self.new)]

    def published(self) -> list[tuple[str, str]]:
        """Type and helpdesk of what was published since the last look."""
        return [(event["type"], event["data"]["helpdesk"]) for event in self.deployment.outcomes()]


@pytest.fixture(params=ACCOUNTS, ids=lambda account: f"from-{account.name}")
def move(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Move]:
    clock = Clock()
    old, new, *_ = sorted(
        (account(clock) for account in ACCOUNTS), key=lambda account: type(account) is not request.param
    )
    with ExitStack() as stack:
        urls = {account.name: stack.enter_context(running(account.simulator.app())) for account in (old, new)}
        stack.enter_context(mock_aws())
        deployment = deployed(monkeypatch, old, urls[old.name], clock, SETTLE_AFTER_S="0")
        secret = deployment.secrets.create_secret(Name=new.name, SecretString=new.credentials())["ARN"]
        deployment.set(HELPDESKS=f"{old.name},{new.name}", **new.variables(urls[new.name], secret))
        yield Move(deployment, old, new, clock)


ADD = {"operation": "add", "request_id": "order-1", "ticket": {"title": "Parcel"}}


@pytest.mark.parametrize(
    "fault",
    [None, Fault(status=429), Fault(reset="after"), Fault(reset="before")],
    ids=["done", "waiting", "in-doubt-and-made", "in-doubt-and-not-made"],
)
def test_a_request_that_comes_again_after_the_default_has_moved_makes_one_ticket(
    move: Move, fault: Fault | None
) -> None:
    move.send(ADD | {"request_id": "earlier", "ticket": {"title": "earlier"}})
    if fault:
        move.breaks(fault)
    move.send(ADD)
    move.move()
    move.send(ADD)
    move.until_quiet()

    assert move.titles() == [["earlier", "Parcel"], []]
    assert set(move.published()) <= {("ticket.added", move.old.name), ("ticket.unknown", move.old.name)}


def test_a_copy_that_names_another_helpdesk_is_answered_with_the_ticket_that_there_is(move: Move) -> None:
    move.send(ADD)
    move.send(ADD | {"helpdesk": move.new.name})

    assert move.titles() == [["Parcel"], []]
    assert move.published() == [("ticket.added", move.old.name)] * 2


@pytest.mark.parametrize("move", [KaptureAccount], indirect=True)
def test_a_copy_that_the_new_default_cannot_take_is_answered_as_the_first_was(move: Move) -> None:
    ticket = {"title": "Parcel", "disposition": "lost"}
    move.send({**ADD, "ticket": ticket})
    move.move()

    move.send({**ADD, "ticket": ticket})

    assert move.titles() == [["Parcel"], []]
    assert move.published() == [("ticket.added", move.old.name)] * 2


def test_another_request_of_the_same_id_is_refused_at_the_other_helpdesk_too(move: Move) -> None:
    move.send(ADD)
    move.deployment.outcomes()
    move.send(ADD | {"helpdesk": move.new.name, "ticket": {"title": "Another"}})

    [event] = move.deployment.outcomes()
    assert event["data"]["code"] == "request_id_reused"
    assert move.titles() == [["Parcel"], []]


def test_one_call_of_the_api_that_is_repeated_after_the_move_makes_one_ticket(move: Move) -> None:
    def post() -> int:
        return move.deployment.call(
            "POST", "/tickets", {"ticket": {"title": "Parcel"}}, {"Idempotency-Key": "order-1"}
        ).status

    move.breaks(Fault(status=429))
    assert post() == 202
    move.deployment.consume()
    move.move()
    assert post() == 202
    move.until_quiet()

    assert move.titles() == [["Parcel"], []]
    assert set(move.published()) == {("ticket.added", move.old.name)}


def test_a_receipt_is_found_without_saying_the_helpdesk(move: Move) -> None:
    move.send(ADD)
    move.deployment.set(HELPDESKS=move.new.name)

    receipt = move.deployment.call("GET", "/requests/order-1")

    assert (receipt.status, receipt.body["helpdesk"]) == (200, move.old.name)


def test_a_request_that_is_given_up_after_the_move_is_told_of_its_own_helpdesk(move: Move) -> None:
    move.breaks(Fault(status=429))
    move.send(ADD)
    move.move()
    move.clock.let_pass(80 * 3600)
    # It cannot be carried out: no helpdesk is asked.
    move.deployment.set(MARKER_KEY_SECRET_ARN="arn:aws:secretsmanager:eu-west-1:123456789012:secret:none")
    move.deployment.show_all()
    move.deployment.consume()

    assert move.published() == [("ticket.parked", move.old.name)]
    assert move.deployment.call("GET", "/requests/order-1").body["state"] == "parked"


# ── redriven ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def operations(move: Move) -> Operations:
    return operations_on(move.deployment)


def redrive(operations: Operations) -> None:
    operations.redrive(Selection(request_id="order-1"), report=lambda _: None, dry_run=False)


def test_a_redriven_request_goes_to_the_helpdesk_of_its_copy(move: Move, operations: Operations) -> None:
    move.old.hide_markers()
    move.breaks(Fault(reset="after"))
    move.send(ADD)
    move.until_quiet()
    assert move.published()[-1] == ("ticket.parked", move.old.name)
    move.move()
    # The ledger has forgotten it, and the helpdesk's own people have found no ticket.
    move.deployment.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": "request#order-1"}})

    redrive(operations)
    move.until_quiet()

    assert move.published() == [("ticket.added", move.old.name)]
    assert move.titles()[1] == []


def test_a_copy_that_sqs_has_moved_keeps_the_id_of_its_message(move: Move, operations: Operations) -> None:
    body = {"operation": "add", "ticket": {"title": "Parcel"}}
    move.breaks(Fault(reset="after"))
    sqs, dead = move.deployment.sqs, move.deployment.dead_letter_queue
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    limit = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    sqs.set_queue_attributes(QueueUrl=move.deployment.requests, Attributes={"RedrivePolicy": limit})
    [message_id] = move.deployment.send(body)
    assert move.deployment.consume() == [message_id]
    move.deployment.show_all()
    # The second receive is one too many.
    assert move.deployment.receive() == []
    limit = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1000})
    sqs.set_queue_attributes(QueueUrl=move.deployment.requests, Attributes={"RedrivePolicy": limit})

    redrive(operations)
    move.until_quiet()

    assert move.titles() == [["Parcel"], []]
    assert {event["data"]["request_id"] for event in move.deployment.outcomes()} == {message_id}


# ── references ───────────────────────────────────────────────────────────────────────────────────────────


def test_two_sources_whose_references_look_alike_mean_their_own_tickets(move: Move) -> None:
    changes = {"sub_status": move.old.states[0]}
    for source, reference in (("shop#a", "1"), ("shop", "a#1")):
        move.send(
            ADD
            | {"request_id": source, "source": source, "reference": reference, "ticket": {"title": source}}
        )
    for source, reference in (("shop#a", "1"), ("shop", "a#1")):
        move.send(
            {
                "operation": "update",
                "request_id": f"update {source}".replace(" ", "-"),
                "source": source,
                "reference": reference,
                "changes": changes,
            }
        )

    ids = {ticket.title: ticket.ticket_id for ticket in move.old.tickets()}
    updated = [event for event in move.deployment.outcomes() if event["type"] == "ticket.updated"]
    assert [event["data"]["ticket_id"] for event in updated] == [ids["shop#a"], ids["shop"]]
