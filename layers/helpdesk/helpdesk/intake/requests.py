"""Reads requests: fills in what the trigger knows, and names all wrong fields at once."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue, TypeAdapter, ValidationError

from helpdesk.errors import FieldProblem, RejectedError
from helpdesk.intake.envelopes import IDENTIFIER, SOURCE, fitting, unwrap
from helpdesk.intake.kapture_spelling import to_neutral
from helpdesk.models import REQUEST, Context, HelpdeskName, Identity, Operation, Request

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_A_DATE = "must be a date, for example 2026-12-31"
_A_MOMENT = "must be a moment, for example 2026-12-31T09:00:00Z"
_PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "string_type": "must be a text",
    "string_unicode": "holds what is no Unicode text",
    "string_too_short": "must not be empty",
    "recursion_loop": "is nested too deeply",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must not be empty",
    "timezone_aware": "must carry an offset, for example Z or +05:30",
    "too_long": "must hold at most 100 of them",
    "date_type": _A_DATE,
    "datetime_type": _A_MOMENT,
    "date_from_datetime_parsing": _A_DATE,
    "date_from_datetime_inexact": "must be a date without a time of day, for example 2026-12-31",
    "date_parsing": _A_DATE,
    "datetime_from_date_parsing": _A_MOMENT,
    "datetime_parsing": _A_MOMENT,
}
# How pydantic's messages begin.
_SUBJECT = re.compile(r"^[A-Z][a-z]+ should ")
# The outcome that lists the problems must fit into one message.
_MOST_PROBLEMS = 50
_LONGEST_PATH = 200
_FORMS = {
    "comment": "must not be empty",
    "email": "must be an e-mail address",
    "url": "must be an http or https URL",
    "request_id": "must be printable ASCII without blanks",
    "reference": "must be printable ASCII without blanks",
    "source": "may hold letters, digits and ._:@/+=#- only",
    "ticket_id": "must be an id without blanks or commas",
    "ticket_ids": "must be an id without blanks or commas",
}

_CONTEXT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(Context)
_HELPDESK: TypeAdapter[HelpdeskName] = TypeAdapter(HelpdeskName)


class Defaults(NamedTuple):
    """The values of what a request leaves out; `request_id` is the trigger's id of the message."""

    request_id: str
    source: str
    helpdesk: str


class UnreadableRequestError(RejectedError):
    """A request that is wrong; `identity` and `context` are the parts of it that could be read."""

    def __init__(
        self, cause: RejectedError, identity: Identity, context: dict[str, JsonValue] | None = None
    ) -> None:
        super().__init__(cause.code, cause.message, cause.problems)
        self.identity = identity
        self.context = context


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
    return read_body(
        unwrapped.body,
        Defaults(
            request_id=unwrapped.event_id or defaults.request_id,
            source=unwrapped.source or defaults.source,
            helpdesk=defaults.helpdesk,
        ),
    )


def read_body(body: Mapping[str, Any], defaults: Defaults) -> Request:
    """The request in a body without its envelope. Raises as `read_request`."""
    filled = {
        "request_id": defaults.request_id,
        "source": defaults.source,
        "helpdesk": defaults.helpdesk,
        **{key: value for key, value in to_neutral(body).items() if value is not None},
    }
    try:
        return REQUEST.validate_python(filled)
    except ValidationError as error:
        cause = RejectedError("invalid_request", "the request is invalid", _problems(error))
        context = fitting(_CONTEXT, filled.get("context"))
        raise UnreadableRequestError(cause, _identity(filled, defaults), context) from error


def _problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [_problem(details) for details in errors[:_MOST_PROBLEMS]]
    if len(errors) > _MOST_PROBLEMS:
        problems.append(FieldProblem("body", f"has {len(errors) - _MOST_PROBLEMS} more problems"))
    return tuple(problems)


def _problem(error: "ErrorDetails") -> FieldProblem:
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return FieldProblem("operation", "must be add, update or get")
    # A location begins with the operation by which the model was chosen.
    steps = [str(step) for step in error["loc"][1:]]
    if error["type"] == "string_pattern_mismatch" and steps:
        problem = _FORMS.get(next(step for step in reversed(steps) if not step.isdigit()), error["msg"])
    else:
        message = _SUBJECT.sub("must ", error["msg"].removeprefix("Value error, "))
        problem = _PROBLEMS.get(error["type"], message)
    path = ".".join(steps) or "body"
    return FieldProblem(path if len(path) <= _LONGEST_PATH else path[:_LONGEST_PATH] + "…", problem)


def _identity(filled: Mapping[str, Any], defaults: Defaults) -> Identity:
    operation = filled.get("operation")
    return Identity(
        request_id=fitting(IDENTIFIER, filled.get("request_id")) or defaults.request_id,
        operation=Operation(operation) if operation in list(Operation) else None,
        helpdesk=fitting(_HELPDESK, filled.get("helpdesk")) or defaults.helpdesk,
        source=fitting(SOURCE, filled.get("source")) or defaults.source,
        reference=fitting(IDENTIFIER, filled.get("reference")),
    )
