"""What a simulated Socialboards account stores: people, tickets, their notes and replies, every change.

Records are replaced, never changed, so any thread may read them. Times are epoch seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

type Action = Literal[
    # Documented in the samples of the ticket log.
    "ticket_created",
    "ticket_status_changed",
    "ticket_assigned_to_user",
    "reply_created",
    # Inferred names: the full enumeration is not known.
    "ticket_category_changed",
    "ticket_custom_field_changed",
    "ticket_tags_changed",
    "note_created",
]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who writes tickets (`client`) or answers them (`team`)."""

    id: str
    name: str
    email: str | None = None
    status: Literal["client", "team"] = "client"
    image: str | None = None
    custom_identifier: str | None = None


@dataclass(frozen=True)
class Category:
    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class CustomField:
    """A field that the account has added; type `region` is documented, other types are inferred."""

    id: int
    name: str
    type: str
    possible_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attachment:
    url: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """An internal note, or a reply to the customer or a draft of one. `message` is as it was sent."""

    id: int
    at: float
    author: Person
    message: str
    is_html: bool
    is_draft: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that was done, even where it left the value as it was, so that repeats can be counted."""

    action: Action
    at: float
    by: Person
    before: object = None
    after: object = None


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One stored ticket with all that ever happened to it, oldest first."""

    ticket_id: int
    created_at: float
    title: str | None
    details: str
    is_html: bool
    creator: Person
    phone: str | None
    cc: tuple[str, ...]
    assignee: Person | None
    category: Category | None
    custom_fields: Mapping[int, str]
    sentiment: str
    source_name: str | None
    tags: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    changes: tuple[Change, ...]
    status: str = "open"
    notes: tuple[Message, ...] = ()
    replies: tuple[Message, ...] = ()

    @property
    def comments(self) -> list[str]:
        return [note.message for note in self.notes]

    @property
    def sent_replies(self) -> tuple[Message, ...]:
        return tuple(reply for reply in self.replies if not reply.is_draft)

    @property
    def last_thread_activity_at(self) -> float:
        """Inferred: only what the customer can see moves it, so notes, status and assignee do not."""
        return self.sent_replies[-1].at if self.sent_replies else self.created_at
