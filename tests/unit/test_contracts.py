"""The published contracts: as generated, valid, and true of samples and of what the API can answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from bridge import contracts, samples
from helpdesk.http_answers import STATUS_OF_CODE
from helpdesk.intake.envelopes import unwrap
from helpdesk.kapture_native import neutral

ROOT = Path(__file__).parents[2]
REQUEST = Draft202012Validator(contracts.request_schema())
DOCUMENT = contracts.openapi()


def carried(sample: samples.Sample) -> list[dict[str, Any]]:
    """The request that a sample carries, out of its envelope and in our spelling."""
    match sample.send:
        case samples.QueueSend(body=body) | samples.TopicSend(message=body):
            return [neutral(unwrap(body if isinstance(body, str) else json.dumps(body)).body)]
        case samples.BusSend(detail=detail) | samples.ScheduleSend(input=detail):
            return [detail]
        case samples.FormSend() if sample.becomes:
            return [sample.becomes]
        case samples.ApiSend(method="POST", body=dict(body)):
            return [{"operation": "add", **body}]
        case samples.ApiSend(method="PATCH", path=path, body=dict(body)):
            return [{"operation": "update", "ticket_id": path.rpartition("/")[2], **body}]
    return []


SAMPLES = [
    pytest.param(request, "invalid" not in sample.name, id=sample.name)
    for sample in samples.read_all(ROOT / "events")
    for request in carried(sample)
]


@pytest.mark.parametrize(("name", "text"), contracts.files().items(), ids=list(contracts.files()))
def test_the_committed_contracts_are_what_the_models_say(name: str, text: str) -> None:
    path = ROOT / name

    assert path.exists(), "run: make contracts"
    assert path.read_text() == text, f"{name} is out of date; run: make contracts"


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(contracts.request_schema())
    Draft202012Validator.check_schema(contracts.outcome_schema())


@pytest.mark.parametrize(("request_body", "is_good"), SAMPLES)
def test_samples_are_requests_by_the_schema(request_body: dict[str, Any], *, is_good: bool) -> None:
    assert [error.message for error in REQUEST.iter_errors(request_body)] == [] or not is_good
    assert REQUEST.is_valid(request_body) is is_good


def test_every_trigger_with_requests_has_a_sample() -> None:
    """Else the test above would hold for nothing."""
    triggers = {str(param.id).partition("_")[0] for param in SAMPLES}

    assert triggers == {"queue", "topic", "bus", "schedule", "form", "api"}


@pytest.mark.parametrize(
    "request_body",
    [
        {"operation": "add", "ticket": {"title": ""}},
        {"operation": "add", "ticket": {"title": "T", "colour": "red"}},
        {"operation": "add", "ticket": {"title": "T"}, "request_id": "with a blank"},
        {"operation": "update", "ticket_id": "5", "changes": {}},
        {"operation": "update", "changes": {"comment": "of which ticket?"}},
        {"operation": "get", "ticket_ids": []},
        {"operation": "delete", "ticket_id": "5"},
        {"ticket": {"title": "T"}},
    ],
)
def test_what_is_no_request_is_none_by_the_schema(request_body: dict[str, Any]) -> None:
    assert not REQUEST.is_valid(request_body)


@pytest.mark.parametrize(
    "request_body",
    [
        {"operation": "update", "ticket_id": 5, "changes": {"comment": "a number as id"}},
        {"operation": "get", "ticket_ids": "5,6"},
        {"operation": "get", "ticket_ids": 5, "include": ["raw"]},
        {"operation": "add", "ticket": {"title": "T", "details": None, "requester": {"phone": 4711}}},
    ],
)
def test_what_is_taken_besides_is_told_by_the_schema(request_body: dict[str, Any]) -> None:
    assert REQUEST.is_valid(request_body)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return {found for inner in node for found in references(inner)}
        if not isinstance(node, dict):
            return set()
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own | {found for inner in node.values() for found in references(inner)}

    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_status_of_a_rejection_is_in_the_document() -> None:
    told = {
        int(status)
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }

    assert set(STATUS_OF_CODE.values()) | {422} <= told


def test_examples_of_the_document_are_as_its_schemas_say() -> None:
    media = [
        content
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
        for part in (operation.get("requestBody", {}), *operation["responses"].values())
        for content in part.get("content", {}).values()
        if "example" in content
    ]
    named = [
        {"schema": schema, "example": schema["example"]}
        for schema in DOCUMENT["components"]["schemas"].values()
        if "example" in schema
    ]
    assert media
    assert named

    for content in media + named:
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        errors = Draft202012Validator(schema).iter_errors(content["example"])
        assert [error.message for error in errors] == []
