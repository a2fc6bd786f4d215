"""The OpenAPI document of the API: its paths, and every answer that they give."""

from __future__ import annotations

import tomllib
from http import HTTPStatus
from pathlib import Path
from typing import Any

from helpdesk.http.api import MAX_WAIT_S
from helpdesk.http.gateway import MAX_BODY_BYTES

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"

_DESCRIPTION = f"""\
Requests for a helpdesk: taken at once, carried out once each.

202 is said only after the queue has the request; how it ends is published on the stack's topic, and shown at
`/requests/{{request_id}}`. Bodies may be up to {MAX_BODY_BYTES} bytes. Every error is an
`application/problem+json` (RFC 9457) whose `code` is stable and whose `errors` name every wrong field.
"""

_WHY = {
    400: "The body is no JSON object, or a header makes no sense.",
    401: "The sender is not verified; nothing was kept.",
    403: "The header x-api-key is missing or holds no valid key.",
    404: "There is no such ticket, request or path.",
    409: "The request_id (or Idempotency-Key) belongs to another request.",
    413: "The body is larger than the queue takes.",
    415: "The body is of a kind that this form does not take.",
    422: "The request is wrong, and so is its repetition; `errors` names every wrong field.",
    429: "Over the rate of this key, form or path; repeat later.",
    500: "The call failed; repeat it with the same request_id.",
    502: "The helpdesk refuses our token, or the call failed.",
    503: "Cannot be done now; repeat later with the same request_id.",
    504: "It may or may not have happened; it is looked up, and its receipt will tell.",
}
_GATEWAY = (429, 500, 502, 503, 504)

_REQUEST_EXAMPLE = {
    "request_id": "order-1001",
    "source": "webshop",
    "reference": "1001",
    "ticket": {
        "title": "Parcel arrived damaged",
        "details": "The cup in order 1001 is broken.",
        "requester": {"email": "ana@example.com", "name": "Ana"},
    },
}
_ENDED_EXAMPLE = {
    "schema_version": "1",
    "request_id": "order-1001",
    "operation": "add",
    "helpdesk": "kapture",
    "source": "webshop",
    "reference": "1001",
    "outcome": "succeeded",
    "ticket_id": "1000000042",
    "attempts": 1,
}
_ACCEPTED_EXAMPLE = {
    "request_id": "order-1001",
    "state": "accepted",
    "receipt": "/v1/requests/order-1001",
}
_TICKETS_EXAMPLE = {
    "tickets": [
        {
            "helpdesk": "kapture",
            "ticket_id": "1000000042",
            "title": "Parcel arrived damaged",
            "status": "Pending",
            "sub_status": {"key": "PS", "name": "Pending"},
            "created_at": "2026-11-02T09:30:00Z",
        }
    ],
    "missing": [],
}


