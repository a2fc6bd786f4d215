"""Adds whose answer was lost: said, looked up, and never made twice."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture import KaptureSimulator
from tests.deployment import Deployment
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
    assert deployment.reconcile()["found"] == 1
    deployment.show_all()
    assert deployment.consume() == []

    [event] = deployment.outcomes()
    assert event["type"] == "ticket.added"
    assert event["data"]["ticket_id"] == kapture.tickets[0].ticket_id
    assert len(kapture.tickets) == 1
    assert deployment.waiting() == 0


def test_an_add_that_never_arrived_is_made_once_it_is_proved_absent(
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

    assert deployment.reconcile()["absent"] == 1
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

    assert deployment.reconcile()["parked"] == 1
    deployment.show_all()
    deployment.consume()

    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]
    assert len(kapture.tickets) == 1
    [letter] = deployment.dead_letters()
    assert letter["code"] == "outcome_unknown"
    assert deployment.waiting() == 0
