"""Socialboards: its paths, spellings and quirks. Nothing outside this module knows them.

Facts are from Socialboards' developer pages. Calls whose pages could not be read (status, get by id, custom
field, tags, note) are guesses by the pattern of the others; `calls` in the settings replaces them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from helpdesk.clients.markers import with_comment_marker, with_marker
from helpdesk.clients.port import COMMENT, BaseClient, ClientParts, HelpdeskClient, Progress
from helpdesk.clients.redaction import redacted
from helpdesk.clients.replies import Refusal, Success, Words, decode_reply
from helpdesk.clients.secrets import MintedToken, RefreshCredentials, refresh_credentials_in
from helpdesk.clients.socialboards.settings import SocialboardsSettings
from helpdesk.clients.transport import Transport
from helpdesk.errors import (
    FieldProblem,
    NotReachedError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.models import (
    AddRequest,
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

# The list page's documented maximum; its own sample sends more.
_TAKE = 50
_SUCCESS = -1
_ANY_TICKET = 1
# Of a ticket with more notes than these pages show, nobody can say that a note is absent.
_MOST_PAGES_OF_NOTES = 20
# Rows that a call gives by default, by the pages that say so.
_DEFAULT_ROWS = 25
_FIELD_MARKER = "custom_field:"

CALLS = {
    "add": "POST /tickets",
    "list": "POST /tickets/list",
    "get": "GET /tickets/{ticket_id}",
    "assignee": "PATCH /tickets/{ticket_id}/Assignee",
    "category": "PATCH /tickets/{ticket_id}/category",
    "status": "PATCH /tickets/{ticket_id}/status",
    "custom_field": "PATCH /tickets/{ticket_id}/customFields",
    "tags": "PUT /tickets/{ticket_id}/tags",
    "note": "POST /tickets/{ticket_id}/notes",
    "notes": "GET /tickets/{ticket_id}/notes",
    "reply": "POST /tickets/{ticket_id}/replies",
}
# Paths that may be wrong. So may that of get, which falls back to the list.
_GUESSED = {"status", "custom_field", "tags", "note", "notes"}


def client(parts: ClientParts, settings: SocialboardsSettings) -> HelpdeskClient:
    """The client of an account."""
    transport = parts.transport("socialboards", settings.url)
    token = MintedToken(
        parts.secret(settings.secret_arn, refresh_credentials_in),
        Minter(transport, settings.token_path).mint,
        lambda: parts.logger.warning("another refresh token has come: put it into the secret"),
        parts.monotonic,
    )
    return Socialboards(transport, token, settings)


class _Extra(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class _CustomField(_Extra):
    id: int
    value: str


class _TicketExtra(_Extra):
    """What only Socialboards knows of a new ticket."""

    sentiment: Literal["question", "praise", "suggestion", "complaint"] | None = None
    source_name: str | None = None
    cc: tuple[str, ...] = ()
    image: str | None = None
    assignee: str | None = None
    custom_fields: tuple[_CustomField, ...] = ()
    is_html: bool = False


class _ReplyExtra(_Extra):
    message: Annotated[str, Field(min_length=1)]
    author_email: str | None = None
    is_html: bool = False
    is_draft: bool = False


class _ChangesExtra(_Extra):
    """What only Socialboards knows of an update. A reply that is no draft goes to the customer."""

    tags: tuple[str, ...] | None = None
    custom_fields: tuple[_CustomField, ...] = ()
    reply: _ReplyExtra | None = None
    note_author_email: str | None = None


class Socialboards(BaseClient[MintedToken]):
    """One Socialboards account. Each call is made once, and once more with a fresh access token."""

    name = "socialboards"
    get_limit = _TAKE
    updates_in_steps = True
    marks_comments = True

    def __init__(self, transport: Transport, token: MintedToken, settings: SocialboardsSettings) -> None:
        super().__init__(token)
        self._transport = transport
        self._settings = settings
        self._calls = CALLS | dict(settings.calls)
        self.zone = settings.zone
        self.marker_field = settings.marker_field

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that Socialboards needs or cannot take."""
        match request:
            case AddRequest(ticket=ticket):
                problems = _problems_of(_TicketExtra, "ticket.extra", ticket.extra)
                problems += _not_numbers({"ticket.queue": ticket.queue})
                problems += _unknown(
                    {"ticket.disposition": ticket.disposition, "ticket.priority": ticket.priority}
                )
            case UpdateRequest(changes=changes):
                problems = _problems_of(_ChangesExtra, "changes.extra", changes.extra)
                problems += _not_numbers({"changes.queue": changes.queue, "ticket_id": request.ticket_id})
                problems += _unknown(
                    {"changes.callback_at": changes.callback_at, "changes.disposition": changes.disposition}
                )
                if changes.status and changes.sub_status:
                    # This helpdesk has one state, not two.
                    problems.append(FieldProblem("changes.status", "is what sub_status sets here: give one"))
            case GetRequest():
                ids = {f"ticket_ids.{place}": text for place, text in enumerate(request.ticket_ids)}
                problems = _not_numbers(ids) + _unknown({f"extra.{key}": key for key in request.extra})
        if problems:
            raise RejectedError("invalid_request", "socialboards cannot take this request", tuple(problems))

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        """The ticket with its marker, in a custom field of its own if one is configured."""
        field = self._settings.marker_field
        if field == "details":
            # Behind all that comes from outside.
            ticket = ticket.model_copy(update={"details": _message_of(ticket), "due_date": None})
        if not field.startswith(_FIELD_MARKER):
            return with_marker(ticket, marker, field)
        field_id = int(field.removeprefix(_FIELD_MARKER))
        fields = _as_list(ticket.extra.get("custom_fields"))
        others = [other for other in fields if _mapping(other).get("id") != field_id]
        custom_fields = [*others, {"id": field_id, "value": marker}]
        return ticket.model_copy(update={"extra": {**ticket.extra, "custom_fields": custom_fields}})

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Adds a ticket. Making this call twice makes two tickets."""
        ticket_id = self._call("add", deadline, body=_add_body(ticket))
        if type(ticket_id) is not int:
            raise OutcomeUnknownError("no_ticket_id", "socialboards reports success without a ticket id")
        return self._link(str(ticket_id))

    def update(self, ticket_id: str, changes: Changes, deadline: float, progress: Progress) -> TicketLink:
        """Changes a ticket. Each change is a call of its own; changes done before are left out."""
        extra = _ChangesExtra.model_validate(changes.extra)
        run = partial(self._step, ticket_id, progress, deadline)
        if changes.assignee:
            run("assignee", partial(self._assignee, ticket_id, changes.assignee, deadline))
        if changes.queue:
            run("category", partial(dict, id=int(changes.queue)))
        for field in extra.custom_fields:
            run("custom_field", field.model_dump, f"custom_field_{field.id}")
        if extra.tags is not None:
            run("tags", partial(dict, tags=list(extra.tags)))
        if status := changes.sub_status or changes.status:
            run("status", partial(dict, status=status))
        if extra.reply:
            self._step_once(ticket_id, progress, deadline, "reply", _reply_body(extra.reply))
        if changes.comment:
            note = _note_body(changes.comment, progress.marker, extra.note_author_email)
            self._step_once(ticket_id, progress, deadline, "note", note, COMMENT)
        return self._link(ticket_id)

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        """The notes of a ticket as Socialboards gives them; None where it gives none, or perhaps not all."""
        seen: dict[str, None] = {}
        for _ in range(_MOST_PAGES_OF_NOTES):
            try:
                page = self._call(
                    "notes", deadline, ticket_id=ticket_id, rows={"take": _TAKE, "skip": len(seen)}
                )
            except RejectedError:
                # No page describes how notes are listed.
                return None
            if not isinstance(page, list):
                return None
            new = dict.fromkeys(map(json.dumps, page)).keys() - seen.keys()
            if not new:
                # A server without pages repeats itself: all notes, unless there are as many as it ever shows.
                return None if len(page) in (_DEFAULT_ROWS, _TAKE) else list(seen)
            seen |= dict.fromkeys(new)
        return None

    def get(
        self,
        ticket_ids: Sequence[str],
        extra: Mapping[str, JsonValue],  # noqa: ARG002  # the port's; check() refuses any
        deadline: float,
    ) -> list[Ticket]:
        """The tickets that exist, in any order; unknown ids are left out."""
        if len(ticket_ids) == 1:
            items = self._get_item(ticket_ids[0], deadline)
        else:
            ids: list[JsonValue] = [int(ticket_id) for ticket_id in ticket_ids]
            items = self._list({"ticketIds": ids, "take": len(ids)}, deadline)
        tickets = (self._ticket(item) for item in items)
        return [ticket for ticket in tickets if ticket is not None and ticket.ticket_id in ticket_ids]

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """Every ticket created on that day, in the zone of the settings."""
        begin = datetime.combine(day, datetime.min.time(), self.zone)
        end = datetime.combine(day + timedelta(days=1), datetime.min.time(), self.zone)
        tickets: dict[str, Ticket] = {}
        skip = 0
        while True:
            body: dict[str, JsonValue] = {
                "from": begin.isoformat(),
                "to": (end - timedelta(microseconds=1)).isoformat(),
                "take": _TAKE,
                "skip": skip,
            }
            page = self._list(body, deadline)
            shown = (self._ticket(item) for item in page)
            new = {ticket.ticket_id: ticket for ticket in shown if ticket and ticket.ticket_id not in tickets}
            tickets |= new
            # Rows move between pages while tickets arrive, so a page may repeat known ones.
            if len(page) < _TAKE or not new:
                return list(tickets.values())
            skip += len(page)

    def is_closed(self, ticket: Ticket) -> bool:
        """Whether its status is the last one: "completed" in a page of the API, "closed" in a glossary."""
        return (ticket.status or "").casefold() in ("completed", "closed")

    def probe(self, deadline: float) -> None:
        """Lists one ticket: whether one with this id exists does not matter."""
        self._list({"ticketIds": [_ANY_TICKET], "take": 1}, deadline)

    # ── steps of an update ───────────────────────────────────────────────────────────────────────────────

    def _step(
        self,
        ticket_id: str,
        progress: Progress,
        deadline: float,
        call: str,
        body: Callable[[], Mapping[str, Any]],
        name: str | None = None,
    ) -> None:
        """Makes a change that may be made twice: in doubt it is made again."""
        if progress.is_done(name or call):
            return
        try:
            self._call(call, deadline, ticket_id=ticket_id, body=body())
        except OutcomeUnknownError as error:
            raise UnavailableError(error.code, error.message) from error
        progress.mark_done(name or call)

    def _step_once(
        self,
        ticket_id: str,
        progress: Progress,
        deadline: float,
        call: str,
        body: Mapping[str, Any],
        name: str | None = None,
    ) -> None:
        """Makes a change that must not be made twice."""
        step = name or call
        if progress.is_done(step):
            return
        progress.mark_begun(step)
        self._call(call, deadline, ticket_id=ticket_id, body=body)
        try:
            progress.mark_done(step)
        except UnavailableError as error:
            raise OutcomeUnknownError("step_not_recorded", "a step was made and not remembered") from error

    def _assignee(self, ticket_id: str, assignee: str, deadline: float) -> dict[str, JsonValue]:
        # The pair works as a lock: the call must name the present assignee.
        current = next(iter(self.get([ticket_id], {}, deadline)), None)
        locked = current.raw.get("lockedby") if current and current.raw else None
        return {"assigneeId": assignee, "previousAssigneeId": _mapping(locked).get("id")}

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────

    def _get_item(self, ticket_id: str, deadline: float) -> list[Any]:
        # The path of this call is a guess; the list is documented.
        with suppress(RejectedError, NotReachedError):
            item = self._call("get", deadline, ticket_id=ticket_id)
            if self._ticket(item):
                return [item]
        return self._list({"ticketIds": [int(ticket_id)], "take": 1}, deadline)

    def _list(self, body: Mapping[str, JsonValue], deadline: float) -> list[Any]:
        items = self._call("list", deadline, body=body)
        if not isinstance(items, list) or (items and not any(map(self._ticket, items))):
            raise OutcomeUnknownError("unexpected_answer", "socialboards' answer holds no list of tickets")
        return items

    def _call(
        self,
        name: str,
        deadline: float,
        *,
        ticket_id: str = "",
        body: Any = None,
        rows: Mapping[str, int] | None = None,
    ) -> Any:
        method, _, path = self._calls[name].partition(" ")
        path = path.replace("{ticket_id}", ticket_id)
        if rows:
            path += ("&" if "?" in path else "?") + urlencode(rows)
        try:
            return self._send(method, path, body, deadline)
        except NotReachedError as error:
            if name not in _GUESSED:
                raise
            # The list is documented: if it replies, there is no outage, and only this path is unknown.
            self.probe(deadline)
            raise RejectedError("not_found", f"socialboards knows no {self._calls[name]}") from error

    def _send(self, method: str, path: str, body: Any, deadline: float) -> Any:
        token = self._token.current(deadline)
        began = time.monotonic()
        try:
            return self._exchange(method, path, body, token, deadline)
        except UnauthorizedError:
            newer = self._token.newer(token, began, deadline)
            return self._exchange(method, path, body, newer, deadline)

    def _exchange(self, method: str, path: str, body: Any, token: str, deadline: float) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        self._spend()
        reply = self._transport.send(method, path, raw, headers, deadline)
        envelope = _folded(decode_reply(reply, _words_in, lambda text: redacted(text, token)))
        return envelope["data"]

    # ── normalised tickets ───────────────────────────────────────────────────────────────────────────────

    def _ticket(self, item: Any) -> Ticket | None:
        if not isinstance(item, dict) or type(item.get("id")) is not int:
            return None
        ticket_id = str(item["id"])
        status = _text(item.get("status"))
        category = item.get("category")
        author, assignee = _mapping(item.get("author")), _mapping(item.get("lockedby"))
        return Ticket(
            helpdesk=self.name,
            ticket_id=ticket_id,
            title=_text(item.get("title")),
            details=_text(item.get("message")),
            status=status,
            sub_status=SubStatus(key=status, name=status) if status else None,
            queue=_text(category.get("id")) if isinstance(category, dict) else None,
            assignee=_text(assignee.get("name")) or _text(assignee.get("email")),
            requester=_requester(author),
            created_at=_time(item.get("creationtime")),
            updated_at=_time(item.get("lastthreadelementcreationtime")),
            url=self._link(ticket_id).url,
            raw=item,
        )

    def _link(self, ticket_id: str) -> TicketLink:
        # No page says at what address people see a ticket.
        template = self._settings.ticket_url
        return TicketLink(ticket_id=ticket_id, url=template.format(ticket_id=ticket_id) if template else None)


class Minter:
    """Mints access tokens at Socialboards' token endpoint, an OAuth 2 refresh (page: Get Access Token v2)."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path

    def mint(self, credentials: RefreshCredentials, deadline: float) -> tuple[str, float, str | None]:
        """Mints an access token: the token, its life in seconds, and the refresh token that came with it.

        Raises:
            UnauthorizedError: the credentials are refused.
            UnavailableError: there is no usable reply. Minting twice does no harm.
        """
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "client_id": credentials.client_id,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            reply = self._transport.send("POST", self._path, urlencode(form).encode(), headers, deadline)
            body = _folded(decode_reply(reply, _mint_words_in, _without_words))
        except OutcomeUnknownError as error:
            raise UnavailableError(error.code, "no access token could be minted") from error
        except RejectedError as error:
            raise UnauthorizedError("token_refused", "the helpdesk refuses our refresh token") from error
        body = _mapping(body)
        token = body.get("access_token")
        if not isinstance(token, str) or not token:
            raise UnavailableError("token_unreadable", "the token endpoint's answer holds no access token")
        life = body.get("expires_in")
        life_s = float(life) if isinstance(life, int | float) and life > 0 else 3600.0
        return token, life_s, _text(body.get("refresh_token"))


