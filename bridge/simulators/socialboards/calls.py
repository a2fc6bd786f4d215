"""The calls of a simulated Socialboards account: where each is, what it takes, what it does and answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.simulators.socialboards import requests as bodies
from bridge.simulators.socialboards.answers import JsonObject, SocialboardsAnswers, named
from bridge.simulators.socialboards.directory import (
    CATEGORIES,
    CUSTOM_FIELDS,
    TEAMMATES,
    USER_GROUPS,
    Directory,
    RefusedError,
    client,
)
from bridge.simulators.socialboards.requests import sent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.simulators.socialboards.desk import Desk
    from bridge.simulators.socialboards.switches import SocialboardsSwitches
    from bridge.simulators.socialboards.tickets import Person, Ticket


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A call that may be answered. Each method is one operation and returns what goes under `data`."""

    desk: Desk
    switches: SocialboardsSwitches
    answers: SocialboardsAnswers
    now: float
    body: bytes
    query: Mapping[str, str]
    ticket_id: int = 0
    item_id: int = 0

    @property
    def directory(self) -> Directory:
        """Who and what is known."""
        return Directory(lenient=self.switches.unknown_ids == "taken")

    def add(self) -> int:
        """The id of a new ticket (documented)."""
        asked = sent(bodies.AddTicket, self.body)
        missing = [name for name in self.switches.required_fields if not getattr(asked, name)]
        if missing:
            raise RefusedError(f"Missing: {', '.join(missing)}")
        creator = asked.creator or bodies.Creator()
        ticket = self.desk.add(
            asked,
            creator=client(
                email=creator.email,
                custom_identifier=creator.custom_identifier,
                name=creator.name or creator.email or "Anonymous",
                image=creator.image,
            ),
            assignee=self._assignee(asked.assignee_id),
            category=None if asked.category_id is None else self.directory.category(asked.category_id),
            custom_fields=self.directory.values((field.id, field.value) for field in asked.custom_fields),
        )
        return ticket.ticket_id

    def get(self) -> JsonObject:
        """One ticket."""
        return self.answers.ticket(self.desk.ticket(self.ticket_id))

    def list_tickets(self) -> list[JsonObject]:
        """Tickets that pass every filter. Oldest first unless ordered: the default order is undocumented."""
        wanted = sent(bodies.ListTickets, self.body)
        fields = self._wanted_fields(wanted)
        tickets = [ticket for ticket in self.desk.tickets if self._is_listed(ticket, wanted, fields)]
        if wanted.order_by:
            tickets.sort(key=lambda ticket: (ticket.last_thread_activity_at, ticket.ticket_id), reverse=True)
        page = tickets[wanted.skip : wanted.skip + self._rows(wanted.take)]
        return [self.answers.ticket(ticket) for ticket in page]

    def set_status(self) -> JsonObject:
        """Nothing."""
        self.desk.set_status(self.ticket_id, sent(bodies.SetStatus, self.body).status)
        return {}

    def set_assignee(self) -> JsonObject:
        """Nothing (documented)."""
        asked = sent(bodies.SetAssignee, self.body)
        self.desk.ticket(self.ticket_id)
        assignee = self._assignee(asked.assignee_id)
        self.desk.set_assignee(self.ticket_id, assignee, asked.previous_assignee_id)
        return {}

    def set_category(self) -> JsonObject:
        """Nothing (documented)."""
        category_id = sent(bodies.SetCategory, self.body, optional=True).id
        self.desk.ticket(self.ticket_id)
        category = None if category_id is None else self.directory.category(category_id)
        self.desk.set_category(self.ticket_id, category)
        return {}

    def set_custom_field(self) -> JsonObject:
        """Nothing."""
        asked = sent(bodies.FieldValueSent, self.body)
        self.desk.ticket(self.ticket_id)
        field = self.directory.custom_field(asked.id)
        self.desk.set_custom_field(self.ticket_id, field.id, asked.value)
        return {}

    def set_tags(self) -> JsonObject:
        """Nothing."""
        self.desk.set_tags(self.ticket_id, sent(bodies.SetTags, self.body).tags)
        return {}

    def add_note(self) -> JsonObject:
        """The new note."""
        asked = sent(bodies.AddNote, self.body)
        return self.answers.note(self.desk.add_note(self.ticket_id, asked, self._author(asked.author)))

    def set_note(self) -> JsonObject:
        """The changed note."""
        asked = sent(bodies.SetNote, self.body)
        return self.answers.note(self.desk.set_note(self.ticket_id, self.item_id, asked))

    def delete_note(self) -> JsonObject:
        """Nothing."""
        self.desk.delete_note(self.ticket_id, self.item_id)
        return {}

    def add_reply(self) -> JsonObject:
        """The new reply (documented)."""
        asked = sent(bodies.AddReply, self.body)
        reply = self.desk.add_reply(self.ticket_id, asked, self._author(asked.author))
        return self.answers.reply(self.desk.ticket(self.ticket_id), reply)

    def list_notes(self) -> list[JsonObject]:
        """Notes, oldest first, in pages as the log has them (inferred)."""
        notes = self.desk.ticket(self.ticket_id).notes
        page = self._page(notes) if self.switches.notes_in_pages else notes
        return [self.answers.note(note) for note in page]

    def list_replies(self) -> list[JsonObject]:
        """All replies, oldest first."""
        ticket = self.desk.ticket(self.ticket_id)
        return [self.answers.reply(ticket, reply) for reply in ticket.replies]

    def set_reply_tags(self) -> JsonObject:
        """Nothing."""
        self.desk.set_reply_tags(self.ticket_id, self.item_id, sent(bodies.SetTags, self.body).tags)
        return {}

    def log(self) -> list[JsonObject]:
        """What was done with a ticket, latest first (documented)."""
        actions = sent(bodies.LogFilter, self.body, optional=True).action_types
        changes = reversed(self.desk.ticket(self.ticket_id).changes)
        entries = [change for change in changes if not actions or change.action in actions]
        return [self.answers.log_entry(change) for change in self._page(entries)]

    def list_teammates(self) -> list[JsonObject]:
        """Everybody, or a user group (documented)."""
        group = self._number("group", None)
        return [self.answers.teammate(one) for one in TEAMMATES if group is None or group in one.groups]

    def list_tags(self) -> list[str]:
        """The names of all tags in use."""
        return sorted({tag for ticket in self.desk.tickets for tag in ticket.tags})

    def list_categories(self) -> list[JsonObject]:
        """All categories."""
        return [named(category) for category in CATEGORIES]

    def get_category(self) -> JsonObject:
        """One category."""
        return named(self.directory.category(self.item_id))

    def list_custom_fields(self) -> list[JsonObject]:
        """All custom fields."""
        return [self.answers.custom_field(field) for field in CUSTOM_FIELDS]

    def get_custom_field(self) -> JsonObject:
        """One custom field."""
        return self.answers.custom_field(self.directory.custom_field(self.item_id))

    def list_user_groups(self) -> list[JsonObject]:
        """All user groups."""
        return [named(group) for group in USER_GROUPS]

    def _assignee(self, assignee_id: str | None) -> Person | None:
        return None if assignee_id is None else self.directory.assignee(assignee_id)

    def _author(self, author: bodies.Author | None) -> Person:
        return self.directory.author(author.email if author else None)

    def _wanted_fields(self, wanted: bodies.ListTickets) -> dict[int, str]:
        taken, other = ("key", "id") if self.switches.list_filter_key == "key" else ("id", "key")
        fields = {}
        for field in wanted.custom_fields:
            field_id = getattr(field, taken)
            if field_id is None or getattr(field, other) is not None:
                raise RefusedError(f"customFields: {taken} and value are expected")
            fields[field_id] = field.value
        return fields

    def _is_listed(self, ticket: Ticket, wanted: bodies.ListTickets, fields: Mapping[int, str]) -> bool:
        created = int(ticket.created_at * 10**6)
        category_id = ticket.category.id if ticket.category else None
        return (
            ticket.created_at <= self.now - self.switches.list_lag_s
            # Documented: null selects tickets without a category. Inferred: without the key, any will do.
            and ("category_id" not in wanted.model_fields_set or wanted.category_id == category_id)
            and all(ticket.custom_fields.get(field_id) == value for field_id, value in fields.items())
            and (wanted.from_ is None or bodies.microseconds(wanted.from_) <= created)
            and (wanted.to is None or created <= bodies.microseconds(wanted.to))
            and wanted.source in (None, "web")
            and wanted.status in (None, ticket.status)
            and (wanted.ticket_ids is None or ticket.ticket_id in wanted.ticket_ids)
        )

    def _page[RowT](self, rows: Sequence[RowT]) -> Sequence[RowT]:
        skip, take = self._number("skip", 0), self._rows(self._number("take", bodies.DEFAULT_ROWS))
        return rows[skip : skip + take]

    def _rows(self, take: int) -> int:
        if take > bodies.MOST_ROWS and self.switches.take_above_50 == "refused":
            raise RefusedError(f"take must not be above {bodies.MOST_ROWS}")
        return min(take, bodies.MOST_ROWS)

    def _number[DefaultT](self, name: str, default: DefaultT) -> int | DefaultT:
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isdecimal():
            raise RefusedError(f"{name} must be a number")
        return int(text)


