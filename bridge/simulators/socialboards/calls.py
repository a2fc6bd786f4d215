"""The calls of a simulated Socialboards account that our client makes: each one's path, effect and answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bridge.simulators.socialboards import requests as bodies
from bridge.simulators.socialboards.directory import Directory, ErrorCode, RefusedError, customer
from bridge.simulators.socialboards.requests import body_as
from bridge.simulators.socialboards.tickets import Attachment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.simulators.socialboards.answers import JsonObject, SocialboardsAnswers
    from bridge.simulators.socialboards.store import TicketStore
    from bridge.simulators.socialboards.switches import SocialboardsSwitches
    from bridge.simulators.socialboards.tickets import Person, Ticket


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """A call with a good token. Each method is one operation and returns what goes under `data`."""

    store: TicketStore
    switches: SocialboardsSwitches
    answers: SocialboardsAnswers
    now: float
    body: bytes
    query: Mapping[str, str]
    ticket_id: int = 0

    def add(self) -> int:
        """The id of a new ticket (documented)."""
        body = body_as(bodies.AddTicket, self.body)
        creator, directory = body.creator, self._directory
        ticket = self.store.add(
            customer(
                email=creator.email,
                custom_identifier=creator.custom_identifier,
                name=creator.name or creator.email or "Anonymous",
                image=creator.image,
            ),
            title=body.title,
            details=body.message or "",
            is_html=body.is_html,
            phone=creator.phone_number,
            cc=tuple(body.cc),
            assignee=None if body.assignee_id is None else directory.assignee(body.assignee_id),
            category=None if body.category_id is None else directory.category(body.category_id),
            custom_fields={directory.custom_field(field.id).id: field.value for field in body.custom_fields},
            sentiment=body.sentiment,
            source_name=body.source_name,
            tags=tuple(body.tags),
            attachments=tuple(Attachment(file.url, file.name) for file in body.attachments),
        )
        return ticket.ticket_id

    def get(self) -> JsonObject:
        return self.answers.ticket(self.store.ticket(self.ticket_id))

    def list_tickets(self) -> list[JsonObject]:
        """Tickets that pass every filter, oldest first: the default order is undocumented."""
        filters = body_as(bodies.ListTickets, self.body)
        tickets = [ticket for ticket in self.store.tickets if self._is_listed(ticket, filters)]
        return [self.answers.ticket(ticket) for ticket in tickets[filters.skip : filters.skip + filters.take]]

    def set_status(self) -> JsonObject:
        self.store.set(self.ticket_id, "status", body_as(bodies.SetStatus, self.body).status)
        return {}

    def set_assignee(self) -> JsonObject:
        """Nothing (documented); refused where another is assigned now: that the pair locks is inferred."""
        body = body_as(bodies.SetAssignee, self.body)
        assigned = self.store.ticket(self.ticket_id).assignee
        previous_id = body.previous_assignee_id.lower() if body.previous_assignee_id else None
        if previous_id != (assigned.id if assigned else None):
            raise RefusedError("previousAssigneeId is not the current assignee", ErrorCode.CONFLICT)
        self.store.set(self.ticket_id, "assignee", self._directory.assignee(body.assignee_id))
        return {}

    def set_category(self) -> JsonObject:
        """Nothing (documented)."""
        category = self._directory.category(body_as(bodies.SetCategory, self.body).id)
        self.store.set(self.ticket_id, "category", category)
        return {}

    def set_custom_field(self) -> JsonObject:
        body = body_as(bodies.FieldValue, self.body)
        field = self._directory.custom_field(body.id)
        fields = self.store.ticket(self.ticket_id).custom_fields
        self.store.set(self.ticket_id, "custom_fields", {**fields, field.id: body.value})
        return {}

    def set_tags(self) -> JsonObject:
        self.store.set(self.ticket_id, "tags", tuple(body_as(bodies.SetTags, self.body).tags))
        return {}

    def add_note(self) -> JsonObject:
        body = body_as(bodies.AddNote, self.body)
        note = self.store.add_message(
            self.ticket_id, "note", self._author(body), body.message, is_html=body.is_html
        )
        return self.answers.message(note)

    def list_notes(self) -> list[JsonObject]:
        """Notes, oldest first, in pages as the ticket's log has them (inferred)."""
        notes = self.store.ticket(self.ticket_id).notes
        if self.switches.notes_in_pages:
            skip, take = self._number("skip", 0), self._number("take", bodies.DEFAULT_ROWS)
            if take > bodies.MOST_ROWS:
                raise RefusedError(f"take must not be above {bodies.MOST_ROWS}")
            notes = notes[skip : skip + take]
        return [self.answers.message(note) for note in notes]

    def add_reply(self) -> JsonObject:
        """The new reply (documented)."""
        body = body_as(bodies.AddReply, self.body)
        reply = self.store.add_message(
            self.ticket_id,
            "reply",
            self._author(body),
            body.message,
            is_html=body.is_html,
            is_draft=body.is_draft,
        )
        return self.answers.message(reply) | {"ticketId": self.ticket_id}

    @property
    def _directory(self) -> Directory:
        return Directory(lenient=self.switches.unknown_ids == "taken")

    def _author(self, body: bodies.AddNote) -> Person:
        return self._directory.author(body.author.email if body.author else None)

    def _is_listed(self, ticket: Ticket, filters: bodies.ListTickets) -> bool:
        created = int(ticket.created_at * 10**6)
        return (
            ticket.created_at <= self.now - self.switches.list_lag_s
            and (filters.from_ is None or bodies.microseconds(filters.from_) <= created)
            and (filters.to is None or created <= bodies.microseconds(filters.to))
            and (filters.ticket_ids is None or ticket.ticket_id in filters.ticket_ids)
        )

    def _number(self, name: str, default: int) -> int:
        text = self.query.get(name, str(default))
        if not text.isdecimal():
            raise RefusedError(f"{name} must be a number")
        return int(text)


