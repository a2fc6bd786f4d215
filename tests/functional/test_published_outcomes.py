"""What the true handlers publish is as the schema says, and what the API answers as its document."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from bridge.generate import contracts
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Answer, Deployment

SCHEMA = contracts.outcome_schema()
DOCUMENT = contracts.openapi()
ADD = {"operation": "add", "ticket": {"title": "A broken cup", "requester": {"email": "ana@example.com"}}}


def shaped(event: dict[str, Any]) -> None:
    """Asserts that an event is as the schema says, and holds nothing that the schema does not name."""
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(event)] == []
    assert event.keys() == SCHEMA["properties"].keys()
    assert event["data"].keys() <= SCHEMA["properties"]["data"]["properties"].keys()
    for ticket in [event["data"].get("ticket", {}), *event["data"].get("tickets", [])]:
        assert ticket.keys() <= SCHEMA["$defs"]["Ticket"]["properties"].keys()


def documented(answer: Answer, path: str, method: str) -> None:
    """Asserts that an answer is one of those that the document gives to this call."""
    response = DOCUMENT["paths"][path][method]["responses"][str(answer.status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"][answer.headers["content-type"]]["schema"]
    errors = Draft202012Validator(schema | {"components": DOCUMENT["components"]}).iter_errors(answer.body)
    assert [error.message for error in errors] == []
    if "$ref" in schema:
        named = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert answer.body.keys() <= named["properties"].keys()


def test_published_outcomes_are_as_the_schema_says(deployment: Deployment, kapture: KaptureSimulator) -> None:
    kapture.faults.add(FaultRule(operation="add", match="doubtful", fault=Fault(status=500)))
    deployment.send(
        {**ADD, "request_id": "good", "reference": "7", "source": "shop"},
        {**ADD, "request_id": "doubtful", "ticket": {"title": "doubtful"}},
        {**ADD, "request_id": "untitled", "ticket": {}},
        "{not json",
    )
    deployment.consume()
    events = deployment.outcomes()
    ticket_id = next(event["data"]["ticket_id"] for event in events if event["type"] == "ticket.added")
    deployment.send(
        {"operation": "update", "ticket_id": ticket_id, "changes": {"sub_status": "PS"}},
        {"operation": "get", "ticket_ids": [ticket_id], "include": ["raw"]},
        {"operation": "get", "ticket_ids": [ticket_id, "none-such"]},
    )
    deployment.consume()
    events += deployment.outcomes()

    assert {event["type"] for event in events} == {
        "ticket.added",
        "ticket.updated",
        "ticket.retrieved",
        "ticket.rejected",
        "ticket.unknown",
    }
    for event in events:
        shaped(event)


def test_answers_of_the_api_are_as_the_document_says(deployment: Deployment) -> None:
    accepted = deployment.call("POST", "/tickets", {**ADD, "request_id": "one"})
    deployment.consume()
    ended = deployment.call("POST", "/tickets", {**ADD, "request_id": "one"}, {"Prefer": "wait=5"})
    receipt = deployment.call("GET", "/requests/one")
    tickets = deployment.call("GET", f"/tickets/{ended.body['ticket_id']}")

    documented(accepted, "/tickets", "post")
    documented(ended, "/tickets", "post")
    documented(receipt, "/requests/{request_id}", "get")
    documented(tickets, "/tickets/{ticket_id}", "get")
    documented(deployment.call("POST", "/tickets", {"ticket": {}}), "/tickets", "post")
    documented(deployment.call("POST", "/tickets", "[]"), "/tickets", "post")
    documented(deployment.call("GET", "/tickets/none-such"), "/tickets/{ticket_id}", "get")
    documented(deployment.call("GET", "/requests/none-such"), "/requests/{request_id}", "get")


@pytest.mark.parametrize("odd", ["a\u00b6b", "a\x0cb", 'a"b', "a#b", "a\\b", "%C2%B6", "100%", "\ud800"])
def test_an_id_of_odd_characters_is_an_id_all_the_same(deployment: Deployment, odd: str) -> None:
    """The gateway may hand over a path as it came or decoded."""
    receipt = deployment.call("GET", f"/requests/{odd}")
    tickets = deployment.call("GET", f"/tickets/{odd}")

    assert (receipt.status, receipt.body["code"]) == (404, "unknown_request")
    documented(tickets, "/tickets/{ticket_id}", "get")
    update = deployment.call("PATCH", f"/tickets/{odd}", {"changes": {"sub_status": "PS"}})
    documented(update, "/tickets/{ticket_id}", "patch")
    if update.status == 202:
        assert update.headers["location"].startswith("/v1/requests/")


def test_the_api_serves_its_document(deployment: Deployment) -> None:
    answer = deployment.call("GET", "/openapi.json")

    documented(answer, "/openapi.json", "get")
    assert answer.body == json.loads(json.dumps(DOCUMENT))
    assert deployment.call("POST", "/openapi.json").status == 405
    assert deployment.call("GET", "/openapi-json").status == 404


def test_only_posts_go_to_the_edge(deployment: Deployment) -> None:
    for path in ("/forms/contact", "/forms/contact/secret"):
        answer = deployment.call("GET", path)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert deployment.call("GET", "/forms").status == 404