def api_document(schemas: dict[str, Any]) -> dict[str, Any]:
    """The document around the schemas of requests, tickets and outcomes."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ticket Bridge",
            "version": project["version"],
            "summary": "Requests become helpdesk tickets, once each.",
            "description": _DESCRIPTION,
            "contact": {"name": "Whoever has deployed the stack"},
        },
        "servers": [
            {
                "url": "{api_url}",
                "description": "The output ApiUrl of your stack",
                "variables": {
                    "api_url": {"default": "https://abcde12345.execute-api.eu-west-1.amazonaws.com/v1"}
                },
            }
        ],
        "security": [{"api_key": []}],
        "tags": [
            {"name": "tickets", "description": "Add, update and get tickets"},
            {"name": "requests", "description": "What has become of a request"},
            {"name": "edge", "description": "Form services and helpdesks, which prove themselves otherwise"},
        ],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
            "headers": _headers(),
            "parameters": _parameters(),
            "responses": {f"Problem{status}": _problem(status) for status in _WHY},
            "schemas": dict(sorted((schemas | _own_schemas(schemas["Outcome"])).items())),
        },
    }


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────


def _paths() -> dict[str, Any]:
    return {
        "/tickets": {
            "post": {
                "operationId": "addTicket",
                "tags": ["tickets"],
                "summary": "Add a ticket",
                "description": "The body may also be an SNS notification, an EventBridge event or a "
                "CloudEvent around the request, or be spelt as for Kapture's own API.",
                "parameters": _asked_by("IdempotencyKey", "Prefer"),
                "requestBody": _body("AddRequest", _REQUEST_EXAMPLE),
                "responses": {
                    "201": _ended("The ticket has been added within the time of Prefer.", _ENDED_EXAMPLE)
                    | {"headers": _named_headers("CacheControl", Location="TicketLocation")},
                    **_accepted(),
                    **_problems(400, 403, 404, 409, 413, 422),
                },
            }
        },
        "/tickets/{ticket_id}": {
            "patch": {
                "operationId": "updateTicket",
                "tags": ["tickets"],
                "summary": "Update a ticket",
                "description": "What is left out stays. A comment is appended each time that it is sent.",
                "parameters": _asked_by("TicketId", "IdempotencyKey", "Prefer"),
                "requestBody": _body(
                    "UpdateRequest",
                    {"source": "webshop", "changes": {"sub_status": "RS", "comment": "A new cup was sent."}},
                ),
                "responses": {
                    "200": _ended(
                        "The ticket has been updated within the time of Prefer.",
                        _ENDED_EXAMPLE | {"operation": "update"},
                    ),
                    **_accepted(),
                    **_problems(400, 403, 404, 409, 413, 422),
                },
            },
            "get": {
                "operationId": "getTickets",
                "tags": ["tickets"],
                "summary": "Get tickets from the helpdesk",
                "description": "Read at the helpdesk at once, and so with its answer or its trouble.",
                "parameters": _asked_by("TicketIds", "Include", "AskedHelpdesk"),
                "responses": {
                    "200": _json("Those that there are, and the ids of those that are not.", "Tickets")
                    | {"headers": _named_headers("CacheControl")},
                    **_problems(403, 404, 422),
                },
            },
        },
        "/requests/{request_id}": {
            "get": {
                "operationId": "getRequest",
                "tags": ["requests"],
                "summary": "See what has become of a request",
                "description": "404 while nothing has been begun: the request may still wait in the queue.",
                "parameters": _asked_by("RequestId"),
                "responses": {
                    "200": _json("The receipt.", "Receipt") | {"headers": _named_headers("CacheControl")},
                    **_problems(403, 404),
                },
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "getDocument",
                "tags": ["requests"],
                "summary": "Read this document",
                "description": "As OpenAPI 3.1.",
                "responses": {
                    "200": {
                        "description": "This document.",
                        "headers": _named_headers("CacheControl"),
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    },
                    **_problems(403),
                },
            }
        },
        "/forms/{form}": {"post": _submission("submitForm", "Send a form's submission", "Form")},
        "/forms/{form}/{secret}": {
            "post": _submission(
                "submitFormWithSecret",
                "Send a submission of a form that is verified by its address",
                "Form",
                "Secret",
            )
        },
        "/callbacks/{helpdesk}": {
            "post": _callback("tellChange", "Tell that a ticket has changed", "Helpdesk", "CallbackSecret"),
            "get": _address_check(
                "checkAddress", "Check the address of callbacks", "Helpdesk", "CallbackSecret"
            ),
        },
        "/callbacks/{helpdesk}/{secret}": {
            "post": _callback(
                "tellChangeWithSecret",
                "Tell that a ticket has changed, by a secret address",
                "Helpdesk",
                "Secret",
            ),
            "get": _address_check(
                "checkAddressWithSecret", "Check the secret address of callbacks", "Helpdesk", "Secret"
            ),
        },
    }


def _submission(operation_id: str, summary: str, *parameters: str) -> dict[str, Any]:
    headers = _named_headers("CacheControl", **{"Request-Id": "RequestIdHeader"})
    taken = _json("The queue has the request.", "Submitted") | {"headers": headers}
    return {
        "operationId": operation_id,
        "tags": ["edge"],
        "security": [],
        "summary": summary,
        "description": "The form's file says what a submission looks like and how its sender is verified: by "
        "a signature or a secret in a header, or by a secret in the path.",
        "parameters": _asked_by(*parameters),
        "requestBody": _any_body(),
        "responses": {
            "200": _json(
                "As 202, where the service wants 200; or it was no finished submission.", "Submitted"
            )
            | {"headers": headers},
            "202": taken,
            "303": {
                "description": "The queue has the request; a browser goes on to the form's page of thanks.",
                "headers": _named_headers(
                    "CacheControl", Location="PageLocation", **{"Request-Id": "RequestIdHeader"}
                ),
            },
            **_problems(400, 401, 404, 413, 415, 422),
        },
    }


def _callback(operation_id: str, summary: str, *parameters: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "tags": ["edge"],
        "security": [],
        "summary": summary,
        "description": "Nothing in the body is believed but the ids of tickets: each is read again, and a "
        "change is published as `ticket.changed`.",
        "parameters": _asked_by(*parameters),
        "requestBody": _any_body(),
        "responses": {
            "200": _json("The ticket was looked at.", "CallbackTaken")
            | {"headers": _named_headers("CacheControl")},
            **_problems(400, 401, 404, 413, 415, 422),
        },
    }


def _address_check(operation_id: str, summary: str, *parameters: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "tags": ["edge"],
        "security": [],
        "summary": summary,
        "description": "Socialboards makes this call when an end-point of webhooks is set up; Kapture does "
        "not. The verify token is the secret once more.",
        "parameters": _asked_by(*parameters, "VerifyToken", "Challenge"),
        "responses": {
            "200": {
                "description": "The challenge, and nothing else.",
                "headers": _named_headers("CacheControl"),
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_problems(401, 404),
        },
    }


def _asked_by(*names: str) -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _body(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"required": True, "content": {"application/json": content}}


def _any_body() -> dict[str, Any]:
    fields = {"schema": {"type": "object"}}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]}},
            "application/x-www-form-urlencoded": fields,
            "multipart/form-data": fields,
        },
    }


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────


def _json(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _ended(description: str, example: dict[str, Any]) -> dict[str, Any]:
    answer = _json(description, "Outcome") | {"headers": _named_headers("CacheControl")}
    answer["content"]["application/json"]["example"] = example
    return answer


def _accepted() -> dict[str, Any]:
    description = "The queue has the request. With Prefer: it takes longer than the time to wait."
    answer = _json(description, "Accepted")
    answer["headers"] = _named_headers("CacheControl", Location="ReceiptLocation")
    return {"202": answer}


def _problems(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted({*statuses, *_GATEWAY})
    }


def _problem(status: int) -> dict[str, Any]:
    headers = {"headers": _named_headers(**{"Retry-After": "RetryAfter"})} if status in (429, 503) else {}
    return {
        "description": _WHY[status],
        **headers,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "type": "about:blank",
                    "title": HTTPStatus(status).phrase,
                    "status": status,
                    **_PROBLEM_EXAMPLES.get(status, {"code": "failed", "detail": _WHY[status]}),
                },
            }
        },
    }


_PROBLEM_EXAMPLES: dict[int, dict[str, Any]] = {
    400: {"code": "not_json", "detail": "the body is not JSON at character 17"},
    401: {"code": "wrong_signature", "detail": "the sender is not verified"},
    403: {"code": "api_key_refused", "detail": _WHY[403]},
    404: {"code": "unknown_path", "detail": "Nothing answers at this path."},
    409: {"code": "request_id_reused", "detail": _WHY[409]},
    413: {"code": "too_large", "detail": "the body is too large"},
    415: {"code": "unsupported_media_type", "detail": _WHY[415]},
    422: {
        "code": "invalid_request",
        "detail": "the request is invalid",
        "errors": [{"field": "ticket.title", "problem": "is missing"}],
    },
    429: {"code": "throttled", "detail": "The key of this call is over its rate; repeat later."},
    502: {"code": "token_refused", "detail": "the helpdesk refuses our token"},
    503: {"code": "queue_unavailable", "detail": _WHY[503]},
    504: {"code": "read_timeout", "detail": "the helpdesk did not answer in time"},
}


# ── components ───────────────────────────────────────────────────────────────────────────────────────────


def _named_headers(*names: str, **more: str) -> dict[str, Any]:
    known = {"CacheControl": "Cache-Control"}
    named = {known[name]: name for name in names} | more
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in named.items()}


def _headers() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "CacheControl": {"required": True, "schema": {"const": "no-store"}},
        "PageLocation": {"required": True, "description": "The form's page of thanks.", "schema": text},
        "ReceiptLocation": {
            "required": True,
            "description": "Where the receipt is.",
            "schema": text,
            "example": "/v1/requests/order-1001",
        },
        "RequestIdHeader": {"description": "The request that the submission became.", "schema": text},
        "RetryAfter": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
        "TicketLocation": {
            "required": True,
            "description": "Where the ticket can be had.",
            "schema": text,
            "example": "/v1/tickets/1000000042",
        },
    }


def _parameters() -> dict[str, Any]:
    ticket_id = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\s,]+$"}
    return {
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The request_id, where the body has none; with or without quotation marks.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[\x21-\x7e]+$"},
            "example": "order-1001",
        },
        "Prefer": {
            "name": "Prefer",
            "in": "header",
            "description": f"`wait=N` waits up to N seconds, {MAX_WAIT_S} at most, for the result itself.",
            "schema": {"type": "string"},
            "example": "wait=10",
        },
        "TicketId": _in_path("ticket_id", "The helpdesk's id of the ticket.", ticket_id, "1000000042"),
        "TicketIds": _in_path(
            "ticket_id",
            "One id, or up to 100 with commas between.",
            {"type": "string", "minLength": 1, "pattern": r"^[^\s,]+(,[^\s,]+)*$"},
            "1000000042,1000000043",
        ),
        "Include": {
            "name": "include",
            "in": "query",
            "description": "`raw` adds the helpdesk's own fields.",
            "schema": {"enum": ["raw"]},
        },
        "AskedHelpdesk": {
            "name": "helpdesk",
            "in": "query",
            "description": "Which helpdesk is asked; the deployment's first where left out.",
            "schema": {"enum": ["kapture", "socialboards"]},
        },
        "RequestId": _in_path(
            "request_id", "As in the answer 202.", {"type": "string", "minLength": 1}, "order-1001"
        ),
        "Form": _in_path(
            "form", "The name of the form's file.", {"type": "string", "minLength": 1}, "contact"
        ),
        "Helpdesk": _in_path("helpdesk", "Who calls back.", {"type": "string", "minLength": 1}, "kapture"),
        "Secret": _in_path("secret", "The secret that both sides know.", {"type": "string", "minLength": 1}),
        "VerifyToken": {
            "name": "verifyToken",
            "in": "query",
            "required": True,
            "description": "The secret that both sides know.",
            "schema": {"type": "string"},
        },
        "Challenge": {
            "name": "challenge",
            "in": "query",
            "required": True,
            "description": "Comes back as the answer.",
            "schema": {"type": "string", "pattern": r"^[\w.-]{1,128}$"},
        },
        "CallbackSecret": {
            "name": "X-Callback-Secret",
            "in": "header",
            "description": "The secret that both sides know.",
            "schema": {"type": "string"},
        },
    }


def _in_path(
    name: str, description: str, schema: dict[str, Any], example: str | None = None
) -> dict[str, Any]:
    shown = {"example": example} if example else {}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        **shown,
    }


def _own_schemas(outcome: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    ids = {"type": "array", "items": text}
    errors = {"type": "array", "items": {"$ref": "#/components/schemas/FieldProblem"}}
    return {
        "Accepted": {
            "description": "The queue has the request.",
            "type": "object",
            "required": ["request_id", "state", "receipt"],
            "properties": {
                "request_id": text,
                "state": {"const": "accepted"},
                "receipt": {"description": "Where the receipt is, as in Location.", **text},
            },
            "example": _ACCEPTED_EXAMPLE,
        },
        "Tickets": {
            "description": "Tickets as the helpdesk has them now.",
            "type": "object",
            "required": ["tickets", "missing"],
            "properties": {
                "tickets": {"type": "array", "items": {"$ref": "#/components/schemas/Ticket"}},
                "missing": ids,
            },
            "example": _TICKETS_EXAMPLE,
        },
        "Receipt": {
            "description": "What has become of a request; once it has ended, with its outcome.",
            "type": "object",
            "required": ["request_id", "state", "attempts", "updated_at"],
            "properties": {
                **outcome["properties"],
                "state": {
                    "enum": ["in_progress", "waiting", "succeeded", "rejected", "unknown", "parked"],
                },
                "updated_at": {"type": "string", "format": "date-time"},
            },
            "example": _ENDED_EXAMPLE | {"state": "succeeded", "updated_at": "2026-11-02T09:30:00.000+00:00"},
        },
        "Submitted": {
            "type": "object",
            "required": ["state"],
            "properties": {"state": {"enum": ["accepted", "ignored"]}, "request_id": text},
            "example": {"state": "accepted", "request_id": "contact:7f3a"},
        },
        "CallbackTaken": {
            "type": "object",
            "required": ["ticket_id", "changed"],
            "properties": {
                "ticket_id": {"description": "The ticket that was named; of several, the first.", **text},
                "changed": {"description": "Whether a change was published.", "type": "boolean"},
                "request_id": text,
            },
            "example": {"ticket_id": "1000000042", "changed": False},
        },
        "Problem": {
            "description": "RFC 9457.",
            "type": "object",
            "required": ["type", "title", "code", "detail"],
            "properties": {
                "type": {"const": "about:blank"},
                "title": text,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "code": {"description": "Stable, for programs.", **text},
                "detail": {"description": "For people.", **text},
                "errors": errors,
                "missing": {"description": "Tickets that the helpdesk does not have.", **ids},
                "request_id": {"description": "Of the request that did not succeed.", **text},
                "outcome": {"enum": ["rejected", "unknown", "parked"]},
            },
        },
    }
