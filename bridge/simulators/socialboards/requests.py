"""What a simulated Socialboards account accepts as a request: documented keys, exactly as they are spelt.

The vendor does not say what becomes of unknown keys, other spellings or wrong types; here they are refused,
so that a client which relies on luck is found out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bridge.simulators.faults import ControlError, posted
from bridge.simulators.socialboards.directory import RefusedError

MOST_ROWS = 50
"""The documented maximum of `take`."""
DEFAULT_ROWS = 25
_EPOCH = datetime.fromtimestamp(0, UTC)

# Not imported for types only: pydantic reads them when the models are built.
Guid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$")]
EMail = Annotated[str, Field(pattern=r"^\S+@\S+$")]
Text = Annotated[str, Field(pattern=r"\S")]


def _with_offset(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("offset is missing")
    return text


Moment = Annotated[str, AfterValidator(_with_offset)]


def microseconds(moment: str) -> int:
    """A moment with an offset since the epoch; a seventh decimal is cut off."""
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(microseconds=1)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class Creator(_Body):
    """Who writes a ticket."""

    name: str | None = None
    email: EMail | None = None
    image: Url | None = None
    """Well-formed, else an error (documented for chats)."""
    phone_number: str | None = None
    custom_identifier: str | None = None


class FieldValueSent(_Body):
    """A custom field's new value."""

    id: int
    value: str


class AttachmentSent(_Body):
    """A file by its URL, which is not fetched."""

    url: Url
    name: str


class AddTicket(_Body):
    """All documented fields; none is documented as required."""

    title: str | None = None
    message: str | None = None
    is_html: bool = True
    creator: Creator | None = None
    assignee_id: Guid | None = None
    category_id: int | None = None
    cc: list[EMail] = []
    custom_fields: list[FieldValueSent] = []
    sentiment: Literal["question", "praise", "suggestion", "complaint"] = "question"
    source_name: str | None = None
    tags: list[Text] = []
    attachments: list[AttachmentSent] = []


class FieldFilter(_Body):
    """The sample says `key`, the type `id`; a switch tells which one is taken."""

    key: int | None = None
    id: int | None = None
    value: str


class ListTickets(_Body):
    """A null category selects tickets without one (documented); without the key, all (inferred)."""

    category_id: int | None = None
    custom_fields: list[FieldFilter] = []
    from_: Moment | None = Field(None, alias="from")
    to: Moment | None = None
    order_by: Literal["last_thread_activity_desc"] | None = None
    source: str | None = None
    status: str | None = None
    ticket_ids: list[int] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    take: Annotated[int, Field(ge=1)] = DEFAULT_ROWS


class SetAssignee(_Body):
    """Both are required; null is nobody (documented)."""

    assignee_id: Guid | None
    previous_assignee_id: Guid | None


class SetCategory(_Body):
    """Without an id the category is removed (documented)."""

    id: int | None = None


class SetStatus(_Body):
    """Body inferred; the values are those that have been seen."""

    status: Literal["open", "pending", "completed"]


class SetTags(_Body):
    """Body inferred: the names that replace all others."""

    tags: list[Text]


class Author(_Body):
    """Whose login a note or reply is written under; other keys are unknown."""

    email: EMail


class AddNote(_Body):
    """Body inferred from that of a reply."""

    message: Text
    author: Author | None = None
    attachments: list[AttachmentSent] = []
    is_html: bool = False


class SetNote(_Body):
    """Body inferred."""

    message: Text
    is_html: bool = False


class AddReply(_Body):
    """All documented fields."""

    message: Text
    author: Author | None = None
    attachments: list[AttachmentSent] = []
    is_html: bool = False
    is_draft: bool = False
    is_ticket_needed_to_be_completed: bool = False
    parent_reply_id: int | None = None
    suppress_ticket_status_autoupdate: bool = False


class LogFilter(_Body):
    """Snake case, unlike the rest; empty is all (documented)."""

    model_config = ConfigDict(alias_generator=None)
    action_types: list[str] = []


def sent[BodyT: BaseModel](model: type[BodyT], body: bytes, *, optional: bool = False) -> BodyT:
    """The body as a model. Where it is optional, nothing and null are taken as an empty object.

    Raises RefusedError.
    """
    try:
        content = json.loads(body) if body or not optional else {}
    except ValueError as error:
        raise RefusedError("The body is not JSON") from error
    if content is None and optional:
        content = {}
    try:
        return posted(model, content)
    except ControlError as error:
        raise RefusedError(str(error)) from error
