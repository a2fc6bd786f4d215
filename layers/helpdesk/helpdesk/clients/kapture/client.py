"""Kapture: its paths, spellings and quirks. Nothing outside this module knows them.

Facts are from Kapture's developer pages (add, update, get, pull ticket); what the pages leave open is
marked "undocumented" here and is tolerated.
"""

import html
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from helpdesk.clients.kapture.settings import KaptureSettings
from helpdesk.clients.markers import with_comment_marker, with_marker
from helpdesk.clients.port import COMMENT, BaseClient, ClientParts, HelpdeskClient, Progress
from helpdesk.clients.redaction import redacted
from helpdesk.clients.replies import Refusal, Success, Words, decode_reply
from helpdesk.clients.secrets import OperationKeys, Secret, keys_in
from helpdesk.clients.transport import Transport
from helpdesk.errors import FieldProblem, OutcomeUnknownError, RejectedError, UnauthorizedError
from helpdesk.models import (
    Changes,
    GetRequest,
    NewTicket,
    Request,
    Requester,
    SubStatus,
    Ticket,
    TicketLink,
    UpdateRequest,
)

# The operations by the names of their keys in the secret: Kapture makes keys for single APIs.
_PATHS = {
    "add": "/add-ticket-from-other-source.html",
    "update": "/update-ticket-from-other-source.html",
    "get": "/search-ticket-by-ticket-id.html",
    "pull": "/select-ticket-between-start-and-end-dates.html",
}

_ANY_TICKET = "1"
# Switches of a get that shows a ticket's comments, in accounts that do.
_WITH_NOTES: Mapping[str, JsonValue] = {
    "conversation_type": "notes",
    "history_type": "all",
    "read_ticket_history_details": "1",
}
# A list of so many notes may be the first page of a longer one: no page says whether all are shown.
_PAGE_SIZES = {10, 20, 25, 50, 100, 200, 250, 500, 1000}

# Texts and table names of Kapture's pages for a key that is missing, wrong or out of date. Matched from the
# start: further on a message may quote the request.
_TOKEN_REFUSED = re.compile(
    r"\W*((invalid|expired)\s+(auth|api)\s*key|(auth|api)\s*key\s*(is\s+)?(invalid|expired)|api\s*expired)\b",
    re.IGNORECASE,
)
# Kapture's own failure, by its name in the tables of its pages: it says nothing of the request.
_SERVER_FAILED = re.compile(r"\W*(internal\s+)?server\s*(failure|error)\b", re.IGNORECASE)

_DATE_FORMS = (
    "%d-%m-%Y %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%d-%m-%Y %H:%M:%S",
)


def client(parts: ClientParts, settings: KaptureSettings) -> HelpdeskClient:
    """The client of an account."""
    keys = parts.secret(settings.secret_arn, kapture_keys_in)
    return Kapture(parts.transport("kapture", settings.url), keys, settings)


def kapture_keys_in(text: str) -> OperationKeys:
    """The keys of an account in a secret's text."""
    return keys_in(text, _PATHS)


