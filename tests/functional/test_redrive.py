"""Parked requests that an operator sends again, through the true ledger and the true handlers."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from bridge.operations import Operations, Wanted
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture import KaptureSimulator
from bridge.target import Target
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

REFUSED = Fault(status=200, body='{"message": "no such queue", "status": "failed"}')


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str, clock: Clock) -> Iterator[Deployment]:
    with mock_aws():
        yield Deployment(monkeypatch, kapture_url, TOKEN, clock=clock)


@pytest.fixture
def operations(deployment: Deployment) -> Operations:
    return Operations(
        Target(
            session=boto3.Session(region_name="eu-west-1"),
            endpoint_url=None,
            name="ticket-bridge",
            requests_queue_url=deployment.requests,
            dead_letter_queue_url=deployment.dead_letter_queue,
            ledger_table="ledger",
            helpdesks=("kapture",),
        )
    )


def redrive(operations: Operations) -> int:
    return operations.redrive(Wanted(), told=lambda _: None, dry_run=False)


def test_a_request_that_the_helpdesk_rejected_is_carried_out_when_it_is_redriven(
    deployment: Deployment, operations: Operations, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(operation="add", times=1, fault=REFUSED))
    deployment.send({"operation": "add", "request_id": "again", "ticket": {"title": "again"}})
    deployment.consume()
    assert [event["type"] for event in deployment.outcomes()] == ["ticket.rejected"]

    assert redrive(operations) == 1
    deployment.consume()

    assert [event["type"] for event in deployment.outcomes()] == ["ticket.added"]
    assert [ticket.title for ticket in kapture.tickets] == ["again"]
    assert operations.parked() == []


def test_a_request_that_has_expired_is_carried_out_when_it_is_redriven(
    deployment: Deployment, operations: Operations, kapture: KaptureSimulator, clock: Clock
) -> None:
    operations.gate("kapture").pause()
    deployment.send({"operation": "add", "request_id": "late", "ticket": {"title": "late"}})
    deployment.consume()
    clock.let_pass(80 * 3600)
    deployment.show_all()
    deployment.consume()
    [event] = deployment.outcomes()
    assert (event["type"], event["data"]["code"]) == ("ticket.parked", "expired")

    operations.gate("kapture").resume()
    # The queue's own clock is not put forward.
    clock.let_pass(-80 * 3600)
    assert redrive(operations) == 1
    deployment.consume()

    assert [event["type"] for event in deployment.outcomes()] == ["ticket.added"]
    assert len(kapture.tickets) == 1


def test_a_request_that_has_succeeded_meanwhile_makes_no_second_ticket(
    deployment: Deployment, operations: Operations, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(operation="add", times=1, fault=REFUSED))
    deployment.send({"operation": "add", "request_id": "twice", "ticket": {"title": "twice"}})
    deployment.consume()
    copy = operations.parked()[0]
    redrive(operations)
    deployment.consume()
    deployment.sqs.send_message(
        QueueUrl=deployment.dead_letter_queue,
        MessageBody=copy.body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in copy.attributes.items()
        },
    )

    assert redrive(operations) == 1
    deployment.consume()

    assert len(kapture.tickets) == 1