@dataclass(frozen=True)
class Route:
    """Where a call is; case counts. Path and body of what is not `documented` are inferred."""

    operation: str
    method: str
    path: str
    perform: Callable[[ApiCall], object]
    documented: bool = True


_proposed = partial(Route, documented=False)
ROUTES = (
    Route("add", "POST", "/tickets", ApiCall.add),
    Route("list", "POST", "/tickets/list", ApiCall.list_tickets),
    Route("set_assignee", "PATCH", "/tickets/{ticket_id}/Assignee", ApiCall.set_assignee),
    Route("set_category", "PATCH", "/tickets/{ticket_id}/category", ApiCall.set_category),
    Route("add_reply", "POST", "/tickets/{ticket_id}/replies", ApiCall.add_reply),
    _proposed("get", "GET", "/tickets/{ticket_id}", ApiCall.get),
    _proposed("set_status", "PATCH", "/tickets/{ticket_id}/status", ApiCall.set_status),
    _proposed("set_custom_field", "PATCH", "/tickets/{ticket_id}/customFields", ApiCall.set_custom_field),
    _proposed("set_tags", "PUT", "/tickets/{ticket_id}/tags", ApiCall.set_tags),
    _proposed("add_note", "POST", "/tickets/{ticket_id}/notes", ApiCall.add_note),
    _proposed("list_notes", "GET", "/tickets/{ticket_id}/notes", ApiCall.list_notes),
)
_PATTERNS = [
    (re.compile(route.path.replace("{ticket_id}", "(?P<ticket_id>[0-9]+)")), route) for route in ROUTES
]


def route_of(method: str, path: str) -> tuple[Route, int] | None:
    """The route of a call with the ticket's id in its path, 0 where it has none; or None."""
    for pattern, route in _PATTERNS:
        if route.method == method and (match := pattern.fullmatch(path)):
            return route, int(match.groupdict().get("ticket_id", 0))
    return None