# ── requests out ─────────────────────────────────────────────────────────────────────────────────────────


def _add_body(ticket: NewTicket) -> dict[str, JsonValue]:
    extra = _TicketExtra.model_validate(ticket.extra)
    requester = ticket.requester or Requester()
    body: dict[str, JsonValue] = {
        "title": ticket.title,
        "message": _message_of(ticket),
        # The default is true, which would read "<" and "&" of a plain text as HTML.
        "isHtml": extra.is_html,
        "creator": {
            "name": requester.name,
            "email": requester.email,
            "phoneNumber": requester.phone,
            "customIdentifier": requester.customer_id,
            "image": extra.image,
        },
        "assigneeId": extra.assignee,
        "categoryId": int(ticket.queue) if ticket.queue else None,
        "cc": list(extra.cc),
        "customFields": [field.model_dump() for field in extra.custom_fields],
        "sentiment": extra.sentiment,
        "sourceName": extra.source_name,
        "tags": list(ticket.tags),
        "attachments": [{"url": file.url, "name": file.name or file.url} for file in ticket.attachments],
    }
    return {key: value for key, value in body.items() if value not in (None, [], "")}


def _message_of(ticket: NewTicket) -> str:
    # There is no field for the due date; as a line of the text it is not lost.
    due = f"Due: {ticket.due_date.isoformat()}" if ticket.due_date else None
    return "\n\n".join(filter(None, (ticket.details, due)))


