"""The tickets of a simulated Socialboards account, and what can be done with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.simulators.socialboards.directory import API_USER, ErrorCode, RefusedError
from bridge.simulators.socialboards.tickets import Attachment, Change, FieldValue, Note, Reply, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.simulators.socialboards.requests import AddNote, AddReply, AddTicket, AttachmentSent, SetNote
    from bridge.simulators.socialboards.tickets import Action, Category, Person

_FIRST_TICKET_ID = 4484636
_FIRST_NOTE_ID = 718030
_FIRST_REPLY_ID = 156372820


class Desk:
    """A store of tickets. Every method that names a ticket raises RefusedError where there is none."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets: dict[int, Ticket] = {}
        self._ticket_ids = self._note_ids = self._reply_ids = 0

    @property
    def tickets(self) -> list[Ticket]:
        """A copy of the store, oldest first."""
        return list(self._tickets.values())

    def clear(self) -> None:
        """Empty the store; ids start again."""
        self._tickets.clear()
        self._ticket_ids = self._note_ids = self._reply_ids = 0

    def delete(self, ticket_id: int) -> None:
        """Take a ticket away."""
        del self._tickets[self.ticket(ticket_id).ticket_id]

    def copy(self, ticket_id: int) -> int:
        """Make the same ticket again."""
        copied = replace(self.ticket(ticket_id), ticket_id=self._new_id(), created_at=self._clock())
        self._tickets[copied.ticket_id] = copied
        return copied.ticket_id

    def _new_id(self) -> int:
        self._ticket_ids += 1
        return _FIRST_TICKET_ID + self._ticket_ids - 1

    def ticket(self, ticket_id: int) -> Ticket:
        """The ticket with this id."""
        try:
            return self._tickets[ticket_id]
        except KeyError as error:
            raise RefusedError("Ticket not found", ErrorCode.NOT_FOUND) from error

    def add(
        self,
        asked: AddTicket,
        *,
        creator: Person,
        assignee: Person | None,
        category: Category | None,
        custom_fields: Mapping[int, str],
    ) -> Ticket:
        """A new open ticket; the same request twice makes two (inferred: nothing else is documented)."""
        now = self._clock()
        ticket = Ticket(
            ticket_id=self._new_id(),
            created_at=now,
            title=asked.title,
            details=asked.message or "",
            is_html=asked.is_html,
            creator=creator,
            phone=asked.creator.phone_number if asked.creator else None,
            cc=tuple(asked.cc),
            assignee=assignee,
            category=category,
            custom_fields=custom_fields,
            sentiment=asked.sentiment,
            source_name=asked.source_name,
            tags=tuple(asked.tags),
            attachments=_files(asked.attachments),
            changes=(Change(action="ticket_created", at=now, by=creator),),
        )
        self._tickets[ticket.ticket_id] = ticket
        return ticket

    def set_status(self, ticket_id: int, status: str, by: Person = API_USER) -> None:
        """Set the status."""
        before = self.ticket(ticket_id).status
        self._change(ticket_id, "ticket_status_changed", before, status, by=by, status=status)

    def set_assignee(self, ticket_id: int, assignee: Person | None, previous_id: str | None) -> None:
        """Assign or unassign; refused where `previous_id` is not who is assigned now.

        That the pair is a lock is inferred.
        """
        before = self.ticket(ticket_id).assignee
        if (previous_id.lower() if previous_id else None) != (before.id if before else None):
            raise RefusedError("previousAssigneeId is not the current assignee", ErrorCode.CONFLICT)
        action: Action = "ticket_assigned_to_user" if assignee else "ticket_unassigned"
        self._change(ticket_id, action, before, assignee, assignee=assignee)

    def set_category(self, ticket_id: int, category: Category | None) -> None:
        """Set the category or remove it."""
        before = self.ticket(ticket_id).category
        self._change(ticket_id, "ticket_category_changed", before, category, category=category)

    def set_custom_field(self, ticket_id: int, field_id: int, value: str) -> None:
        """Set one custom field."""
        fields = self.ticket(ticket_id).custom_fields
        before = FieldValue(field_id, fields[field_id]) if field_id in fields else None
        after = FieldValue(field_id, value)
        changed = {**fields, field_id: value}
        self._change(ticket_id, "ticket_custom_field_changed", before, after, custom_fields=changed)

    def set_tags(self, ticket_id: int, tags: Iterable[str]) -> None:
        """Replace all tags."""
        before, after = self.ticket(ticket_id).tags, tuple(tags)
        self._change(ticket_id, "ticket_tags_changed", before, after, tags=after)

    def add_note(self, ticket_id: int, asked: AddNote, author: Person) -> Note:
        """A new note."""
        ticket = self.ticket(ticket_id)
        note = Note(
            id=_FIRST_NOTE_ID + self._note_ids,
            at=self._clock(),
            author=author,
            message=asked.message,
            is_html=asked.is_html,
            attachments=_files(asked.attachments),
        )
        self._note_ids += 1
        self._change(ticket_id, "note_created", None, note, by=author, notes=(*ticket.notes, note))
        return note

    def set_note(self, ticket_id: int, note_id: int, asked: SetNote) -> Note:
        """Replace a note's message."""
        ticket, before = self.ticket(ticket_id), self._note(ticket_id, note_id)
        after = replace(before, message=asked.message, is_html=asked.is_html)
        notes = tuple(after if note is before else note for note in ticket.notes)
        self._change(ticket_id, "note_updated", before, after, notes=notes)
        return after

    def delete_note(self, ticket_id: int, note_id: int) -> None:
        """Delete a note."""
        ticket, before = self.ticket(ticket_id), self._note(ticket_id, note_id)
        notes = tuple(note for note in ticket.notes if note is not before)
        self._change(ticket_id, "note_deleted", before, None, notes=notes)

    def add_reply(self, ticket_id: int, asked: AddReply, author: Person) -> Reply:
        """A new reply or draft.

        A sent reply completes the ticket where that is asked for, else makes it pending unless that is
        suppressed (inferred from the sample of the log and the name of the field). A draft leaves it alone.
        """
        ticket = self.ticket(ticket_id)
        parent_id = asked.parent_reply_id
        reply = Reply(
            id=_FIRST_REPLY_ID + self._reply_ids,
            at=self._clock(),
            author=author,
            message=asked.message,
            is_html=asked.is_html,
            attachments=_files(asked.attachments),
            parent_reply_id=parent_id,
            level=0 if parent_id is None else self._reply(ticket_id, parent_id).level + 1,
            is_draft=asked.is_draft,
        )
        self._reply_ids += 1
        self._change(ticket_id, "reply_created", None, reply, by=author, replies=(*ticket.replies, reply))
        if not asked.is_draft:
            if asked.is_ticket_needed_to_be_completed:
                self.set_status(ticket_id, "completed", author)
            elif not asked.suppress_ticket_status_autoupdate and ticket.status == "open":
                self.set_status(ticket_id, "pending", author)
        return reply

    def set_reply_tags(self, ticket_id: int, reply_id: int, tags: Iterable[str]) -> None:
        """Replace all tags of a reply."""
        ticket, before = self.ticket(ticket_id), self._reply(ticket_id, reply_id)
        after = replace(before, tags=tuple(tags))
        replies = tuple(after if reply is before else reply for reply in ticket.replies)
        self._change(ticket_id, "reply_tags_changed", before.tags, after.tags, replies=replies)

    def _note(self, ticket_id: int, note_id: int) -> Note:
        for note in self.ticket(ticket_id).notes:
            if note.id == note_id:
                return note
        raise RefusedError("Note not found", ErrorCode.NOT_FOUND)

    def _reply(self, ticket_id: int, reply_id: int) -> Reply:
        for reply in self.ticket(ticket_id).replies:
            if reply.id == reply_id:
                return reply
        raise RefusedError("Reply not found", ErrorCode.NOT_FOUND)

    def _change(
        self,
        ticket_id: int,
        action: Action,
        before: object,
        after: object,
        *,
        by: Person = API_USER,
        **replaced: Any,
    ) -> None:
        change = Change(action=action, at=self._clock(), by=by, before=before, after=after)
        ticket = self.ticket(ticket_id)
        self._tickets[ticket_id] = replace(ticket, changes=(*ticket.changes, change), **replaced)


def _files(files: Iterable[AttachmentSent]) -> tuple[Attachment, ...]:
    return tuple(Attachment(file.url, file.name) for file in files)
