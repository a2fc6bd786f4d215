"""Requests, normalised tickets and outcomes, neutral to every helpdesk."""

import hashlib
import json
import re
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from helpdesk.errors import FieldProblem

SCHEMA_VERSION = "1"

# This line registers a helpdesk: everything else follows from its name (docs/adding-a-helpdesk.md).
HelpdeskName = Literal["kapture", "socialboards"]


def _number_as_text(value: Any) -> Any:
    """Ids come as texts from one program and as numbers from another."""
    return str(value) if type(value) is int else value


def one_line(text: str) -> str:
    """The text without line breaks and control characters: they could begin another line or header."""
    return _BREAKS.sub(" ", text)


def _line(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _written_out(value: Any) -> Any:
    """Keeps numbers from being read as seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and not _YEAR_FIRST.match(value)):
        raise ValueError("must be written out, for example 2026-12-31 or 2026-12-31T09:00:00Z")
    return value


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if type(value) is int else value


def _not_empty(ids: tuple[str, ...]) -> tuple[str, ...]:
    # A minimum length would report a second problem wherever the only id is wrong.
    if not ids:
        raise ValueError("must not be empty")
    return ids


_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_YEAR_FIRST = re.compile(r"\s*\d{4}-")

_NumberAsText = BeforeValidator(_number_as_text)
_WrittenOut = BeforeValidator(_written_out)

# Printable ASCII without blanks: ids travel in headers, URLs, message attributes and message groups.
LONGEST_ID = 128
Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_ID, pattern=r"^[\x21-\x7e]+$"), _NumberAsText
]
Source = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:@/+=#-]+$")]
TicketId = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\s,]+$"), _NumberAsText]
_VISIBLE = StringConstraints(min_length=1, pattern=r"[^\s\x00-\x1f\x7f-\x9f]")
Text = Annotated[str, _VISIBLE]
# Of one line.
Line = Annotated[str, _VISIBLE, BeforeValidator(_line)]
# Without quoted names, which nobody uses any more, and without characters that have a meaning in HTML.
Email = Annotated[
    str,
    StringConstraints(
        pattern=r"""^[^@\s\x00-\x1f\x7f-\x9f"(),:;<>\[\\\]]+@[^@\s\x00-\x2c/\x3a-\x40\x5b-\x60\x7b-\x9f]+$""",
        max_length=254,
    ),
]


# Nobody reads it, so nothing in it is changed: the models' own texts lose the blanks around them.
_JSON_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
MAX_CONTEXT_BYTES = 2048
_MOST_LEVELS = 32


