"""How a simulated Socialboards account answers: its objects, its times, its envelope, either case of keys."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, timezone
from html import escape, unescape
from typing import TYPE_CHECKING

from bridge.simulators.socialboards.directory import Directory, ErrorCode

if TYPE_CHECKING:
    from bridge.simulators.socialboards.tickets import CustomField, Message, Person, Ticket

type JsonObject = dict[str, object]

_TICKS_PER_SECOND = 10**7
_TAG = re.compile(r"<[^>]*>")
# What no ticket of ours is.
_UNTRUE = "isAnonymized isMuted isAssignedToBot isDeleted isExpired isHidden isLocked isSpam isSensitive"


def envelope(content: object, code: ErrorCode = ErrorCode.SUCCESS, text: str | None = None) -> JsonObject:
    """What every answer but a token's is wrapped in; -1 is success (documented)."""
    return {"data": content, "errorCode": int(code), "errorText": text}


def with_pascal_case_keys(content: object) -> object:
    """The same with keys as webhooks and older pages spell them."""
    if isinstance(content, dict):
        return {key[:1].upper() + key[1:]: with_pascal_case_keys(value) for key, value in content.items()}
    if isinstance(content, list):
        return [with_pascal_case_keys(item) for item in content]
    return content


def time_text(epoch: float, offset_hours: int) -> str:
    """Seven decimals and a numeric offset (documented)."""
    seconds, ticks = divmod(int(epoch * _TICKS_PER_SECOND), _TICKS_PER_SECOND)
    zone = timezone(timedelta(hours=offset_hours))
    text = datetime.fromtimestamp(seconds, UTC).astimezone(zone).isoformat()
    moment, offset = text[:-6], text[-6:]
    return f"{moment}.{ticks:07d}{offset}"


@dataclass(frozen=True, kw_only=True)
class SocialboardsAnswers:
    """Objects as the API shows them; with `marker_returned` off, tickets without text and custom fields."""

    offset_hours: int
    marker_returned: bool = True

    def ticket(self, ticket: Ticket) -> JsonObject:
        """A ticket; `lockedBy` is the assignee (documented)."""
        plain, html = _plain_and_html(ticket.details, is_html=ticket.is_html)
        if ticket.is_html:
            html = f'<div id="sb-message-{ticket.ticket_id:015x}" class="sb-html-message">{html}</div>'
        if not self.marker_returned:
            plain = html = ""
        return {
            "id": ticket.ticket_id,
            "title": ticket.title,
            "message": plain,
            "htmlMessage": html,
            "author": _person(ticket.creator),
            "category": asdict(ticket.category) if ticket.category else None,
            "creationTime": time_text(ticket.created_at, self.offset_hours),
            "customFields": _custom_fields(ticket) if self.marker_returned else [],
            "lastThreadElementCreationTime": time_text(ticket.last_thread_activity_at, self.offset_hours),
            "lockedBy": _person(ticket.assignee) if ticket.assignee else None,
            "originalLink": None,
            "properties": {
                **dict.fromkeys(_UNTRUE.split(), False),
                "hasAttachments": bool(ticket.attachments),
                "hasDraft": len(ticket.sent_replies) < len(ticket.replies),
            },
            "replyCount": len(ticket.sent_replies),
            "isMuted": False,
            "sentiment": ticket.sentiment,
            "source": "web",
            "detailedSource": "web_website",
            "sourceName": ticket.source_name,
            "status": ticket.status,
            # Inferred: every sample is empty, so these are the names as they were sent.
            "tags": list(ticket.tags),
            "attachments": [{"isContentPart": False, **asdict(file)} for file in ticket.attachments],
        }

    def message(self, message: Message) -> JsonObject:
        """What is known to be the same of notes and of replies, whose other documented keys are left out.

        Plain text has no HTML in a note (documented).
        """
        plain, html = _plain_and_html(message.message, is_html=message.is_html)
        return {
            "id": message.id,
            "message": plain,
            "htmlMessage": html if message.is_html else None,
            "author": _person(message.author),
            "creationTime": time_text(message.at, self.offset_hours),
        }


def _person(person: Person) -> JsonObject:
    return {
        "customIdentifier": person.custom_identifier,
        "email": person.email,
        "id": person.id,
        "image": person.image,
        "isBot": False,
        "name": person.name,
        "status": person.status,
    }


def _custom_fields(ticket: Ticket) -> list[JsonObject]:
    known = Directory(lenient=True)
    return [
        _custom_field(known.custom_field(field_id), value) for field_id, value in ticket.custom_fields.items()
    ]


def _custom_field(field: CustomField, value: str) -> JsonObject:
    possible = enumerate(field.possible_values, start=1)
    return {
        **dict.fromkeys(("isHidden", "isRequired", "isSensitiveData"), False),
        **dict.fromkeys(("defaultValue", "placeholder")),
        "assignedCategoryIds": [],
        "id": field.id,
        "name": field.name,
        "order": 1,
        "possibleValues": [{"order": order, "value": value} for order, value in possible],
        "type": field.type,
        "value": value,
    }


def _plain_and_html(message: str, *, is_html: bool) -> tuple[str, str]:
    """Sent as HTML, a text loses whatever looks like a tag (inferred)."""
    return (unescape(_TAG.sub("", message)), message) if is_html else (message, escape(message, quote=False))
