"""What is asked of a Kapture account: keys, bodies, texts, times, pages, failures."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.learning.facts import in_words
from bridge.learning.run import Given, Questions, UnknownError, fate_of_text, fields_of
from helpdesk.clients.kapture.client import Kapture, kapture_keys_in
from helpdesk.clients.secrets import Secret
from helpdesk.errors import RejectedError, UnauthorizedError
from helpdesk.models import Changes, NewTicket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.learning.run import Answer, Run
    from bridge.learning.trial_ticket import TrialTicket
    from helpdesk.clients.kapture.settings import KaptureSettings
    from helpdesk.models import Ticket

OPERATIONS = ("add", "update", "get", "pull")
FORMS = ("list", "object")
MOST_CALLS = 90
# The parts of its paths.
_PATHS = {"add-ticket": "add", "update-ticket": "update", "search-ticket": "get", "select-ticket": "pull"}
# No ticket was made on it, so it is a harmless day to ask for.
_EMPTY_DAY = date(2000, 1, 1)
_WRONG_KEY = "wrong-key-of-bridge-learn"
_MOST_TICKETS = 2
# As what our client reads that a key is refused.
_REFUSALS = ("token_refused", "login_page")
_NO_TICKET = "1"
_NO_SUB_STATUS = "TB_UNKNOWN"
# With these a get shows notes, where the account does.
_NOTES = {"conversation_type": "notes", "history_type": "all", "read_ticket_history_details": "1"}
# A comment may show later than its update was answered.
_COMMENT_AFTER_S = (0, 1, 2, 4)
_NUMBERS_OF_IDS = (100, 50, 20, 10, 5, 2)
# A zone's offset is a multiple of it.
_QUARTER_S = 900
# Tickets that came while a list was read.
_FRESH = timedelta(minutes=3)

_KNOWN = """
status Status message Message title taskTitle ticket ticket_id ticketId ticket_ids taskId ticket_url
task_details ticket_details detail date history due_date additional_info Additional_details totalCount
customer_id customer_name customerName sub_status substatus substatusKey comment queue
start_date end_date limit offset conversation_type history_type read_ticket_history_details notes
"""
_WORDS = frozenset(
    [
        "success",
        "failed",
        "fail",
        "invalid auth key",
        "auth key expired",
        "title is missing",
        "ticket_ids are missing.",
        "no data found/ticket_id is missing",
        "either start_date is null or blank",
        "invalid json.",
        "status and comment have been updated.",
    ]
)


def operation_of(_: str, path: str) -> str:
    """The operation that a path means."""
    return next((name for part, name in _PATHS.items() if part in path), path)


class KaptureQuestions(Questions["KaptureSettings"]):
    names = frozenset(_KNOWN.split())
    words = _WORDS

    def __init__(
        self, run: Run, settings: KaptureSettings, secret: str, trial: TrialTicket, *, rate: bool
    ) -> None:
        super().__init__(run, settings, secret, trial, rate=rate)
        self._form: str = settings.bodies
        self._other = next(form for form in FORMS if form != self._form)
        self._refused: dict[tuple[str, str], Answer] = {}
        self._listed: list[Ticket] = []
        self._day = _EMPTY_DAY

    def points(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "keys", self._keys
        yield "bodies of an add", self._add
        yield "shown after", self._show
        yield "zone", self._zone
        yield "marker", self._marker
        yield "escaping", self._escaping
        yield "comment", self._comment
        yield "pages", self._pages
        yield "days", self._days
        yield "ids of a get", self._ids
        yield "failures", self._failures
        yield "latency", lambda: self._run.latency(self._client().probe)
        yield "rate", lambda: self._run.rate(self._client().probe if self._rate else None)

    def _client(self, secret: str | None = None, **settings: Any) -> Kapture:
        """The functions' own client, with a key or settings of this question."""
        given: Any = Given(secret or self._secret)
        changed = self._settings.model_copy(update={"bodies": self._form, **settings})
        return Kapture(self._run.recorder, Secret(given, "given", kapture_keys_in), changed)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────

    def _keys(self) -> str:
        keys = _keys_in(self._secret)
        for operation in OPERATIONS:
            opening: list[str] = []
            for name in (operation, *(other for other in keys if other != operation)):
                # An account that needs no title has made a ticket: one is enough.
                if name in keys and not (operation == "add" and self._run.tickets):
                    opening += [name] if self._opens(operation, keys[name]) else []
            self._run.facts[f"keys.{operation}"] = opening
        opened = {operation: self._run.facts[f"keys.{operation}"] for operation in OPERATIONS}
        closed = [operation for operation, names in opened.items() if not names]
        if closed:
            return f"no key of the secret opens {', '.join(closed)}: put theirs into it"
        if (read_as := self._run.facts["failures.wrong_key"]["read_as"]) not in _REFUSALS:
            raise UnknownError(f"we do not recognise that a wrong key is refused: it is read as {read_as}")
        return "; ".join(f"{operation} by {in_words(names)}" for operation, names in opened.items())

    def _opens(self, operation: str, key: str) -> bool:
        """Whether the answer to a harmless call differs from the answer to a wrong key."""
        forms = (self._form, self._other) if operation in ("add", "update") else (self._form,)
        for form in forms:
            if (operation, form) not in self._refused:
                self._refused[operation, form] = self._harmless(operation, _WRONG_KEY, form)
            wrong = self._refused[operation, form]
            self._run.facts["failures.wrong_key"] = wrong.failure
            right = self._harmless(operation, key, form)
            if isinstance(right.error, UnauthorizedError):
                return False
            if not right.looks_like(wrong):
                if operation == "add":
                    self._run.facts["failures.missing_field"] = right.failure
                return True
        return False

    def _harmless(self, operation: str, key: str, form: str) -> Answer:
        """A call that changes nothing, because what it needs is missing, or there is nothing to read."""
        client = self._client(json.dumps({"token": key}), bodies=form)
        match operation:
            case "add":
                answer = self._run.ask(client.add, NewTicket.model_construct(title=""))
                if answer.error is None:
                    self._run.tickets.append(answer.value.ticket_id)
                return answer
            case "update":
                changes = Changes(sub_status=_NO_SUB_STATUS)
                return self._run.ask(client.update, "", changes)
            case "get":
                return self._run.ask(client.probe)
        return self._run.ask(client.pull, _EMPTY_DAY)

    # ── a ticket, and how it comes back ──────────────────────────────────────────────────────────────────

    def _add(self) -> str:
        """One ticket in each form of the body: the other form is a fact only once it was taken or refused."""
        taken = []
        for form in (self._form, self._other):
            if len(self._run.tickets) == _MOST_TICKETS:
                break
            since = self._run.clock()
            ticket = self._trial.ticket
            answer = self._run.ask(self._client(bodies=form).add, ticket)
            if isinstance(answer.error, UnauthorizedError):
                raise UnknownError(f"the key is refused ({answer.error.code})")
            if answer.error is None:
                taken.append(form)
                self._run.tickets.append(answer.value.ticket_id)
                self._made_at = self._made_at or since
            elif not isinstance(answer.error, RejectedError):
                raise UnknownError(f"a ticket may have been made without its answer ({answer.read_as})")
        if not taken:
            raise UnknownError(
                "no ticket is taken in either form: does the account need more fields? --ticket"
            )
        self._run.facts["bodies.add"] = sorted(taken)
        self._form = taken[0]
        self._other = next(form for form in FORMS if form != self._form)
        return f"taken as {' and as '.join(sorted(taken))}"

    def _show(self) -> str:
        """Reads the ticket until a get and a list show it."""
        ticket_id = self._run.ticket

        def got() -> Ticket | None:
            ticket = self._of_ours(self._run.ask(self._client().get, [ticket_id], {}).value)
            if ticket and ticket.created_at:
                # The day that it prints, whatever zone the settings say.
                self._day = ticket.created_at.astimezone(self._settings.zone).date()
            return ticket

        self._day = datetime.fromtimestamp(self._made_at, self._settings.zone).date()
        reads = {"get": got, "pull": lambda: self._pulled(self._day)}
        self._shown = self._run.until_shown(reads, self._made_at)
        if "pull" not in self._shown:
            self._pull_neighbours()
        return self._run.shown_in_words()

    def _pulled(self, day: date) -> Ticket | None:
        answer = self._run.ask(self._client().pull, day)
        self._listed = answer.value or []
        return self._of_ours(self._listed)

    def _pull_neighbours(self) -> None:
        """Days may begin in another zone than the settings say."""
        today = self._day
        for day in (today + timedelta(days=1), today - timedelta(days=1)):
            if ticket := self._pulled(day):
                self._day, self._shown["pull"] = day, ticket
                self._run.facts["shown_after_s.pull"] = round(self._run.clock() - self._made_at, 1)
                return

    def _of_ours(self, tickets: list[Ticket] | None) -> Ticket | None:
        return next((ticket for ticket in tickets or [] if ticket.ticket_id in self._run.tickets), None)

    def _zone(self) -> str:
        """The offset in which times are printed, by the time of our own ticket."""
        ticket = next(iter(self._shown.values()), None)
        if ticket is None or ticket.created_at is None:
            raise UnknownError("no time of creation was seen")
        made_at = datetime.fromtimestamp(self._made_at, UTC)
        off_s = (ticket.created_at - made_at).total_seconds()
        offset = made_at.astimezone(self._settings.zone).utcoffset() or timedelta()
        minutes = round((off_s + offset.total_seconds()) / _QUARTER_S) * _QUARTER_S // 60
        self._run.facts["zone.utc_offset_minutes"] = minutes
        return f"times are printed at UTC{minutes / 60:+g} h"

    def _escaping(self) -> str:
        if not self._shown:
            raise UnknownError("no ticket was seen again")
        raws = [ticket.raw for ticket in self._shown.values()]
        fates = {
            name: {fate_of_text(*self._trial.texts[name], raw) for raw in raws}
            for name in ("title", "details", "name")
        }
        texts = fates["title"] | fates["details"]
        if not texts & {"same", "escaped"}:
            raise UnknownError("no text came back as it was sent, or escaped")
        escaped = "all" if "escaped" in texts else "names" if "escaped" in fates["name"] else "none"
        if escaped == "none" and "same" not in fates["name"]:
            raise UnknownError("title and details come back as they were; the name was not seen")
        self._run.facts["escaped"] = escaped
        return {"all": "every text", "names": "names only", "none": "no text"}[escaped]

    # ── comments ─────────────────────────────────────────────────────────────────────────────────────────

    def _comment(self) -> str:
        """One comment in the form that is taken, an update without one in the other form, and a look back."""
        text, key = self._trial.texts["comment"]
        comment = Changes(sub_status=self._sub_status(), comment=text)
        taken = [form for form in (self._form, self._other) if self._updated(form, comment)][:1]
        if not taken:
            raise UnknownError("no update is taken in either form")
        other = next(form for form in FORMS if form not in taken)
        if self._updated(other, Changes(sub_status=self._sub_status())):
            taken.append(other)
        self._run.facts["bodies.update"] = sorted(taken)
        is_readable = any(self._is_shown(text, key, after_s) for after_s in _COMMENT_AFTER_S)
        self._run.facts["comments_readable"] = is_readable
        shown = "come back" if is_readable else "do not come back"
        return f"updates are taken as {' and as '.join(sorted(taken))}; comments {shown}"

    def _is_shown(self, text: str, key: str, after_s: float) -> bool:
        """Whether a get shows the comment after a pause."""
        if after_s > self._run.wait_s:
            return False
        self._run.sleep(after_s)
        answer = self._run.ask(self._client().get, [self._run.ticket], _NOTES)
        ticket = self._of_ours(answer.value)
        return fate_of_text(text, key, ticket.raw if ticket else None) in ("same", "escaped")

    def _updated(self, form: str, changes: Changes) -> bool:
        ticket_id = self._run.ticket
        client = self._client(bodies=form)
        answer = self._run.ask(client.update, ticket_id, changes)
        if answer.error and not isinstance(answer.error, RejectedError):
            raise UnknownError(f"an update was not taken ({answer.read_as})")
        return answer.error is None

    def _sub_status(self) -> str:
        """One that the account knows: the ticket's own, or one of the settings."""
        shown = [ticket.sub_status.key for ticket in self._shown.values() if ticket.sub_status]
        return next(filter(None, [*shown, *self._settings.sub_statuses.values()]), "PS")

    # ── lists ────────────────────────────────────────────────────────────────────────────────────────────

    def _pages(self) -> str:
        """What `limit` and `offset` of a pull do, and whether a pull without them is whole."""
        if "pull" not in self._shown:
            raise UnknownError("no list shows our tickets")
        facts = self._run.facts
        since = datetime.fromtimestamp(self._run.clock(), UTC)
        whole = self._run.ask(self._client(pull_limit=0).pull, self._day)
        facts["pull.without_limit"] = "refused" if whole.error else "whole"
        singles = self._pages_of(1)
        if len(singles) > 1:
            facts["pull.limit_heeded"] = len(singles[0]) == 1
            facts["pull.offset_heeded"] = singles[0] != singles[1]
        if whole.error is None:
            pages = self._pages_of(len(whole.value))
            known = {ticket.ticket_id for ticket in whole.value}
            more = [ticket for page in pages for ticket in page if ticket not in known]
            if more and not self._are_fresh(more, since):
                facts["pull.without_limit"] = "cut"
        empty = self._run.ask(self._client().pull, _EMPTY_DAY)
        forms = {_form_of_message(call.reply) for call in (*empty.exchanges, *self._run.recorder.exchanges)}
        facts["pull.forms"] = sorted(filter(None, forms))
        heeded = [name for name in ("limit", "offset") if facts.get(f"pull.{name}_heeded")]
        without = facts["pull.without_limit"]
        both = " and ".join(heeded) or "neither limit nor offset"
        return f"without a limit a list is {without}; heeded: {both}"

    def _pages_of(self, limit: int) -> list[list[str]]:
        """The ids of the first two pages of so many."""
        client = self._client(pull_limit=limit)
        answer = self._run.ask(client.pull, self._day, most=2)
        if answer.error:
            raise UnknownError(f"a list with a limit is not answered ({answer.read_as})")
        return [_ids_in(exchange.reply) for exchange in answer.exchanges]

    def _are_fresh(self, ticket_ids: list[str], since: datetime) -> bool:
        """Whether tickets that a second page shows came after the first one was read."""
        answer = self._run.ask(self._client().get, ticket_ids[:1], {})
        times = [ticket.created_at for ticket in answer.value or [] if ticket.created_at]
        return any(abs(time - since) < _FRESH for time in times)

    def _days(self) -> str:
        """Whether days begin in the zone in which times are printed."""
        zone = self._settings.zone
        printed = [ticket.created_at.astimezone(zone) for ticket in self._listed if ticket.created_at]
        if not printed:
            raise UnknownError("no list shows times")
        if any(time.date() != self._day for time in printed):
            self._run.facts["zone.days"] = "other"
            return "a list holds tickets whose printed time is of another day"
        offset = timedelta(minutes=float(str(self._run.facts.get("zone.utc_offset_minutes", 0))))
        if all((time.replace(tzinfo=UTC) - offset).date() == self._day for time in printed):
            return "cannot be told now, when it is the same day in UTC; our ticket is on its printed day"
        self._run.facts["zone.days"] = "as printed"
        return "days begin in the zone in which times are printed"

    # ── failures and limits ──────────────────────────────────────────────────────────────────────────────

    def _failures(self) -> str:
        """How an unknown id and an unknown sub-status are answered; keys and fields were tried before."""
        facts = self._run.facts
        client = self._client()
        unknown = self._run.ask(client.get, [_NO_TICKET], {})
        facts["failures.unknown_id_of_get"] = unknown.failure
        # Only where nobody has a ticket of this id is an update of it harmless.
        if not unknown.value:
            changes = Changes(sub_status=self._sub_status())
            answer = self._run.ask(client.update, _NO_TICKET, changes)
            facts["failures.unknown_id_of_update"] = answer.failure
        if self._run.tickets:
            last, changes = self._run.tickets[-1], Changes(sub_status=_NO_SUB_STATUS)
            answer = self._run.ask(client.update, last, changes)
            facts["failures.unknown_sub_status"] = answer.failure
        return self._run.failures_in_words()

    def _ids(self) -> str:
        """The most ids of a get, up to a hundred."""
        mine = self._run.tickets
        if "get" not in self._shown:
            raise UnknownError("no get shows our tickets")
        facts = self._run.facts
        mixed = self._run.ask(self._client().get, [_NO_TICKET, mine[0]], {})
        facts["get.unknown_ids"] = "refused" if mixed.error else "left out"
        if mixed.error:
            raise UnknownError(f"a get with an unknown id among others is answered with {mixed.read_as}")
        if number := self._run.most_ids(self._client().get, _NUMBERS_OF_IDS):
            return f"{number} of the numbers tried"
        facts["get.most_ids"] = 1
        return "a single one"


def _keys_in(secret: str) -> dict[str, str]:
    """The keys that a secret holds, by their names."""
    fields = fields_of(secret)
    if fields is None:
        return {"token": secret.strip()}
    return {name: key for name in ("token", *OPERATIONS) if isinstance(key := fields.get(name), str)}


def _message_in(reply: Any) -> Any:
    return reply.get("message") if isinstance(reply, dict) else None


def _ids_in(reply: Any) -> list[str]:
    """The tickets that a page shows."""
    message = _message_in(reply)
    items = [message] if isinstance(message, dict) else message if isinstance(message, list) else []
    return [str(item.get("ticketId")) for item in items]


def _form_of_message(reply: Any) -> str | None:
    """In which form a list comes; None where the reply is none of a list."""
    if not isinstance(reply, dict) or "totalCount" not in reply:
        return None
    message = _message_in(reply)
    return "object" if isinstance(message, dict) else "list" if isinstance(message, list) else "text"
