"""How a simulated Socialboards account answers: its objects, its times, its envelope, either case of keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from html import escape, unescape
from typing import TYPE_CHECKING

from bridge.simulators.socialboards.directory import Directory, ErrorCode
from bridge.simulators.socialboards.tickets import Category, Person, Reply, Teammate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.simulators.socialboards.tickets import Attachment, Change, CustomField, Note, Ticket

type JsonObject = dict[str, object]

_TICKS_PER_SECOND = 10**7
_TAG = re.compile(r"<[^>]*>")


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

    offset_hours: int = 0
    marker_returned: bool = True
    teammate_ids: bool = False

    def ticket(self, ticket: Ticket) -> JsonObject:
        """A ticket; `lockedBy` is the assignee (documented)."""
        plain, html = _spoken(ticket.details, is_html=ticket.is_html)
        if ticket.is_html:
            html = f'<div id="sb-message-{ticket.ticket_id:015x}" class="sb-html-message">{html}</div>'
        if not self.marker_returned:
            plain = html = ""
        return {
            "id": ticket.ticket_id,
            "title": ticket.title,
            "message": plain,
            "htmlMessage": html,
            "author": self.person(ticket.creator),
            "category": named(ticket.category) if ticket.category else None,
            "creationTime": self._time(ticket.created_at),
            "customFields": self._custom_fields(ticket),
            "lastThreadElementCreationTime": self._time(ticket.last_thread_activity_at),
            "lockedBy": self.person(ticket.assignee) if ticket.assignee else None,
            "originalLink": None,
            "properties": {
                "isAnonymized": False,
                "isMuted": False,
                "hasAttachments": bool(ticket.attachments),
                "hasDraft": len(ticket.sent_replies) < len(ticket.replies),
                "isAssignedToBot": False,
                "isDeleted": False,
                "isExpired": False,
                "isHidden": False,
                "isLocked": False,
                "isSpam": False,
                "isSensitive": False,
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
            "attachments": _attachments(ticket.attachments),
        }

    def person(self, person: Person) -> JsonObject:
        """A User."""
        return {
            "customIdentifier": person.custom_identifier,
            "email": person.email,
            "id": person.id,
            "image": person.image,
            "isBot": False,
            "name": person.name,
            "status": person.status,
        }

    def teammate(self, teammate: Teammate) -> JsonObject:
        """Name, e-mail and role (documented); whether there is an id as well is not known."""
        shown: JsonObject = {"name": teammate.name, "email": teammate.email, "role": teammate.role}
        return {"id": teammate.id} | shown if self.teammate_ids else shown

    def note(self, note: Note) -> JsonObject:
        """A note; plain text has no HTML (documented)."""
        plain, html = _spoken(note.message, is_html=note.is_html)
        return {
            "id": note.id,
            "message": plain,
            "htmlMessage": html if note.is_html else None,
            "attachments": _attachments(note.attachments),
            "author": self.person(note.author),
            "mentionedUsers": [],
            "creationTime": self._time(note.at),
        }

    def reply(self, ticket: Ticket, reply: Reply) -> JsonObject:
        """A reply of the team."""
        plain, html = _spoken(reply.message, is_html=reply.is_html)
        return {
            "attachments": _attachments(reply.attachments),
            "author": self.person(reply.author),
            "ccEmails": list(ticket.cc),
            "creationTime": self._time(reply.at),
            "htmlMessage": html,
            "id": reply.id,
            "level": reply.level,
            "message": plain,
            "parentReplyId": reply.parent_reply_id,
            "properties": {"isByTeam": True, "isDraft": reply.is_draft, "isHidden": False},
            "tags": list(reply.tags),
            "ticketId": ticket.ticket_id,
            "toEmails": [],
        }

    def custom_field(self, custom_field: CustomField, value: str | None = None) -> JsonObject:
        """A custom field, with what a ticket holds in it."""
        return {
            "assignedCategoryIds": [],
            "defaultValue": None,
            "id": custom_field.id,
            "isHidden": False,
            "isRequired": False,
            "isSensitiveData": False,
            "name": custom_field.name,
            "order": 1,
            "placeholder": None,
            "possibleValues": [
                {"order": order, "value": possible}
                for order, possible in enumerate(custom_field.possible_values, start=1)
            ],
            "type": custom_field.type,
            "value": value,
        }

    def log_entry(self, change: Change) -> JsonObject:
        """A change as the ticket's log shows it."""
        involved = change.after if change.after is not None else change.before
        return {
            "actionString": _described(change),
            "actionType": change.action,
            "includedItems": {
                "categories": [named(involved)] if isinstance(involved, Category) else [],
                "tags": list(involved) if isinstance(involved, tuple) else [],
                "users": [self.person(involved)] if isinstance(involved, Person) else [],
            },
            "time": self._time(change.at),
            "user": self.person(change.by),
        }

    def _custom_fields(self, ticket: Ticket) -> list[JsonObject]:
        if not self.marker_returned:
            return []
        directory = Directory(lenient=True)
        return [
            self.custom_field(directory.custom_field(field_id), value)
            for field_id, value in ticket.custom_fields.items()
        ]

    def _time(self, epoch: float) -> str:
        return time_text(epoch, self.offset_hours)


def named(category: Category) -> JsonObject:
    """A category or a user group."""
    return {"id": category.id, "name": category.name}


def _spoken(message: str, *, is_html: bool) -> tuple[str, str]:
    """Plain text and HTML. Sent as HTML, a text loses whatever looks like a tag (inferred)."""
    return (unescape(_TAG.sub("", message)), message) if is_html else (message, escape(message, quote=False))


def _attachments(attachments: Iterable[Attachment]) -> list[JsonObject]:
    return [{"isContentPart": False, "name": file.name, "url": file.url} for file in attachments]


def _described(change: Change) -> str:
    match change.action, change.after:
        case "ticket_status_changed", str(status):
            return f'changed the status from "{str(change.before).title()}" to "{status.title()}"'
        case "ticket_assigned_to_user", Person(id=assignee_id):
            return f"changed ticket assignee to {{User:{assignee_id}}}"
        case "reply_created", Reply(is_draft=False):
            return "sent a reply"
        case _:
            return change.action.replace("_", " ")
