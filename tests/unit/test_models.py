"""Outcomes as events."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from helpdesk.errors import FieldProblem
from helpdesk.models import Identity, Operation, Outcome, OutcomeKind, Ticket

ADD = Identity(
    request_id="r-1", operation=Operation.ADD, helpdesk="kapture", source="shop", reference="order-1"
)
GET = Identity(request_id="r-2", operation=Operation.GET, helpdesk="kapture", source="shop")
ADDED = Outcome(
    identity=ADD, kind=OutcomeKind.SUCCEEDED, ticket_id="713516551148", ticket_url="https://x/1", attempts=2
)
TICKET = Ticket(
    helpdesk="kapture", ticket_id="1", title="Ü", created_at=datetime(2024, 4, 19, 8, 49, tzinfo=UTC)
)


def data(outcome: Outcome) -> dict[str, Any]:
    data: dict[str, Any] = outcome.event()["data"]
    return data


def test_an_outcome_is_a_cloudevent_to_the_public_package() -> None:
    text = json.dumps(ADDED.event(datetime(2026, 1, 1, 12, 0, 0, 5000, tzinfo=UTC)))
    event = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, text.encode()))

    assert event.get_specversion() == "1.0"
    assert event.get_type() == "ticket.added"
    assert event.get_source() == "ticket-bridge/kapture"
    assert event.get_subject() == "713516551148"
    assert event.get_time() == datetime(2026, 1, 1, 12, 0, 0, 5000, tzinfo=UTC)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_id() == ADDED.event_id
    assert event.get_data() == {
        "schema_version": "1",
        "request_id": "r-1",
        "operation": "add",
        "helpdesk": "kapture",
        "source": "shop",
        "reference": "order-1",
        "outcome": "succeeded",
        "ticket_id": "713516551148",
        "ticket_url": "https://x/1",
        "attempts": 2,
    }


def test_an_outcome_of_an_unreadable_request_is_a_cloudevent_as_well() -> None:
    outcome = Outcome(identity=Identity(request_id="m-1"), kind=OutcomeKind.REJECTED, code="not_json")
    text = json.dumps(outcome.event())
    event = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, text.encode()))

    assert (event.get_type(), event.get_source(), event.get_subject()) == (
        "ticket.rejected",
        "ticket-bridge/requests",
        "m-1",
    )


@pytest.mark.parametrize(
    ("operation", "kind", "type_"),
    [
        (Operation.ADD, OutcomeKind.SUCCEEDED, "ticket.added"),
        (Operation.UPDATE, OutcomeKind.SUCCEEDED, "ticket.updated"),
        (Operation.GET, OutcomeKind.SUCCEEDED, "ticket.retrieved"),
        (Operation.ADD, OutcomeKind.REJECTED, "ticket.rejected"),
        (Operation.UPDATE, OutcomeKind.UNKNOWN, "ticket.unknown"),
        (Operation.GET, OutcomeKind.PARKED, "ticket.parked"),
    ],
)
def test_the_type_tells_operation_and_end(operation: Operation, kind: OutcomeKind, type_: str) -> None:
    identity = ADD.model_copy(update={"operation": operation})

    assert Outcome(identity=identity, kind=kind).event()["type"] == type_


def test_the_same_result_has_the_same_id_whenever_it_is_told() -> None:
    again = ADDED.model_copy(update={"attempts": 3, "message": "told again"})
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)

    assert ADDED.event(early)["id"] == ADDED.event(late)["id"] == again.event(late)["id"]


def test_another_result_or_request_has_another_id() -> None:
    got = Outcome(identity=GET, kind=OutcomeKind.SUCCEEDED, ticket_id="1", tickets=(TICKET,))
    outcomes = [
        ADDED,
        ADDED.model_copy(update={"ticket_id": "2"}),
        ADDED.model_copy(update={"kind": OutcomeKind.UNKNOWN, "ticket_id": None, "code": "read_timeout"}),
        ADDED.model_copy(update={"kind": OutcomeKind.UNKNOWN, "ticket_id": None, "code": "crashed"}),
        ADDED.model_copy(update={"identity": ADD.model_copy(update={"request_id": "r-9"})}),
        ADDED.model_copy(update={"identity": ADD.model_copy(update={"helpdesk": "other"})}),
        got,
        got.model_copy(update={"tickets": (TICKET.model_copy(update={"status": "Complete"}),)}),
    ]

    assert len({outcome.event_id for outcome in outcomes}) == len(outcomes)


def test_a_ticket_asked_for_is_told_in_json_types_and_without_empty_keys() -> None:
    outcome = Outcome(identity=GET, kind=OutcomeKind.SUCCEEDED, tickets=(TICKET,))

    assert data(outcome)["ticket"] == {
        "helpdesk": "kapture",
        "ticket_id": "1",
        "title": "Ü",
        "created_at": "2024-04-19T08:49:00Z",
    }
    assert "tickets" not in data(outcome)


def test_several_tickets_and_missing_ones_are_told_in_lists() -> None:
    two = Outcome(
        identity=GET,
        kind=OutcomeKind.SUCCEEDED,
        tickets=(TICKET, TICKET.model_copy(update={"ticket_id": "2"})),
    )
    part = Outcome(identity=GET, kind=OutcomeKind.SUCCEEDED, tickets=(TICKET,), missing=("3",))

    assert [ticket["ticket_id"] for ticket in data(two)["tickets"]] == ["1", "2"]
    assert [ticket["ticket_id"] for ticket in data(part)["tickets"]] == ["1"]
    assert data(part)["missing"] == ["3"]


def test_what_is_wrong_and_what_was_left_out_is_told() -> None:
    outcome = Outcome(
        identity=ADD,
        kind=OutcomeKind.REJECTED,
        code="invalid_request",
        message="the request is invalid",
        problems=(FieldProblem("ticket.title", "is missing"),),
        truncated=True,
    )

    assert data(outcome)["errors"] == [{"field": "ticket.title", "problem": "is missing"}]
    assert (data(outcome)["code"], data(outcome)["message"]) == ("invalid_request", "the request is invalid")
    assert data(outcome)["truncated"] is True
