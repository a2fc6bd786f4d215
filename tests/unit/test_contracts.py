"""The published contracts: as generated, valid, and true of samples and of what the API can answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from bridge.generate import contracts
from bridge.sending import samples
from helpdesk.errors import RejectedError
from helpdesk.http.gateway import STATUS_OF_CODE
from helpdesk.intake.envelopes import unwrap
from helpdesk.intake.kapture_spelling import to_neutral
from helpdesk.intake.requests import Defaults, read_request
from tests.unit.test_requests import FULL, with_each_part_replaced

ROOT = Path(__file__).parents[2]
REQUEST = Draft202012Validator(contracts.request_schema())
DOCUMENT = contracts.openapi()


def carried(sample: samples.Sample) -> list[dict[str, Any]]:
    """The request that a sample carries, out of its envelope and in our spelling."""
    match sample.send:
        case samples.QueueSend(body=body) | samples.TopicSend(message=body):
            return [to_neutral(unwrap(body if isinstance(body, str) else json.dumps(body)).body)]
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
    for sample in samples.read_all(ROOT / "events", ROOT / "examples" / "samples")
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


def _without_dates(value: Any) -> Any:
    dates = ("due_date", "occurred_at", "callback_at")
    if not isinstance(value, dict):
        return value
    return {key: _without_dates(inner) for key, inner in value.items() if key not in dates}


@pytest.mark.parametrize("nothing", [None, "", " ", "\n", "\0", "\x1b", "\u2028"], ids=repr)
@pytest.mark.parametrize("full", FULL, ids=lambda full: full["operation"])
def test_of_nothing_in_place_of_a_value_the_schema_thinks_as_the_reader(full: Any, nothing: Any) -> None:
    if nothing is not None:
        # Whether a text is a date is no matter of a schema.
        full = _without_dates(full)
    for body in with_each_part_replaced(full, nothing):
        try:
            read_request(json.dumps(body), Defaults("message", "unknown", "kapture"))
            is_read = True
        except RejectedError:
            is_read = False
        assert REQUEST.is_valid(body) is is_read, body


def test_no_two_schemas_of_the_document_have_one_title() -> None:
    """Generators of clients name classes by it, and drop the second."""
    schemas = DOCUMENT["components"]["schemas"]
    assert {
        name: schema["title"] for name, schema in schemas.items() if schema.get("title", name) != name
    } == {}


def test_every_array_of_the_document_says_what_is_in_it() -> None:
    def arrays(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            kinds = node.get("type")
            if "array" in (kinds if isinstance(kinds, list) else [kinds]):
                yield node
            for inner in node.values():
                yield from arrays(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from arrays(inner)

    assert [array for array in arrays(DOCUMENT) if "items" not in array] == []


def test_a_client_can_be_generated_from_the_document_without_a_warning(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    # Without its tidying, which would say that it misses a tool.
    config.write_text('{"post_hooks": []}')
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    where = ["--path", str(ROOT / "docs" / "openapi.json"), "--output-path", str(tmp_path / "client")]
    done = subprocess.run(
        [*command, *where, "--config", str(config)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, "arning" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
    assert (tmp_path / "client" / "ticket_bridge_client" / "models" / "ticket.py").exists()


def test_every_reference_of_the_document_leads_somewhere() -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return {reference for inner in node for reference in references(inner)}
        if not isinstance(node, dict):
            return set()
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own | {reference for inner in node.values() for reference in references(inner)}

    for reference in references(DOCUMENT):
        part: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_every_status_of_a_rejection_is_in_the_document() -> None:
    documented = {
        int(status)
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }

    assert set(STATUS_OF_CODE.values()) | {422} <= documented


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
