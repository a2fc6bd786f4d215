"""Single parked requests are dropped, or corrected and sent again; a bulk redrive spares what may exist."""

import json
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.operating.operations import Operations, ParkedCopy, Selection
from bridge.operating.parked import entries_of
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.errors import RejectedError
from tests.deployment import Deployment

ADD = {"operation": "add", "request_id": "order-1", "source": "shop", "ticket": {"title": "Parcel of Ana"}}


def _park(deployment: Deployment, request_id: str, code: str, body: Any = None) -> None:
    deployment.sqs.send_message(
        QueueUrl=deployment.dead_letter_queue,
        MessageBody=json.dumps(body or {**ADD, "request_id": request_id}),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value}
            for name, value in {"request_id": request_id, "code": code, "source": "shop"}.items()
        },
    )


def _corrected(operations: Operations, **changes: Any) -> tuple[str, bool]:
    draft = operations.draft("order-1")
    sent = operations.correct(draft, json.dumps(json.loads(draft.text) | changes))
    return sent.request_id, sent.is_same


def _titles(kapture: KaptureSimulator) -> list[str]:
    return [ticket.title for ticket in kapture.tickets]


def test_a_dropped_request_is_gone_and_who_and_why_is_remembered(
    deployment: Deployment, operations: Operations
) -> None:
    for request_id in ("order-1", "order-2"):
        _park(deployment, request_id, "expired")
    shown: list[ParkedCopy] = []
    only = Selection(request_id="order-1")

    operations.drop(only, "", report=shown.append, dry_run=True)
    assert len(operations.parked().copies) == 2
    operations.drop(only, "sent again\nby the shop", report=shown.append, dry_run=False)

    assert [copy.request_id for copy in shown] == ["order-1", "order-1"]
    assert [copy.request_id for copy in operations.parked().copies] == ["order-2"]
    (step,) = operations.trace("order-1").steps
    assert step.text.endswith(" dropped its parked copy: sent again by the shop")
    assert "Ana" not in json.dumps(deployment.dynamodb.scan(TableName="ledger")["Items"])


def test_a_bulk_redrive_leaves_out_what_may_have_happened(
    deployment: Deployment, operations: Operations
) -> None:
    for code in ("expired", "outcome_unknown", "crashed"):
        _park(deployment, f"order-{code}", code)

    def redriven(**selection: Any) -> list[str]:
        sent: list[ParkedCopy] = []
        operations.redrive(Selection(**selection), report=sent.append, dry_run=True)
        return sorted(copy.code for copy in sent)

    assert redriven() == ["expired"]
    assert redriven(source="shop") == ["expired"]
    assert redriven(code="crashed") == ["crashed"]
    assert redriven(request_id="order-outcome_unknown") == ["outcome_unknown"]


def test_what_was_parked_after_a_person_has_looked_is_left_alone(
    deployment: Deployment, operations: Operations
) -> None:
    shown: list[ParkedCopy] = []
    _park(deployment, "order-1", "expired")
    operations.drop(Selection(), "", report=shown.append, dry_run=True)
    _park(deployment, "order-2", "expired")

    seen = Selection(message_ids=frozenset(copy.message_id for copy in shown))
    operations.drop(seen, "agreed", report=shown.append, dry_run=False)

    assert [copy.request_id for copy in shown] == ["order-1", "order-1"]
    assert [copy.request_id for copy in operations.parked().copies] == ["order-2"]


def test_copies_of_one_trouble_are_one_entry(deployment: Deployment, operations: Operations) -> None:
    for code in ("expired", "expired", "invalid_request"):
        _park(deployment, "order-1", code)

    entries = entries_of(operations.parked().copies)

    assert {copy.code: count for copy, count in entries} == {"expired": 2, "invalid_request": 1}


def test_a_corrected_request_that_was_never_begun_stays_the_same_request(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    deployment.send({**ADD, "ticket": {"titel": "Parcel"}}, {**ADD, "ticket": {"titel": "Parcel"}})
    deployment.consume()

    with pytest.raises(RejectedError) as still_wrong:
        _corrected(operations, ticket={"title": ""})
    assert [problem.field for problem in still_wrong.value.problems] == ["ticket.title"]
    assert _corrected(operations, ticket={"title": "Parcel"}) == ("order-1", True)
    deployment.consume()

    assert _titles(kapture) == ["Parcel"]
    assert operations.parked().copies == ()
    texts = [step.text for step in operations.trace("order-1").steps]
    assert any("corrected it and sent it again. Wrong before: ticket.title" in text for text in texts)


def test_a_correction_is_checked_by_the_rules_of_its_helpdesk(
    deployment: Deployment, operations: Operations
) -> None:
    update = {"operation": "update", "request_id": "order-1", "ticket_id": "1", "changes": {"comment": "c"}}
    deployment.send(update)
    deployment.consume()

    with pytest.raises(RejectedError) as wrong:
        _corrected(operations, changes={"comment": "d"})

    assert [problem.field for problem in wrong.value.problems] == ["changes.sub_status"]
    assert [copy.request_id for copy in operations.parked().copies] == ["order-1"]


def test_a_correction_takes_the_place_of_what_the_helpdesk_refused(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    refusal = Fault(status=400, body='{"message": "no such queue", "status": "failed"}')
    kapture.faults.add(FaultRule(operation="add", times=1, fault=refusal))
    deployment.send(ADD)
    deployment.consume()

    assert _corrected(operations, ticket={"title": "Corrected"}) == ("order-1", True)
    deployment.consume()
    # The same once more, as after a lost answer.
    deployment.send({**ADD, "ticket": {"title": "Corrected"}})
    deployment.consume()

    assert _titles(kapture) == ["Corrected"]
    assert operations.trace("order-1").stands.startswith("succeeded")


def test_what_used_the_id_of_another_request_is_sent_under_a_new_one_that_names_the_old(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    deployment.send(ADD)
    deployment.consume()
    deployment.send({**ADD, "ticket": {"title": "Another"}})
    deployment.consume()

    new_id, is_same = _corrected(operations)
    deployment.consume()

    assert (new_id.startswith("order-1~"), is_same) == (True, False)
    assert _titles(kapture) == ["Parcel of Ana", "Another"]
    assert f"sent a corrected copy as {new_id}." in str(operations.trace("order-1").steps)
    assert "made it as a corrected copy of order-1." in str(operations.trace(new_id).steps)


def test_a_correction_of_what_may_have_happened_is_another_request(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(ADD)
    deployment.consume()
    doubt = deployment.parts.ledger.receipt("order-1")
    assert doubt
    assert doubt.outcome
    parked = doubt.outcome.model_copy(update={"kind": "parked", "code": "outcome_unknown"})
    deployment.parts.ledger.finish(doubt.claim, parked)
    deployment.show_all()
    deployment.consume()

    new_id, is_same = _corrected(operations, ticket={"title": "Corrected"})

    assert (new_id.startswith("order-1~"), is_same) == (True, False)


def test_what_has_succeeded_since_is_not_corrected(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    deployment.send({**ADD, "ticket": {"titel": "Parcel"}})
    deployment.consume()
    deployment.send({**ADD, "ticket": {"title": "Parcel"}})
    deployment.consume()

    with pytest.raises(BridgeError, match="has succeeded since"):
        _corrected(operations, ticket={"title": "Corrected"})

    assert len(operations.parked().copies) == 1
    assert _titles(kapture) == ["Parcel"]
