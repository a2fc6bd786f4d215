"""Reads requests: fills in what the trigger knows, and names everything that is wrong at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from helpdesk.errors import FieldProblem, RejectedError
from helpdesk.intake.envelopes import unwrap
from helpdesk.kapture_native import neutral
from helpdesk.models import REQUEST, Identifier, Identity, Operation, Request, Source

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must not be empty",
    "timezone_aware": "must carry an offset, for example Z or +05:30",
    "date_from_datetime_parsing": "must be a date, for example 2026-12-31",
    "date_parsing": "must be a date, for example 2026-12-31",
    "datetime_from_date_parsing": "must be a moment, for example 2026-12-31T09:00:00Z",
    "datetime_parsing": "must be a moment, for example 2026-12-31T09:00:00Z",
}
_FORMS = {
    "email": "must be an e-mail address",
    "url": "must be an http or https URL",
    "request_id": "must be printable ASCII without blanks",
    "reference": "must be printable ASCII without blanks",
    "source": "may hold letters, digits and ._:@/+=#- only",
    "ticket_id": "must be an id without blanks or commas",
    "ticket_ids": "must be an id without blanks or commas",
}

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_SOURCE: TypeAdapter[str] = TypeAdapter(Source)


@dataclass(frozen=True)
class Defaults:
    """What holds where a request does not say it: `request_id` is what the trigger calls the message."""

    request_id: str
    source: str
    helpdesk: str


class UnreadableRequestError(RejectedError):
    """A request that is wrong; `identity` is as much of it as could be read."""

    def __init__(self, cause: RejectedError, identity: Identity) -> None:
        super().__init__(cause.code, cause.message, cause.problems)
        self.identity = identity


def read_request(text: str, defaults: Defaults) -> Request:
    """The request in a message's text.

    Raises:
        UnreadableRequestError: with a problem for each wrong field.
    """
    try:
        unwrapped = unwrap(text)
    except RejectedError as error:
        identity = Identity(
            request_id=defaults.request_id, helpdesk=defaults.helpdesk, source=defaults.source
        )
        raise UnreadableRequestError(error, identity) from error
    request_id, source = unwrapped.event_id, unwrapped.source
    return read_body(
        unwrapped.body,
        Defaults(
            request_id=request_id if _fits(_IDENTIFIER, request_id) and request_id else defaults.request_id,
            source=source if _fits(_SOURCE, source) and source else defaults.source,
            helpdesk=defaults.helpdesk,
        ),
    )


def read_body(body: Mapping[str, Any], defaults: Defaults) -> Request:
    """The request in a body that is already out of its envelope. Raises as `read_request`."""
    filled = {
        "request_id": defaults.request_id,
        "source": defaults.source,
        "helpdesk": defaults.helpdesk,
        **neutral(body),
    }
    try:
        return REQUEST.validate_python(filled)
    except ValidationError as error:
        cause = RejectedError("invalid_request", "the request is invalid", _problems(error))
        raise UnreadableRequestError(cause, _identity(filled, defaults)) from error


def _problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    return tuple(
        _problem(found)
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _problem(found: "ErrorDetails") -> FieldProblem:
    if found["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return FieldProblem("operation", "must be add, update or get")
    # The first step of a place is the operation by which the model was chosen.
    steps = [str(step) for step in found["loc"][1:]]
    if found["type"] == "string_pattern_mismatch" and steps:
        problem = _FORMS.get(next(step for step in reversed(steps) if not step.isdigit()), found["msg"])
    else:
        problem = _PROBLEMS.get(found["type"], found["msg"].removeprefix("Value error, "))
    return FieldProblem(".".join(steps) or "body", problem)


def _identity(filled: Mapping[str, Any], defaults: Defaults) -> Identity:
    def readable(adapter: TypeAdapter[str], key: str, default: str | None) -> str | None:
        return filled[key] if _fits(adapter, filled.get(key)) else default

    operation = filled.get("operation")
    return Identity(
        request_id=readable(_IDENTIFIER, "request_id", None) or defaults.request_id,
        operation=Operation(operation) if operation in list(Operation) else None,
        helpdesk=defaults.helpdesk,
        source=readable(_SOURCE, "source", defaults.source),
        reference=readable(_IDENTIFIER, "reference", None),
    )


def _fits(adapter: TypeAdapter[str], value: Any) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