class Kapture(BaseClient[Secret[OperationKeys]]):
    """One Kapture account. Every call is made once, and once more with a newer key if ours is refused."""

    name = "kapture"
    updates_in_steps = False

    def __init__(self, transport: Transport, token: Secret[OperationKeys], settings: KaptureSettings) -> None:
        super().__init__(token)
        self._transport = transport
        self._settings = settings
        self.get_limit = settings.get_limit
        self.zone = settings.zone
        self.marker_field = settings.marker_field
        self.marks_comments = settings.comments_readable
        # The account's own keys, by field and by the names that requests use for them.
        self._keys: Mapping[str, Mapping[str, str]] = {"sub_status": settings.sub_statuses, **settings.ids}

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that Kapture needs or cannot take."""
        problems: list[FieldProblem] = []
        if isinstance(request, GetRequest):
            problems += _shadowing("extra", request.extra, _get_body(request.ticket_ids))
        elif isinstance(request, UpdateRequest):
            if request.changes.sub_status is None:
                # The update page marks "sub_status" mandatory, and besides it only the id.
                problems.append(FieldProblem("changes.sub_status", "is required by kapture"))
            if request.changes.assignee is not None:
                problems.append(FieldProblem("changes.assignee", "cannot be changed in kapture"))
            try:
                body = _update_body("", request.changes, self._settings.zone)
            except OverflowError:
                problems.append(FieldProblem("changes.callback_at", "is beyond the calendar"))
            else:
                problems += _shadowing("changes.extra", request.changes.extra, body)
        else:
            if request.ticket.priority and not self._settings.priority_field:
                problem = "is not taken by this account: KapturePriorityField names no field for it"
                problems.append(FieldProblem("ticket.priority", problem))
            body = _add_body(self.marked(request.ticket, "marker"), self._settings.priority_field)
            problems += _shadowing("ticket.extra", request.ticket.extra, body)
        if problems:
            raise RejectedError("invalid_request", "kapture cannot take this request", tuple(problems))

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Adds a ticket. Making this call twice makes two tickets."""
        body = self._with_keys(_add_body(ticket, self._settings.priority_field)) | ticket.extra
        reply = _success_in(self._call("add", self._formed(body), deadline))
        inner = _mapping(reply.get("ticket"))
        ticket_id = _id(reply.get("ticket_id")) or _id(reply.get("ticket id")) or _ticket_id_in(inner)
        if ticket_id is None:
            raise OutcomeUnknownError("no_ticket_id", "kapture reports success without a ticket id")
        url = _text(reply.get("ticket_url")) or _text(inner.get("ticketURL"))
        return TicketLink(ticket_id=ticket_id, url=self._absolute(url))

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        """The ticket with its marker, behind all that comes from outside."""
        if self.marker_field == "details":
            whole = {"details": _details_of(ticket), "tags": (), "attachments": ()}
            ticket = ticket.model_copy(update=whole)
        return with_marker(ticket, marker, self.marker_field)

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        """The notes of a ticket, where the account shows them; None where it does not, or perhaps not all."""
        if not self.marks_comments:
            return None
        try:
            items = self._call("get", {**_WITH_NOTES, **_get_body([ticket_id])}, deadline)
        except RejectedError:
            return None
        elements = [_mapping(item) for item in items] if isinstance(items, list) else []
        ticket = next((each for each in elements if _ticket_id_in(_fields_of(each)) == ticket_id), None)
        if ticket is None:
            raise OutcomeUnknownError("ticket_not_shown", "kapture does not show the ticket")
        notes = _mapping(ticket.get("conversation_type")).get("notes")
        if not isinstance(notes, list) or len(notes) in _PAGE_SIZES:
            return None
        return [_text(_mapping(note).get("detail")) or "" for note in notes]

    def update(
        self, ticket_id: str, changes: Changes, deadline: float, progress: Progress | None = None
    ) -> TicketLink:
        """Changes a ticket. One call changes everything, so there are no steps."""
        if progress and progress.is_done(COMMENT):
            # The comment has been found, and the call that wrote it changed everything else.
            return TicketLink(ticket_id=ticket_id)
        if progress and changes.comment and self.marks_comments:
            comment = with_comment_marker(changes.comment, progress.marker)
            changes = changes.model_copy(update={"comment": comment})
        body = self._with_keys(_update_body(ticket_id, changes, self._settings.zone)) | changes.extra
        inner = _mapping(_success_in(self._call("update", self._formed(body), deadline)).get("ticket"))
        if _ticket_id_in(inner) not in (None, ticket_id):
            raise OutcomeUnknownError("wrong_ticket_id", "kapture answers with another ticket's id")
        return TicketLink(ticket_id=ticket_id, url=self._absolute(_text(inner.get("ticketURL"))))

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        """The tickets that exist, in any order; unknown ids are left out. One call for all ids."""
        items = self._call("get", {**extra, **_get_body(ticket_ids)}, deadline)
        if not isinstance(items, list):
            raise OutcomeUnknownError("unexpected_answer", "kapture's answer holds no list of tickets")
        return [ticket for ticket in self._tickets(items) if ticket.ticket_id in ticket_ids]

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """Every ticket created on that day of the account's zone. One call covers one day at most."""
        tickets: dict[str, Ticket] = {}
        limit = self._settings.pull_limit
        offset = 0
        while True:
            body: dict[str, JsonValue] = {"start_date": day.isoformat(), "end_date": day.isoformat()}
            if limit:
                body |= {"limit": limit, "offset": offset}
            page = self._pull_page(body, deadline)
            new = {ticket.ticket_id: ticket for ticket in page if ticket.ticket_id not in tickets}
            tickets |= new
            # How to ask for the next page is undocumented: a server that ignores the offset repeats itself.
            if not limit or not new:
                return list(tickets.values())
            offset += len(page)

    def is_closed(self, ticket: Ticket) -> bool:
        """Whether its status is one of those that close a ticket; accounts name them as they like."""
        return self._closes(ticket.status)

    def _closes(self, status: str | None) -> bool:
        return (status or "").casefold() in self._settings.closed_statuses

    def probe(self, deadline: float) -> None:
        """Gets a ticket: whether one with this id exists does not matter."""
        self._call("get", _get_body([_ANY_TICKET]), deadline)

    def _pull_page(self, body: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        # "message" is seen as a list, as one object, and as a text where there are no tickets.
        message = _success_in(self._call("pull", [body], deadline)).get("message")
        items: Any = [message] if isinstance(message, dict) else message
        if not (items == [] or isinstance(items, str) or _shows_tickets(items)):
            raise OutcomeUnknownError("unexpected_answer", "kapture's answer holds no list of tickets")
        return self._tickets(items)

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────

    def _with_keys(self, body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The body with the account's own keys in place of names; unknown names pass as they are."""
        return {
            field: self._keys.get(field, {}).get(value, value) if isinstance(value, str) else value
            for field, value in body.items()
        }

    def _formed(self, body: dict[str, JsonValue]) -> JsonValue:
        return [body] if self._settings.bodies == "list" else body

    def _call(self, operation: str, body: Any, deadline: float) -> Any:
        keys = self._token.current()
        try:
            return self._call_with(keys, operation, body, deadline)
        except UnauthorizedError as refusal:
            raise UnauthorizedError(refusal.code, refusal.message, operation) from refusal

    def _call_with(self, keys: OperationKeys, operation: str, body: Any, deadline: float) -> Any:
        began = time.monotonic()
        try:
            return self._exchange(operation, body, keys, deadline)
        except UnauthorizedError:
            newer = self._token.newer(keys, began)
            if newer is None or newer.get(operation) == keys.get(operation):
                raise
            return self._exchange(operation, body, newer, deadline)

    def _exchange(self, operation: str, body: Any, keys: OperationKeys, deadline: float) -> Any:
        token = keys.of(operation)
        # The key is opaque and is sent as it is: no page says that it is base64 of a user and a password.
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        if self._settings.send_api_key:
            headers |= {"x-api-key": token, "x-api-type": "TICKET"}
        raw = json.dumps(body, ensure_ascii=False).encode()
        path = _PATHS[operation] + self._settings.path_version
        self._spend()
        reply = self._transport.send("POST", path, raw, headers, deadline)
        return decode_reply(reply, _words_in, lambda text: redacted(text, token))

    # ── normalised tickets ───────────────────────────────────────────────────────────────────────────────

    def _tickets(self, items: list[Any] | str) -> list[Ticket]:
        tickets = (self._ticket(item) for item in items if isinstance(item, dict))
        return [ticket for ticket in tickets if ticket is not None]

    def _ticket(self, raw: dict[str, Any]) -> Ticket | None:
        details = _fields_of(raw)
        ticket_id = _ticket_id_in(details)
        if ticket_id is None:
            return None
        status = _text(details.get("status"))
        return Ticket(
            helpdesk=self.name,
            ticket_id=ticket_id,
            internal_id=_id(details.get("taskId")),
            title=self._free_text(details.get("title")) or self._free_text(details.get("taskTitle")),
            details=self._free_text(details.get("detail")),
            # The older pull shows "success" in place of the status.
            status=None if status and status.lower() == "success" else status,
            sub_status=_sub_status(details),
            queue=_text(details.get("queueKey")) or _name(details.get("queueName")),
            priority=_text(details.get("priority")),
            assignee=_name(details.get("assignedToName")),
            # In the samples open tickets have one as well.
            closed_by=_id(details.get("ticketCloseEmpId")) if self._closes(status) else None,
            requester=_requester(details),
            created_at=self._time(details.get("date")),
            updated_at=max(
                filter(None, (self._time(details.get(key)) for key in _UPDATED_KEYS)),
                default=None,
            ),
            url=self._absolute(_text(details.get("url"))),
            raw=raw,
        )

    def _free_text(self, value: Any) -> str | None:
        # Where the account does not escape it, unescaping a customer's text would change it.
        return _name(value) if self._settings.escaped_texts else _text(value)

    def _time(self, value: Any) -> datetime | None:
        text = _text(value)
        for form in _DATE_FORMS if text else ():
            try:
                local = datetime.strptime(text or "", form).replace(tzinfo=self._settings.zone)
                return local.astimezone(UTC)
            except (ValueError, OverflowError):
                continue
        return None

    def _absolute(self, url: str | None) -> str | None:
        try:
            return urljoin(self._settings.url + "/", url) if url else None
        except ValueError:
            return None


_UPDATED_KEYS = ("lastFollowUp", "lastConvesationTime", "lastConversationTime")


# ── requests out ─────────────────────────────────────────────────────────────────────────────────────────


def _add_body(ticket: NewTicket, priority_field: str | None) -> dict[str, JsonValue]:
    requester = ticket.requester or Requester()
    fields: dict[str, JsonValue] = {
        "title": ticket.title,
        "ticket_details": _details_of(ticket),
        "due_date": ticket.due_date.isoformat() if ticket.due_date else None,
        "email_id": requester.email,
        "customer_name": requester.name,
        "phone": requester.phone,
        "customer_id": requester.customer_id,
        "queue": ticket.queue,
        "disposition": ticket.disposition,
    }
    # A field of ours is never replaced, whatever the setting names.
    priority: dict[str, JsonValue] = {priority_field: ticket.priority} if priority_field else {}
    return {key: value for key, value in (priority | fields).items() if value}


def _details_of(ticket: NewTicket) -> str:
    # Tags and attachments have no documented field; as lines of the text they are not lost.
    lines = [ticket.details] if ticket.details else []
    if ticket.tags:
        lines.append("Tags: " + ", ".join(ticket.tags))
    lines += [
        f"Attachment: {file.name} {file.url}" if file.name else f"Attachment: {file.url}"
        for file in ticket.attachments
    ]
    return "\n".join(lines)


def _get_body(ticket_ids: Sequence[str]) -> dict[str, JsonValue]:
    return {"ticket_ids": ",".join(ticket_ids)}


def _update_body(ticket_id: str, changes: Changes, zone: ZoneInfo) -> dict[str, JsonValue]:
    callback_at = changes.callback_at
    if callback_at and callback_at.tzinfo:
        callback_at = callback_at.astimezone(zone)
    fields: dict[str, JsonValue] = {
        "ticket_id": ticket_id,
        "sub_status": changes.sub_status,
        "status": changes.status,
        "queue": changes.queue,
        "comment": changes.comment,
        # The page prints a 12-hour pattern, but every time in its samples is of 24 hours.
        "callback_time": callback_at.strftime("%Y-%m-%d %H:%M:%S") if callback_at else None,
        "disposition": changes.disposition,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _shadowing(
    where: str, extra: Mapping[str, JsonValue], body: Mapping[str, JsonValue]
) -> list[FieldProblem]:
    return [FieldProblem(f"{where}.{key}", "is set by another field already") for key in extra if key in body]


# ── replies in ───────────────────────────────────────────────────────────────────────────────────────────


def _words_in(body: Any) -> Words:
    reply = _lowered(body)
    status = reply.get("status")
    # A get's reply has no status of its own, and how it shows that there are no tickets is undocumented.
    if body == [] or _shows_tickets(body) or _is_success(status):
        return Success()
    if not isinstance(status, str) or not status.lower().startswith("fail"):
        return None
    # One page names the text after its subject, so any other text will do.
    texts = [reply.get("message"), *(reply[key] for key in reply if key != "status")]
    message = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "failed")
    return Refusal(message, bool(_TOKEN_REFUSED.match(message)), bool(_SERVER_FAILED.match(message)))


def _shows_tickets(items: Any) -> bool:
    return isinstance(items, list) and any(
        {"task_details", "ticketId"} & _mapping(item).keys() for item in items
    )


def _is_success(status: Any) -> bool:
    return isinstance(status, str) and status.lower() == "success"


def _success_in(body: Any) -> dict[str, Any]:
    reply = _lowered(body)
    if not _is_success(reply.get("status")):
        raise OutcomeUnknownError("unexpected_answer", "the answer says neither success nor failure")
    return reply


def _lowered(body: Any) -> dict[str, Any]:
    # Whether the reply to a list of one is a list of one is undocumented.
    body = body[0] if isinstance(body, list) and len(body) == 1 else body
    return {key.lower(): value for key, value in body.items()} if isinstance(body, dict) else {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """Texts and ids come as texts or as numbers; an empty text and the number 0 mean that there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return (str(value).strip() or None) if value else None


def _id(value: Any) -> str | None:
    text = _text(value)
    return text if text != "0" else None


def _name(value: Any) -> str | None:
    # Names are escaped as HTML.
    text = _text(value)
    return html.unescape(text) if text else None


def _fields_of(item: dict[str, Any]) -> dict[str, Any]:
    # A get wraps the fields that a pull shows flat.
    return _mapping(item.get("task_details")) or item


def _ticket_id_in(item: Mapping[str, Any]) -> str | None:
    return _id(item.get("ticketId"))


def _sub_status(details: Mapping[str, Any]) -> SubStatus | None:
    # "substatus" is the name here; the replies to add and update use the same word for the key.
    key, name = _text(details.get("substatusKey")), _name(details.get("substatus"))
    return SubStatus(key=key, name=name) if key or name else None


def _requester(details: Mapping[str, Any]) -> Requester | None:
    email = _text(details.get("email")) or _text(details.get("customerEmail"))
    requester = Requester.model_construct(
        email=email,
        name=_name(details.get("customerName")),
        phone=_text(details.get("phone")) or _text(details.get("customerPhone")),
        customer_id=_id(details.get("customerId")),
    )
    return requester if requester != Requester() else None
