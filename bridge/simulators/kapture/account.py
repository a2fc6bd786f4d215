"""A simulated Kapture account: add, update, get and pull as the vendor documents them, quirks included.

Facts are tagged by their source: documented (the vendor's pages and samples), observed (what public clients
rely on), inferred (our own conclusion; a client must not depend on it). What the vendor leaves open is
answered strictly here, so that a client which relies on luck is found out.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from bridge.simulators.faults import Answer, ControlError
from bridge.simulators.kapture.answers import SECONDS, Escaped, KaptureAnswers, local
from bridge.simulators.kapture.tickets import HistoryEntry, Ticket
from bridge.simulators.server import (
    OTHER,
    HelpdeskSimulator,
    HelpdeskSwitches,
    ReceivedCall,
    options_of,
    run_in_foreground,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.simulators.kapture.answers import JsonObject

PATHS = {
    "/add-ticket-from-other-source.html": "add",
    "/update-ticket-from-other-source.html": "update",
    "/search-ticket-by-ticket-id.html": "get",
    "/select-ticket-between-start-and-end-dates.html": "pull",
}
VERSION = "/v.2.0"
"""Follows the path; without it the older generation answers (documented)."""
# A get with all of these shows notes, where the account shows them (observed).
_NOTES_SWITCHES = {"conversation_type": "notes", "history_type": "all", "read_ticket_history_details": "1"}

type BodyForm = Literal["any", "list", "object"]

_FIRST_INTERNAL_ID = 530348198

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


class KaptureSwitches(HelpdeskSwitches):
    """What differs between accounts, or is left open by the vendor."""

    failure_status: Annotated[int, Field(ge=200, le=599)] | Literal["by_cause"] = 200
    """HTTP status of a failed body; by_cause: 401 for the key, 404 for an unknown ticket, else 400."""
    pull_message: Literal["array", "varying"] = "array"
    """varying: one ticket is answered as an object and none as a text (observed)."""
    ignore_offset: bool = False
    """A pull answers its first page whatever the offset."""
    pull_lag_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Tickets younger than this are not shown by a pull."""
    get_lag_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Tickets younger than this are not shown by a get."""
    get_most_ids: Annotated[int, Field(ge=0)] = 0
    """A get of more ids fails (observed in one account); 0 means no limit."""
    keys: dict[str, str] = Field(default_factory=dict)
    """The keys of single operations (observed: keys are made per API); the token opens the others."""
    marker_returned: bool = True
    """Whether get and pull show ticket details and extra blocks, or leave them empty as the samples do."""
    notes_returned: bool = False
    """Whether a get that asks for notes shows the comments (observed in one account)."""
    body_form: BodyForm = "any"
    """The only form of an add's and an update's body: accounts differ (observed)."""
    escaped: Escaped = "names"
    """Which texts come back HTML-escaped from get and pull: names (documented), or titles, details and notes
    as well."""


class RefusedError(Exception):
    """The account refuses the call; `http_status` is the one that suits the cause."""

    def __init__(self, message: str, http_status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status


class KaptureSimulator(HelpdeskSimulator[KaptureSwitches]):
    """One Kapture account on loopback. Dates in its answers and its days are local to `zone`."""

    name = "kapture"
    operations = tuple(PATHS.values())
    id_paths = frozenset(
        {"ticket_id", "Ticket Id", "ticket.ticketId", "task_details.ticketId", "message.ticketId"}
    )

    def __init__(
        self,
        *,
        token: str,
        zone: str = "Asia/Kolkata",
        clock: Callable[[], float] = time.time,
        switches: KaptureSwitches | None = None,
    ) -> None:
        super().__init__(token=token, switches=switches or KaptureSwitches(), clock=clock)
        self.zone = ZoneInfo(zone)
        self._tickets: dict[str, Ticket] = {}
        self._last_ticket_number = 0

    @property
    def tickets(self) -> list[Ticket]:
        """A copy of the store, oldest first."""
        return list(self._tickets.values())

    def tickets_as_json(self) -> list[JsonObject]:
        """The store in our own plain form; `comments` lists the comments out of the history."""
        return [
            asdict(ticket) | {"state": ticket.sub_status, "comments": ticket.comments}
            for ticket in self.tickets
        ]

    def forget_tickets(self) -> None:
        self._tickets.clear()

    def change_by_hand(self, ticket_id: str, state: str) -> None:
        """Give a ticket another sub-status."""
        self._tickets[ticket_id] = replace(self._stored(ticket_id), sub_status=state, status_asked="")

    def delete_by_hand(self, ticket_id: str) -> None:
        del self._tickets[self._stored(ticket_id).ticket_id]

    def copy_by_hand(self, ticket_id: str) -> str:
        now = self.clock()
        copied = replace(self._stored(ticket_id), ticket_id=self._new_ticket_id(now), created_at=now)
        self._tickets[copied.ticket_id] = copied
        return copied.ticket_id

    def _stored(self, ticket_id: str) -> Ticket:
        if ticket_id not in self._tickets:
            raise ControlError([f"there is no ticket {ticket_id}"])
        return self._tickets[ticket_id]

    def operation_of(self, method: str, path: str) -> str:
        """Every operation is a POST, reads included (documented)."""
        return PATHS.get(path.removesuffix(VERSION), OTHER) if method == "POST" else OTHER

    def perform(self, call: ReceivedCall) -> Answer:
        path = call.path.partition("?")[0]
        if call.operation == OTHER:
            known = path.removesuffix(VERSION) in PATHS
            return Answer(status=405 if known else 404, content_type="text/html; charset=utf-8")
        older = not path.endswith(VERSION)
        try:
            return Answer.of_json(self._success(call, older=older))
        except RefusedError as refused:
            status = self.switches.failure_status
            # Documented: the older generation capitalises the keys of a failure.
            keys = ("Message", "Status") if older else ("message", "status")
            return Answer.of_json(
                dict(zip(keys, (refused.message, "failed"), strict=True)),
                refused.http_status if status == "by_cause" else status,
            )

    def _success(self, call: ReceivedCall, *, older: bool) -> object:
        key = self.switches.keys.get(call.operation, self.token)
        if call.headers.get("authorization") != f"Basic {key}":
            raise RefusedError("Invalid Auth Key", 401)
        forms: dict[str, BodyForm] = {"get": "object", "pull": "any"}
        fields = _fields_of(call.body, forms.get(call.operation, self.switches.body_form))
        match call.operation:
            case "add":
                return self._add(fields, call.origin, older=older)
            case "update":
                return self._update(fields, call.origin)
            case "get":
                return self._get(fields, call.origin)
            case _:
                return self._pull(fields, call.origin, older=older)

    def _add(self, fields: JsonObject, origin: str, *, older: bool) -> JsonObject:
        now = self.clock()
        title = _text(fields, "title")
        if not title:
            raise RefusedError("title is missing")
        customer_id = _text(fields, "customer_id")
        ticket = Ticket(
            ticket_id=self._new_ticket_id(now),
            internal_id=_FIRST_INTERNAL_ID + len(self._tickets),
            created_at=now,
            title=title,
            details=_text(fields, "ticket_details"),
            # Documented: without a due date the time of creation is answered, a bare day gets midnight.
            due_date=_date_time(_text(fields, "due_date"), "due_date") or local(now, self.zone, SECONDS),
            email=_text(fields, "email_id"),
            phone=_text(fields, "phone"),
            customer_id=int(customer_id) if customer_id.isdigit() else 0,
            customer_name=_text(fields, "customer_name"),
            queue=_text(fields, "queue"),
            disposition=_text(fields, "disposition"),
            priority=_text(fields, "priority") or "low",
            blocks=_associate_blocks(fields),
        )
        self._tickets[ticket.ticket_id] = ticket
        return self._answers(origin).added(ticket, older=older)

    def _update(self, fields: JsonObject, origin: str) -> JsonObject:
        missing = "No Data found/ticket_id is missing"
        ticket_id = _text(fields, "ticket_id")
        if not ticket_id:
            raise RefusedError(missing)
        ticket = self._tickets.get(ticket_id)
        if ticket is None:
            raise RefusedError(missing, 404)  # Inferred: the text suits an unknown id as well.
        sub_status = _text(fields, "sub_status")
        if not sub_status:
            raise RefusedError("sub_status is missing")  # Documented as required; the wording is inferred.
        callback_time = _text(fields, "callback_time")
        if callback_time and not _is_time(callback_time, _DATE_TIME, SECONDS):
            # Documented: the text names another key than the request has.
            raise RefusedError("Invalid Format.callback_date should be yyyy-MM-dd hh:mm:ss.")
        entry = HistoryEntry(
            at=self.clock(),
            sub_status=sub_status,
            queue=_text(fields, "queue"),
            disposition=_text(fields, "disposition"),
            callback_time=callback_time,
            comment=_text(fields, "comment"),
        )
        ticket = replace(
            ticket,
            sub_status=sub_status,
            status_asked=_text(fields, "status"),
            # Inferred: an empty text leaves the value alone, since the vendor's sample is full of them.
            queue=entry.queue or ticket.queue,
            disposition=entry.disposition or ticket.disposition,
            callback_time=callback_time or ticket.callback_time,
            history=(*ticket.history, entry),
        )
        self._tickets[ticket_id] = ticket
        return self._answers(origin).updated(ticket)

    def _get(self, fields: JsonObject, origin: str) -> list[JsonObject]:
        # Documented: the sample and the failure say ticket_ids, the parameter table ticket_id.
        named = _text(fields, "ticket_ids") or _text(fields, "ticket_id")
        if not named:
            raise RefusedError("ticket_ids are missing.")
        ids = dict.fromkeys(part.strip() for part in named.split(","))
        most = self.switches.get_most_ids
        if most and len(ids) > most:
            raise RefusedError(f"at most {most} ticket_ids are allowed")  # The wording is inferred.
        latest = self.clock() - self.switches.get_lag_s
        tickets = [self._tickets[ticket_id] for ticket_id in ids if ticket_id in self._tickets]
        wants_notes = all(_text(fields, key) == value for key, value in _NOTES_SWITCHES.items())
        notes = wants_notes and self.switches.notes_returned
        answers = self._answers(origin)
        return [answers.found(ticket, notes=notes) for ticket in tickets if ticket.created_at <= latest]

    def _pull(self, fields: JsonObject, origin: str, *, older: bool) -> JsonObject:
        start, end = (_pull_day(fields, key) for key in ("start_date", "end_date"))
        if start != end:
            # Documented: a call covers at most 24 hours. What happens beyond is not, so nothing is answered.
            raise RefusedError("start_date and end_date should be within 24 hours")
        tickets = self._tickets_of_day(start)
        offset = 0 if self.switches.ignore_offset else _number(fields, "offset") or 0
        limit = _number(fields, "limit")
        page = tickets[offset:] if limit is None else tickets[offset : offset + limit]
        varying = self.switches.pull_message == "varying"
        return self._answers(origin).pulled(page, older=older, varying=varying)

    def _answers(self, origin: str) -> KaptureAnswers:
        return KaptureAnswers(self.zone, origin, self.switches.marker_returned, self.switches.escaped)

    def _tickets_of_day(self, day: str) -> list[Ticket]:
        latest = self.clock() - self.switches.pull_lag_s
        return [
            ticket
            for ticket in self._tickets.values()
            if ticket.created_at <= latest and local(ticket.created_at, self.zone, "%Y-%m-%d") == day
        ]

    def _new_ticket_id(self, now: float) -> str:
        # Inferred from the samples: the epoch in milliseconds without its leading 1.
        number = max(int(now * 1000) % 10**12, self._last_ticket_number + 1)
        self._last_ticket_number = number
        return f"{number:012d}"


def _fields_of(body: bytes, form: BodyForm) -> JsonObject:
    """The request's object: bare, or the first of an array (bare is observed, arrays are documented)."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise RefusedError("Invalid Json.") from error
    taken = {"any": list | dict, "list": list, "object": dict}[form]
    if not isinstance(content, taken):
        raise RefusedError("Invalid Json.")
    if isinstance(content, list):
        content = content[0] if content else {}
    if not isinstance(content, dict):
        raise RefusedError("Invalid Json.")
    return content


