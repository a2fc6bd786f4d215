"""The tickets of a simulated Socialboards account, and every way to change one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from bridge.simulators.socialboards.directory import API_USER, ErrorCode, RefusedError
from bridge.simulators.socialboards.tickets import Change, Message, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.simulators.socialboards.tickets import Action, Person

_FIRST_TICKET_ID = 4484636
_FIRST_MESSAGE_ID = 718030

_ACTIONS: dict[str, Action] = {
    "status": "ticket_status_changed",
    "assignee": "ticket_assigned_to_user",
    "category": "ticket_category_changed",
    "custom_fields": "ticket_custom_field_changed",
    "tags": "ticket_tags_changed",
}


class TicketStore:
    """All tickets. Every method that names a ticket raises RefusedError where there is none."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets: dict[int, Ticket] = {}
        self._ticket_ids = self._message_ids = 0

    @property
    def tickets(self) -> list[Ticket]:
        """A copy of the store, oldest first."""
        return list(self._tickets.values())

    def clear(self) -> None:
        """Empty the store; ids start again."""
        self._tickets.clear()
        self._ticket_ids = self._message_ids = 0

    def ticket(self, ticket_id: int) -> Ticket:
        if ticket_id not in self._tickets:
            raise RefusedError("Ticket not found", ErrorCode.NOT_FOUND)
        return self._tickets[ticket_id]

    def add(self, creator: Person, **fields: Any) -> Ticket:
        """A new open ticket; the same request twice makes two (inferred: nothing else is documented)."""
        now = self._clock()
        created = Change(action="ticket_created", at=now, by=creator)
        return self._put(
            Ticket(ticket_id=self._new_id(), created_at=now, creator=creator, changes=(created,), **fields)
        )

    def copy(self, ticket_id: int) -> Ticket:
        return self._put(replace(self.ticket(ticket_id), ticket_id=self._new_id(), created_at=self._clock()))

    def delete(self, ticket_id: int) -> None:
        del self._tickets[self.ticket(ticket_id).ticket_id]

    def set(self, ticket_id: int, field: str, value: object, by: Person = API_USER) -> None:
        """Give one field of a ticket another value."""
        before = getattr(self.ticket(ticket_id), field)
        self._change(ticket_id, _ACTIONS[field], by, before, value, **{field: value})

    def add_message(
        self,
        ticket_id: int,
        kind: Literal["note", "reply"],
        author: Person,
        message: str,
        *,
        is_html: bool = False,
        is_draft: bool = False,
    ) -> Message:
        """A new note, reply or draft.

        A sent reply makes an open ticket pending (inferred from the sample of the log). Two documented fields
        change that, isTicketNeededToBeCompleted and suppressTicketStatusAutoupdate; they are not taken here.
        """
        ticket = self.ticket(ticket_id)
        written = Message(
            id=_FIRST_MESSAGE_ID + self._message_ids,
            at=self._clock(),
            author=author,
            message=message,
            is_html=is_html,
            is_draft=is_draft,
        )
        self._message_ids += 1
        if kind == "note":
            self._change(ticket_id, "note_created", author, None, written, notes=(*ticket.notes, written))
            return written
        self._change(ticket_id, "reply_created", author, None, written, replies=(*ticket.replies, written))
        if not is_draft and ticket.status == "open":
            self.set(ticket_id, "status", "pending", author)
        return written

    def _new_id(self) -> int:
        self._ticket_ids += 1
        return _FIRST_TICKET_ID + self._ticket_ids - 1

    def _put(self, ticket: Ticket) -> Ticket:
        self._tickets[ticket.ticket_id] = ticket
        return ticket

    def _change(
        self, ticket_id: int, action: Action, by: Person, before: object, after: object, **replaced: Any
    ) -> None:
        change = Change(action=action, at=self._clock(), by=by, before=before, after=after)
        ticket = self.ticket(ticket_id)
        self._put(replace(ticket, changes=(*ticket.changes, change), **replaced))
