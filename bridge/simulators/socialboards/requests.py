"""What a simulated Socialboards account accepts as a request: documented keys, exactly as they are spelt.

An add takes all documented keys, the other calls those that our client sends. The vendor does not say what
becomes of unknown keys, other spellings or wrong types; here they are refused, so that a client which relies
on luck is found out.
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


class FieldValue(_Body):
    id: int
    value: str


class AttachmentLink(_Body):
    """A file by its URL, which is not fetched."""

    url: Url
    name: str


class AddTicket(_Body):
    """All documented fields; none is documented as required. Without a title it is refused here."""

    title: Text
    message: str | None = None
    is_html: bool = True
    creator: Creator = Creator()
    assignee_id: Guid | None = None
    category_id: int | None = None
    cc: list[EMail] = []
    custom_fields: list[FieldValue] = []
    sentiment: Literal["question", "praise", "suggestion", "complaint"] = "question"
    source_name: str | None = None
    tags: list[Text] = []
    attachments: list[AttachmentLink] = []


class ListTickets(_Body):
    """Documented besides: categoryId (null selects tickets without one), status, source, orderBy
    (last_thread_activity_desc), and customFields, which the sample names by `key` and the type by `id`.
    """

    from_: Moment | None = Field(None, alias="from")
    to: Moment | None = None
    ticket_ids: list[int] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    take: Annotated[int, Field(ge=1, le=MOST_ROWS)] = DEFAULT_ROWS


class SetAssignee(_Body):
    """Both are required; null is nobody (documented). Our client never unassigns."""

    assignee_id: Guid
    previous_assignee_id: Guid | None


class SetCategory(_Body):
    """Documented: without an id the category is removed. Our client never does that."""

    id: int


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
    is_html: bool = False


class AddReply(AddNote):
    """Documented besides: attachments, isTicketNeededToBeCompleted, parentReplyId,
    suppressTicketStatusAutoupdate.
    """

    is_draft: bool = False


def body_as[BodyT: BaseModel](model: type[BodyT], body: bytes) -> BodyT:
    """The body as a model. Raises RefusedError."""
    try:
        return posted(model, json.loads(body))
    except ControlError as error:
        raise RefusedError(str(error)) from error
    except ValueError as error:
        raise RefusedError("The body is not JSON") from error