def _text(fields: JsonObject, key: str) -> str:
    value = fields.get(key)
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _number(fields: JsonObject, key: str) -> int | None:
    """A whole number sent as number or text (observed: as text). Raises RefusedError with our own wording."""
    text = _text(fields, key)
    if text and not text.isdecimal():
        raise RefusedError(f"{key} should be a number")
    return int(text) if text else None


def _is_time(text: str, pattern: re.Pattern[str], form: str) -> bool:
    if not pattern.fullmatch(text):  # strptime alone would take single digits.
        return False
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True


def _date_time(text: str, key: str) -> str:
    """A day or a moment as a moment. Raises RefusedError with our own wording."""
    if not text or _is_time(text, _DATE_TIME, SECONDS):
        return text
    if _is_time(text, _DATE, "%Y-%m-%d"):
        return f"{text} 00:00:00"
    raise RefusedError(f"Invalid Format.{key} should be yyyy-MM-dd.")


def _pull_day(fields: JsonObject, key: str) -> str:
    text = _text(fields, key)
    if not text:
        raise RefusedError(f"either {key} is null or blank")  # Documented for start_date.
    if not _is_time(text, _DATE, "%Y-%m-%d"):
        raise RefusedError(f"Invalid Format.{key} should be yyyy-MM-dd.")
    return text


def _associate_blocks(fields: JsonObject) -> dict[str, list[object]]:
    """Account-specific extra blocks, sent as object or array, as the arrays they come back as (observed)."""
    arrays = {key: value if isinstance(value, list) else [value] for key, value in fields.items()}
    return {
        key: array for key, array in arrays.items() if array and all(isinstance(item, dict) for item in array)
    }


def main() -> None:
    """Serve one account in the foreground."""
    parser = options_of("kapture", KaptureSwitches)
    parser.add_argument("--token", required=True, help="the API key that is accepted")
    parser.add_argument("--zone", default="Asia/Kolkata", help="the account's time zone")
    options = parser.parse_args()
    simulator = KaptureSimulator(token=options.token, zone=options.zone, switches=options.switches)
    run_in_foreground(simulator.app(), port=options.port, ready_file=options.ready_file)


if __name__ == "__main__":
    main()