@dataclass(frozen=True)
class Route:
    """Where a call is; case counts. Path and body of what is not `documented` are inferred."""

    operation: str
    method: str
    path: str
    answer: Callable[[Asked], object]
    documented: bool = True

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the ids in a path."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]+)", self.path))


def _proposed(operation: str, method: str, path: str, answer: Callable[[Asked], object]) -> Route:
    return Route(operation, method, path, answer, documented=False)


ROUTES = (
    Route("add", "POST", "/tickets", Asked.add),
    Route("list", "POST", "/tickets/list", Asked.list_tickets),
    Route("set_assignee", "PATCH", "/tickets/{ticket_id}/Assignee", Asked.set_assignee),
    Route("set_category", "PATCH", "/tickets/{ticket_id}/category", Asked.set_category),
    Route("add_reply", "POST", "/tickets/{ticket_id}/replies", Asked.add_reply),
    Route("log", "POST", "/tickets/{ticket_id}/log", Asked.log),
    Route("list_teammates", "GET", "/Teammates", Asked.list_teammates),
    _proposed("get", "GET", "/tickets/{ticket_id}", Asked.get),
    _proposed("set_status", "PATCH", "/tickets/{ticket_id}/status", Asked.set_status),
    _proposed("set_custom_field", "PATCH", "/tickets/{ticket_id}/customFields", Asked.set_custom_field),
    _proposed("set_tags", "PUT", "/tickets/{ticket_id}/tags", Asked.set_tags),
    _proposed("add_note", "POST", "/tickets/{ticket_id}/notes", Asked.add_note),
    _proposed("set_note", "PATCH", "/tickets/{ticket_id}/notes/{item_id}", Asked.set_note),
    _proposed("delete_note", "DELETE", "/tickets/{ticket_id}/notes/{item_id}", Asked.delete_note),
    _proposed("list_notes", "GET", "/tickets/{ticket_id}/notes", Asked.list_notes),
    _proposed("list_replies", "GET", "/tickets/{ticket_id}/replies", Asked.list_replies),
    _proposed("set_reply_tags", "PUT", "/tickets/{ticket_id}/replies/{item_id}/tags", Asked.set_reply_tags),
    _proposed("list_tags", "GET", "/tags", Asked.list_tags),
    _proposed("list_categories", "GET", "/categories", Asked.list_categories),
    _proposed("get_category", "GET", "/categories/{item_id}", Asked.get_category),
    _proposed("list_custom_fields", "GET", "/customFields", Asked.list_custom_fields),
    _proposed("get_custom_field", "GET", "/customFields/{item_id}", Asked.get_custom_field),
    _proposed("list_user_groups", "GET", "/userGroups", Asked.list_user_groups),
)
_PATTERNS = [(route.pattern, route) for route in ROUTES]


def route_of(method: str, path: str) -> tuple[Route, dict[str, int]] | None:
    """The route of a call with the ids in its path, or None."""
    for pattern, route in _PATTERNS:
        if route.method == method and (found := pattern.fullmatch(path)):
            return route, {name: int(text) for name, text in found.groupdict().items()}
    return None


def is_known(path: str) -> bool:
    """Whether the path exists for some method."""
    return any(pattern.fullmatch(path) for pattern, _ in _PATTERNS)