def _note_body(comment: str, marker: str, author_email: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"message": with_comment_marker(comment, marker), "isHtml": False}
    return body | {"author": {"email": author_email}} if author_email else body


def _reply_body(reply: _ReplyExtra) -> dict[str, JsonValue]:
    body: dict[str, JsonValue] = {
        "message": reply.message,
        "isHtml": reply.is_html,
        "isDraft": reply.is_draft,
    }
    if reply.author_email:
        body["author"] = {"email": reply.author_email}
    return body


def _not_numbers(fields: Mapping[str, str | None]) -> list[FieldProblem]:
    return [
        FieldProblem(name, "must be a number here")
        for name, value in fields.items()
        if value and not value.isdecimal()
    ]


def _unknown(fields: Mapping[str, object]) -> list[FieldProblem]:
    return [FieldProblem(name, "is not known to socialboards") for name, value in fields.items() if value]


def _problems_of(model: type[BaseModel], where: str, extra: Mapping[str, JsonValue]) -> list[FieldProblem]:
    try:
        model.model_validate(extra)
    except ValidationError as error:
        return [
            FieldProblem(".".join((where, *map(str, problem["loc"]))), problem["msg"])
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    return []


# ── replies in ───────────────────────────────────────────────────────────────────────────────────────────


def _words_in(body: Any) -> Words:
    envelope = _mapping(_folded(body))
    code = envelope.get("errorcode", _SUCCESS)
    if code == _SUCCESS:
        # A reply without a code may be a success as well; a success always holds its result.
        return Success() if "data" in envelope else None
    if not str(code).removeprefix("-").isdecimal():
        # A gateway's error: it has a name in letters.
        return None
    return Refusal(_text(envelope.get("errortext")) or f"error {code}")


def _without_words(_: str) -> str:
    # The token endpoint's words may quote our credentials.
    return "the token endpoint refused"


def _mint_words_in(body: Any) -> Words:
    # No page describes failures of this endpoint: we read the OAuth form and the envelope.
    reply = _mapping(_folded(body))
    # OAuth's errors are single words; a web server's own JSON says "Not Found".
    if "error" in reply and " " not in str(reply["error"]):
        return Refusal("refused")
    return Success() if "access_token" in reply else _words_in(body)


def _folded(value: Any) -> Any:
    """With keys in lower case all the way down: older pages and webhooks print them in another case."""
    if isinstance(value, dict):
        return {str(key).lower(): _folded(inner) for key, inner in value.items()}
    return [_folded(inner) for inner in value] if isinstance(value, list) else value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _time(value: Any) -> datetime | None:
    # Up to seven decimals and any offset; what goes beyond microseconds is cut off.
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment and moment.tzinfo else None


def _requester(author: Mapping[str, Any]) -> Requester | None:
    requester = Requester.model_construct(
        email=_text(author.get("email")),
        name=_text(author.get("name")),
        phone=_text(author.get("phonenumber")),
        customer_id=_text(author.get("customidentifier")),
    )
    return requester if requester != Requester() else None
