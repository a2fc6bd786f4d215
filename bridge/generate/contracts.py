"""Generates the published contracts: the schemas of request and outcome, and the API's OpenAPI document.

python -m bridge.generate.contracts [FOLDER]    writes them into the project, or into another folder
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml  # type: ignore[import-untyped]  # it has no types
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from helpdesk import models
from helpdesk.errors import FieldProblem
from helpdesk.http.api import MAX_WAIT_S
from helpdesk.http.gateway import MAX_BODY_BYTES
from helpdesk.models import (
    REQUEST,
    SCHEMA_VERSION,
    AddRequest,
    Identity,
    Operation,
    Outcome,
    OutcomeKind,
    Ticket,
    UpdateRequest,
)
from helpdesk.store.audits import AUDITED, AuditReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import core_schema

ROOT = Path(__file__).parents[2]
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What the trigger knows, so that a producer may leave it out.
_FILLED_IN = {"request_id", "helpdesk", "source"}
# What a key means, wherever it stands.
_MEANINGS = {
    "request_id": "Names the request: the same id never makes a second ticket. Left out, it is the header "
    "Idempotency-Key, the event's id, or the message's.",
    "helpdesk": "Which helpdesk carries it out; left out, the stack's own.",
    "source": "Who asks.",
    "reference": "The producer's own id of the thing; later it can stand in place of ticket_id.",
    "occurred_at": "When it happened, with offset. An update older than one already asked for is refused.",
    "context": "Your own data, at most 2,048 bytes of JSON: every outcome of the request has it.",
    "operation": "What is asked of the helpdesk.",
    "ticket_id": "The helpdesk's id of the ticket.",
    "ticket_ids": "One id or up to 100.",
    "ticket_url": "Where people see the ticket.",
    "include": "`raw` adds the helpdesk's own fields; `watch` tells their changes from now on.",
    "extra": "Goes to the helpdesk as it is.",
    "due_date": "A day, for example 2026-12-31.",
    "callback_at": "A moment; without an offset it is meant in the helpdesk's own zone.",
    "comment": "Is appended each time that it is sent.",
    "sub_status": "The helpdesk's own finer state. Kapture needs it in every update.",
    "status": "The helpdesk's own state.",
    "priority": "The helpdesk's own word or number.",
    "tags": "Words that the ticket is found by.",
    "attachments": "Files that can be had at an address.",
    "code": "Why, in a stable word for programs.",
    "message": "Why, in words for people.",
    "raw": "The helpdesk's own fields, as it told them.",
    "internal_id": "The id under which the helpdesk itself keeps the ticket.",
    "missing": "The ids of tickets that the helpdesk does not have.",
    "attempts": "Calls made so far, those that did nothing not counted.",
}


class _Published(GenerateJsonSchema):
    """What the models take and give, also where they say it by functions."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Lists may come as one text or number, ids as numbers."""
        inner = super().function_before_schema(schema)
        match schema["function"]["function"]:
            case models._number_as_text:
                return inner | {"type": ["string", "integer"]}
            case models._one_or_many:
                text = {"type": "string", "pattern": r"[^\s,]", "description": "Ids with commas between."}
                return {"anyOf": [inner, text, {"type": "integer"}]}
        return inner

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        """Lists that must not be empty."""
        inner = super().function_after_schema(schema)
        if schema["function"]["function"] is models._not_empty:
            return inner | {"minItems": 1}
        return inner

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """We leave out what has no value; a producer may also say null."""
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without the default: what is left out has no value."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """The key says it already."""
        return False


def request_schema() -> dict[str, Any]:
    """The request as a producer may send it, in our own spelling and out of any envelope."""
    schema = REQUEST.json_schema(schema_generator=_Published)
    schema.pop("discriminator")
    _as_producers_may_send(schema["$defs"])
    schema["$defs"]["UpdateRequest"]["anyOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in ("ticket_id", "reference")
    ]
    return {
        "$schema": DIALECT,
        "$id": f"urn:ticket-bridge:request:{SCHEMA_VERSION}",
        "title": "Request",
        "description": "What Ticket Bridge is asked to do: the body of a message to the requests queue, or "
        "what an SNS notification, an EventBridge event or a CloudEvent carries.",
        **_explained(schema),
    }


def outcome_schema() -> dict[str, Any]:
    """The CloudEvents event in which an outcome is published. Keys may be added without a new version."""
    content, definitions = _outcome_content("#/$defs/{model}")
    kinds = [*_types_of(OutcomeKind.SUCCEEDED), *(f"ticket.{kind}" for kind in _ENDED_OTHERWISE)]
    schema = {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {
                "description": "The same for the same result of the same request: drop what comes again.",
                "type": "string",
                "pattern": "^[0-9a-f]{32}$",
            },
            "source": {"type": "string", "pattern": "^ticket-bridge/"},
            "type": {"enum": [*kinds, "ticket.changed"]},
            "subject": {"description": "The ticket_id, else the request_id.", "type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "data": content,
        },
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:ticket-bridge:outcome:{SCHEMA_VERSION}",
        "title": "Outcome",
        "description": "How a request ended, as a CloudEvents 1.0 event in JSON. Further keys may be added; "
        "leave alone what you do not know.",
        **_explained(schema),
        "$defs": _explained(definitions),
    }


def audit_schema() -> dict[str, Any]:
    """The CloudEvents event in which the report of a day's audit is published."""
    report = TypeAdapter(AuditReport).json_schema(schema_generator=_Published, mode="serialization")
    definitions = report.pop("$defs")
    content = {
        "type": "object",
        "required": ["schema_version", "outcome", *report["required"]],
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            "outcome": {"enum": ["clean", "discrepancies"]},
            **report["properties"],
        },
    }
    event = outcome_schema()["properties"] | {
        "type": {"const": AUDITED},
        "subject": {"description": "The day.", "type": "string", "format": "date"},
        "data": content,
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:ticket-bridge:audit:{SCHEMA_VERSION}",
        "title": "AuditReport",
        "description": "What the ledger says of a day, compared with what the helpdesk shows.",
        "type": "object",
        "required": list(event),
        "properties": event,
        "$defs": definitions,
    }


