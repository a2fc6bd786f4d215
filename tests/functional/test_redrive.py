"""A redriven request is carried out anew, and one that has succeeded meanwhile is not."""

import json
from collections.abc import Callable

import pytest
from moto import mock_aws

from bridge.operating.operations import Operations, ParkedCopy, Selection
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Clock, Deployment, operations_on
from tests.functional.conftest import TOKEN

ADD = {"operation": "add", "request_id": "order-1", "ticket": {"title": "Parcel"}}


def _redriven(operations: Operations) -> list[ParkedCopy]:
    sent: list[ParkedCopy] = []
    operations.redrive(Selection(), report=sent.append, dry_run=False)
    return sent


def _adds(kapture: KaptureSimulator) -> int:
    return sum(call.operation == "add" for call in kapture.calls)


def _refuse_once(kapture: KaptureSimulator, operation: str = "add") -> None:
    kapture.faults.add(
        FaultRule(
            operation=operation,
            times=1,
            fault=Fault(status=400, body='{"message": "no such queue", "status": "failed"}'),
        )
    )


@pytest.mark.parametrize("named", [{}, {"helpdesk": "kapture"}], ids=["default_helpdesk", "named_helpdesk"])
def test_what_the_helpdesk_refused_is_carried_out_when_it_is_redriven(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations, named: dict[str, str]
) -> None:
    _refuse_once(kapture)
    deployment.send({**ADD, **named})
    deployment.consume()

    (copy,) = _redriven(operations)
    deployment.consume()

    assert (copy.request_id, copy.code) == ("order-1", "refused_by_helpdesk")
    refused, added = (event["data"] for event in deployment.outcomes())
    assert (refused["outcome"], added["outcome"]) == ("rejected", "succeeded")
    assert [str(ticket["ticket_id"]) for ticket in kapture.tickets_as_json()] == [added["ticket_id"]]
    assert operations.parked().copies == ()


def test_what_has_succeeded_since_is_answered_and_not_made_twice(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    _refuse_once(kapture)
    deployment.send(ADD)
    deployment.consume()
    (copy,) = operations.parked().copies
    _redriven(operations)
    deployment.consume()
    # The same copy once more, as two operators at the same time would have it.
    deployment.sqs.send_message(
        QueueUrl=deployment.dead_letter_queue,
        MessageBody=copy.body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in copy.attributes.items()
        },
    )

    _redriven(operations)
    deployment.consume()

    assert [event["data"]["outcome"] for event in deployment.outcomes()][-2:] == ["succeeded", "succeeded"]
    assert len(kapture.tickets_as_json()) == 1
    assert _adds(kapture) == 2


def test_a_redriven_request_that_used_anothers_id_leaves_that_one_as_it_is(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    _refuse_once(kapture)
    deployment.send(ADD)
    deployment.consume()
    deployment.drain(deployment.dead_letter_queue)
    deployment.send({**ADD, "ticket": {"title": "Another"}})
    deployment.consume()

    (copy,) = _redriven(operations)
    deployment.consume()

    assert copy.code == "request_id_reused"
    assert deployment.outcomes()[-1]["data"]["code"] == "request_id_reused"
    assert _adds(kapture) == 1


def test_a_request_that_could_not_be_read_is_sent_again_as_it_is(
    deployment: Deployment, operations: Operations
) -> None:
    deployment.send("no JSON")
    deployment.consume()

    (copy,) = _redriven(operations)
    deployment.consume()

    first, again = (event["data"] for event in deployment.outcomes())
    assert copy.body == "no JSON"
    assert first["code"] == again["code"] == "not_json"


def test_what_was_given_up_is_carried_out_when_it_is_redriven(
    monkeypatch: pytest.MonkeyPatch, kapture_url: str, kapture: KaptureSimulator
) -> None:
    clock = Clock()
    with mock_aws():
        deployment = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock)
        operations = operations_on(deployment)
        operations.gate("kapture").pause()
        deployment.send(ADD)
        deployment.consume()
        clock.let_pass(80 * 3600)
        deployment.show_all()
        deployment.consume()
        assert [event["data"]["code"] for event in deployment.outcomes()] == ["expired"]

        operations.gate("kapture").resume()
        # The queue's own clock is not put forward.
        clock.let_pass(-80 * 3600)
        (copy,) = _redriven(operations)
        deployment.consume()

        assert copy.code == "expired"
        assert [event["type"] for event in deployment.outcomes()] == ["ticket.added"]
        assert len(kapture.tickets_as_json()) == 1


def _corrected(operations: Operations) -> None:
    draft = operations.draft("read-1")
    operations.correct(draft, json.dumps(json.loads(draft.text) | {"include": ["raw"]}))


@pytest.mark.parametrize("send_again", [_redriven, _corrected])
def test_a_get_that_was_refused_and_then_succeeds_is_no_longer_called_rejected(
    deployment: Deployment,
    kapture: KaptureSimulator,
    operations: Operations,
    send_again: Callable[[Operations], object],
) -> None:
    ticket_id = _ticket_of(deployment)
    _refuse_once(kapture, "get")
    deployment.send({"operation": "get", "request_id": "read-1", "ticket_ids": [ticket_id]})
    deployment.consume()
    assert deployment.call("GET", "/requests/read-1").body["state"] == "rejected"

    send_again(operations)
    deployment.consume()

    assert deployment.outcomes()[-1]["type"] == "ticket.retrieved"
    assert deployment.call("GET", "/requests/read-1").status == 404
    assert "rejected" not in operations.trace("read-1").stands


def _ticket_of(deployment: Deployment) -> str:
    deployment.send(ADD)
    deployment.consume()
    ticket_id: str = deployment.outcomes()[-1]["data"]["ticket_id"]
    return ticket_id