def _small_object(value: Any) -> dict[str, JsonValue]:
    try:
        context = _JSON_OBJECT.validate_python(value)
    except ValidationError as error:
        raise ValueError("must be an object of JSON") from error
    if _levels(context) > _MOST_LEVELS:
        raise ValueError("is nested too deeply")
    try:
        size = len(json.dumps(context, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError as error:
        raise ValueError("holds what is no Unicode text") from error
    if size > MAX_CONTEXT_BYTES:
        raise ValueError(f"must be at most {MAX_CONTEXT_BYTES} bytes of JSON")
    return context


def _levels(value: JsonValue) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


# What a sender wants to find again in the outcome.
Context = Annotated[dict[str, JsonValue], PlainValidator(_small_object), WithJsonSchema({"type": "object"})]


class Operation(StrEnum):
    """What a request can ask of a helpdesk."""

    ADD = "add"
    UPDATE = "update"
    GET = "get"


class OutcomeKind(StrEnum):
    """How a request can end. Only `unknown` is not final."""

    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    PARKED = "parked"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────


class Requester(_Model):
    """The person that a ticket is made for."""

    email: Email | None = None
    name: Line | None = None
    phone: Annotated[Line, _NumberAsText] | None = None
    customer_id: Annotated[Line, _NumberAsText] | None = None


class Attachment(_Model):
    """A file at `url`."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    name: Line | None = None


class NewTicket(_Model):
    """The content of a new ticket. `extra` goes to the helpdesk as it is."""

    title: Line
    details: str | None = None
    due_date: Annotated[date, _WrittenOut] | None = None
    requester: Requester | None = None
    queue: Line | None = None
    disposition: Line | None = None
    priority: Annotated[Line, _NumberAsText] | None = None
    tags: tuple[Line, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    extra: dict[str, JsonValue] = Field(default_factory=dict)


class Changes(_Model):
    """The changes of an update; a field left out stays. A comment is appended each time it is sent."""

    sub_status: Line | None = None
    status: Annotated[Line, _NumberAsText] | None = None
    queue: Line | None = None
    comment: Text | None = None
    # A time without an offset is of the helpdesk's own zone.
    callback_at: Annotated[datetime, _WrittenOut] | None = None
    disposition: Line | None = None
    assignee: Line | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _changes_something(self) -> "Changes":
        if not self.model_dump(exclude_defaults=True):
            raise ValueError("name at least one change")
        return self


class _RequestBase(_Model):
    request_id: Identifier
    helpdesk: HelpdeskName
    source: Source
    reference: Identifier | None = None
    occurred_at: Annotated[AwareDatetime, _WrittenOut] | None = None
    context: Context | None = None


class AddRequest(_RequestBase):
    """Make a ticket."""

    operation: Literal[Operation.ADD]
    ticket: NewTicket

    @property
    def repeatable(self) -> bool:
        """Whether the call may be made twice: an add would make a second ticket."""
        return False


class UpdateRequest(_RequestBase):
    """Change a ticket."""

    operation: Literal[Operation.UPDATE]
    ticket_id: Annotated[TicketId | None, Field(validate_default=True)] = None
    changes: Changes

    @field_validator("ticket_id")
    @classmethod
    def _names_a_ticket(cls, ticket_id: str | None, info: ValidationInfo) -> str | None:
        # A reference that is present but wrong is missing from `info.data`.
        if ticket_id is None and info.data.get("reference", "") is None:
            raise ValueError("name the ticket by ticket_id or by reference")
        return ticket_id

    @property
    def repeatable(self) -> bool:
        """Whether the call may be made twice: a comment would appear twice, and so may `extra`."""
        return self.changes.comment is None and not self.changes.extra


class GetRequest(_RequestBase):
    """Read tickets, and watch them from then on where `include` says so.

    `extra` holds switches that go to the helpdesk as they are.
    """

    operation: Literal[Operation.GET]
    ticket_ids: Annotated[
        tuple[TicketId, ...],
        Field(max_length=100),
        AfterValidator(_not_empty),
        BeforeValidator(_one_or_many),
    ]
    include: tuple[Literal["raw", "watch"], ...] = ()
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether the call may be made twice: a read may."""
        return True


type Request = AddRequest | UpdateRequest | GetRequest

REQUEST: TypeAdapter[Request] = TypeAdapter(
    Annotated[AddRequest | UpdateRequest | GetRequest, Field(discriminator="operation")],
    # Else an error would quote a customer's words.
    config=ConfigDict(hide_input_in_errors=True),
)


# Characters that JSON takes and SQS refuses.
_ESCAPED = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


def queued(request: Request) -> str:
    """The request as a message of the queue; reading it gives the same request."""
    return request.model_dump_json(exclude_defaults=True).translate(_ESCAPED)


# ── tickets ──────────────────────────────────────────────────────────────────────────────────────────────


class SubStatus(_Model):
    """The helpdesk's own finer state: an update takes the key, people read the name."""

    key: str | None = None
    name: str | None = None


class Ticket(_Model):
    """A ticket of any helpdesk: ids are strings, times are UTC, the URL is absolute."""

    helpdesk: str
    ticket_id: str
    internal_id: str | None = None
    title: str | None = None
    details: str | None = None
    status: str | None = None
    sub_status: SubStatus | None = None
    queue: str | None = None
    priority: str | None = None
    assignee: str | None = None
    requester: Requester | None = None
    closed_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    url: str | None = None
    raw: dict[str, JsonValue] | None = None


class TicketLink(_Model):
    """The id and URL of a ticket that was added or updated."""

    ticket_id: str
    url: str | None = None


# ── outcomes ─────────────────────────────────────────────────────────────────────────────────────────────

_SUCCEEDED_TYPES = {
    Operation.ADD: "ticket.added",
    Operation.UPDATE: "ticket.updated",
    Operation.GET: "ticket.retrieved",
}


class Identity(_Model):
    """Who asked for what: known even of a request that cannot be read."""

    request_id: str
    operation: Operation | None = None
    helpdesk: str | None = None
    source: str | None = None
    reference: str | None = None


def identity_of(request: Request) -> Identity:
    """The identity of a readable request."""
    return Identity(
        request_id=request.request_id,
        operation=request.operation,
        helpdesk=request.helpdesk,
        source=request.source,
        reference=request.reference,
    )


class Outcome(_Model):
    """How a request ended, and its event."""

    identity: Identity
    kind: OutcomeKind
    ticket_id: str | None = None
    ticket_url: str | None = None
    code: str | None = None
    message: str | None = None
    problems: tuple[FieldProblem, ...] = ()
    attempts: int = 1
    tickets: tuple[Ticket, ...] = ()
    missing: tuple[str, ...] = ()
    truncated: bool = False
    # No request did it: the ticket has changed at the helpdesk.
    changed: bool = False
    # The request's own: it comes from the request each time, and is kept nowhere.
    context: Context | None = None

    @property
    def type(self) -> str:
        """The event's type, for example `ticket.added`."""
        if self.changed:
            return "ticket.changed"
        if self.kind is OutcomeKind.SUCCEEDED and self.identity.operation is not None:
            return _SUCCEEDED_TYPES[self.identity.operation]
        return f"ticket.{self.kind}"

    @property
    def event_id(self) -> str:
        """The same for the same result of the same request, so a repeat can be dropped."""
        result = [ticket.model_dump(mode="json") for ticket in self.tickets]
        parts = (
            self.identity.helpdesk,
            self.identity.request_id,
            self.type,
            self.code,
            self.ticket_id,
            # A change is named by its request_id alone: of two reads of it one may already show more.
            json.dumps([result, self.missing]) if result and not self.changed else None,
        )
        return hashlib.sha256("\n".join(part or "" for part in parts).encode()).hexdigest()[:32]

    def event(self, published_at: datetime | None = None) -> dict[str, Any]:
        """The CloudEvents 1.0 event in structured form; `data` leaves out keys without a value."""
        body: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            **self.identity.model_dump(mode="json", exclude_none=True),
            "outcome": self.kind.value,
            "ticket_id": self.ticket_id,
            "ticket_url": self.ticket_url,
            "code": self.code,
            "message": self.message,
            "attempts": self.attempts,
            "context": self.context,
        }
        if self.problems:
            body["errors"] = [
                {"field": problem.field, "problem": problem.problem} for problem in self.problems
            ]
        tickets = [ticket.model_dump(mode="json", exclude_none=True) for ticket in self.tickets]
        if len(tickets) == 1 and not self.missing:
            body["ticket"] = tickets[0]
        elif tickets:
            body["tickets"] = tickets
        if self.missing:
            body["missing"] = list(self.missing)
        if self.truncated:
            body["truncated"] = True
        return {
            "specversion": "1.0",
            "id": self.event_id,
            "source": f"ticket-bridge/{self.identity.helpdesk or 'requests'}",
            "type": self.type,
            "subject": self.ticket_id or self.identity.request_id,
            "time": (published_at or datetime.now(UTC)).isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
            "data": {key: value for key, value in body.items() if value is not None},
        }