def openapi() -> dict[str, Any]:
    generated = models_json_schema(
        [(AddRequest, "validation"), (UpdateRequest, "validation")],
        schema_generator=_Published,
        ref_template="#/components/schemas/{model}",
    )[1]["$defs"]
    _as_producers_may_send(generated)
    for name in ("AddRequest", "UpdateRequest"):
        # The path says it.
        generated[name]["required"].remove("operation")
    content, definitions = _outcome_content("#/components/schemas/{model}")
    return _document_with(_explained(generated | definitions | {"Outcome": content}))


def files() -> dict[str, str]:
    """The text of every generated file, by its path in the project."""
    document = openapi()
    return {
        "events/schemas/request.schema.json": _text(request_schema()),
        "events/schemas/outcome.schema.json": _text(outcome_schema()),
        "events/schemas/audit.schema.json": _text(audit_schema()),
        "docs/openapi.json": _text(document),
        # What the API serves: `sam build` sees no file outside of this folder.
        "functions/openapi.json": json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n",
    }


def _document_with(generated: dict[str, Any]) -> dict[str, Any]:
    """openapi.yaml with these schemas in it, and everything else that is said elsewhere."""
    text = Path(__file__).with_name("openapi.yaml").read_text()
    for name, value in (("max_wait_s", MAX_WAIT_S), ("max_body_bytes", MAX_BODY_BYTES)):
        text = text.replace(f"<{name}>", str(value))
    document: dict[str, Any] = yaml.safe_load(text)
    del document["shared"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    document["info"]["version"] = project["version"]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"] = dict(sorted(operation["responses"].items()))
    components = document["components"]
    for name, response in components["responses"].items():
        components["responses"][name] = _problem(int(name.removeprefix("Problem")), response)
    schemas = components["schemas"]
    schemas["Receipt"]["properties"] = generated["Outcome"]["properties"] | schemas["Receipt"]["properties"]
    components["schemas"] = dict(sorted((generated | schemas).items()))
    return document


def _problem(status: int, response: dict[str, Any]) -> dict[str, Any]:
    """A response of application/problem+json, out of what openapi.yaml says of it."""
    words = {"detail": response["description"], **response.pop("example")}
    example = {
        "type": "about:blank",
        "title": words.pop("title"),
        "status": status,
        "code": words.pop("code"),
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example | words}
    return response | {"content": {"application/problem+json": content}}


_ENDED_OTHERWISE = (OutcomeKind.REJECTED, OutcomeKind.UNKNOWN, OutcomeKind.PARKED)


def _types_of(kind: OutcomeKind) -> list[str]:
    return [
        Outcome(identity=Identity(request_id="any", operation=operation), kind=kind).type
        for operation in Operation
    ]


def _outcome_content(ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of an event's `data`, and the definitions that it refers to by the template."""
    shown: list[tuple[Any, Literal["serialization"]]] = [
        (Ticket, "serialization"),
        (Identity, "serialization"),
    ]
    definitions = models_json_schema(shown, schema_generator=_Published, ref_template=ref_template)[1][
        "$defs"
    ]
    # Producers' requests have a definition of this name, which says more than we promise of answers.
    definitions["TicketRequester"] = definitions.pop("Requester") | {"title": "TicketRequester"}
    requester = ref_template.format(model="TicketRequester")
    definitions["Ticket"]["properties"]["requester"] = {"$ref": requester}
    identity = definitions.pop("Identity")["properties"]
    operation = definitions.pop("Operation")
    identity["operation"] = {"enum": operation["enum"]}
    definitions["FieldProblem"] = TypeAdapter(FieldProblem).json_schema(
        schema_generator=_Published, mode="serialization"
    )
    definitions["FieldProblem"]["description"] = "One wrong field."
    for definition in definitions.values():
        definition.pop("additionalProperties", None)
    ticket = {"$ref": ref_template.format(model="Ticket")}
    text = {"type": "string"}
    content = {
        "description": "How a request ended.",
        "type": "object",
        "required": ["schema_version", "request_id", "outcome", "attempts"],
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            **identity,
            "request_id": {"description": "Of the request that ended so.", **text},
            "helpdesk": {"description": "The helpdesk that was asked.", **text},
            "outcome": {"enum": [kind.value for kind in OutcomeKind]},
            "ticket_id": text,
            "ticket_url": text,
            "code": text,
            "message": text,
            "attempts": {"type": "integer", "minimum": 0},
            "context": {"type": "object"},
            "errors": {
                "description": "Everything that is wrong with a rejected request.",
                "type": "array",
                "items": {"$ref": ref_template.format(model="FieldProblem")},
            },
            "ticket": {"description": "The ticket that was asked for.", **ticket},
            "tickets": {
                "description": "Where several were asked for: those that there are.",
                "type": "array",
                "items": ticket,
            },
            "missing": {"type": "array", "items": text},
            "truncated": {
                "description": "There was more than a message can hold: ask for the ticket over the API.",
                "const": True,
            },
        },
    }
    return content, definitions


def _as_producers_may_send(definitions: dict[str, Any]) -> None:
    for definition in definitions.values():
        if not _FILLED_IN & set(definition.get("required", ())):
            continue
        definition["required"] = [key for key in definition["required"] if key not in _FILLED_IN]
        for key, value in definition["properties"].items():
            # At the top of a request null is as good as nothing.
            if key not in definition["required"] and {"type": "null"} not in value.get("anyOf", ()):
                definition["properties"][key] = {"anyOf": [value, {"type": "null"}]}
    definitions["Changes"]["minProperties"] = 1
    # `Any` would do, but generators of code like a name.
    definitions["JsonValue"] = {"description": "Any JSON."}


def _explained(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a description at each property of a known meaning."""
    explained: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            explained[key] = {
                name: ({"description": _MEANINGS[name]} if name in _MEANINGS else {}) | _explained(schema_of)
                for name, schema_of in value.items()
            }
        else:
            explained[key] = _explained(value) if isinstance(value, dict) else value
    return explained


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else ROOT
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
