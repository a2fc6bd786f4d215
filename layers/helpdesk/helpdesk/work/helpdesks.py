"""The helpdesks that are served here: what each can take, and what it shows, asked through its gate."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from pydantic import JsonValue, ValidationError

from helpdesk.clients.port import Steps
from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.models import (
    Changes,
    GetRequest,
    NewTicket,
    Outcome,
    OutcomeKind,
    Request,
    Ticket,
    TicketLink,
    identity_of,
)
from helpdesk.store.gate import OVER_BUDGET, Failure, Gate, Permit
from helpdesk.store.watchlist import Watchlist

# Calls of one look that bad ids among good ones are worth.
_MOST_LOOKS = 20
# Reasons of our own: they say nothing of the helpdesk.
_OUR_CODES = {
    "ledger_unavailable",
    "ledger_moved_on",
    OVER_BUDGET,
    "step_not_recorded",
    "out_of_date",
    "secret_unreadable",
    "ticket_busy",
    "unknown_reference",
    "out_of_time",
}


class Helpdesk(Protocol):
    """What a helpdesk can do for us. Each call ends before its deadline, a moment of `time.monotonic()`."""

    @property
    def name(self) -> str:
        """As requests name it."""

    @property
    def get_limit(self) -> int:
        """How many tickets one get may ask for."""

    @property
    def updates_in_steps(self) -> bool:
        """Whether an update marks each of its steps that must not be made twice before it begins it."""

    @property
    def marker_field(self) -> str:
        """Where its tickets carry their markers; "off" where they carry none."""

    @property
    def zone(self) -> ZoneInfo:
        """Where the helpdesk's days begin."""

    def is_closed(self, ticket: Ticket) -> bool:
        """Whether nothing more is expected of the ticket."""

    def check(self, request: Request) -> None:
        """Raises RejectedError where this helpdesk cannot take the request. Makes no call."""

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Makes a ticket."""

    def update(self, ticket_id: str, changes: Changes, deadline: float, steps: Steps) -> TicketLink:
        """Changes a ticket, in as many steps as it takes."""

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        """The ticket with a marker by which it can be found again."""

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket as the helpdesk gives them; None where it does not."""

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        """The tickets that exist, in any order."""

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone."""

    def probe(self, deadline: float) -> None:
        """One harmless call, to see whether the helpdesk answers. Raises HelpdeskError."""

    def metered(self, spend: Callable[[], None]) -> Self:
        """The same, which calls `spend` before each of its HTTP calls, and makes none where that raises."""

    def token_version(self, *, fresh: bool) -> str | None:
        """Changes when the helpdesk's token does; read anew where `fresh`, None where it was never read."""

    def token_expires_on(self) -> date | None:
        """The day on which our access ends, where the secret as last read says so."""


@dataclass(frozen=True)
class Heard:
    """What a call says of the helpdesk; nothing where it was not asked."""

    answered: bool = False
    failure: Failure | None = None


NOTHING = Heard()
ANSWERED = Heard(answered=True)


class Desks:
    """Every helpdesk by its name, each with its gate."""

    def __init__(
        self,
        helpdesks: Mapping[str, Helpdesk],
        gates: Mapping[str, Gate],
        watchlist: Watchlist | None = None,
    ) -> None:
        self._helpdesks = helpdesks
        self._gates = gates
        # None where nothing is watched.
        self._watchlist = watchlist

    def __getitem__(self, helpdesk: str) -> Helpdesk:
        return self._helpdesks[helpdesk]

    @property
    def clients(self) -> Mapping[str, Helpdesk]:
        """The client of each helpdesk, by the helpdesk's name."""
        return self._helpdesks

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that the helpdesk cannot take."""
        if request.helpdesk not in self._helpdesks:
            problem = FieldProblem("helpdesk", f"must be {' or '.join(self._helpdesks)}")
            raise RejectedError("invalid_request", "this helpdesk is not served here", (problem,))
        if isinstance(request, GetRequest) and "watch" in request.include and not self._watchlist:
            problem = FieldProblem("include", "nothing is watched here: WatchMinutes is 0")
            raise RejectedError("invalid_request", "the watch is switched off", (problem,))
        limit = self._gates[request.helpdesk].limit
        if (
            limit
            and isinstance(request, GetRequest)
            and self.calls_for(request.helpdesk, len(request.ticket_ids)) > limit
        ):
            most = limit * self._helpdesks[request.helpdesk].get_limit
            problem = FieldProblem("ticket_ids", f"must be at most {most}: the budget allows no more")
            raise RejectedError("invalid_request", "the budget does not allow so many tickets", (problem,))
        self._helpdesks[request.helpdesk].check(request)

    def gate(self, helpdesk: str) -> Gate:
        """The gate of a helpdesk, to be looked at."""
        return self._gates[helpdesk]

    def get(self, request: GetRequest, deadline: float) -> Outcome:
        """The tickets asked for. Raises HelpdeskError where they cannot be had."""
        helpdesk = request.helpdesk
        calls = self.calls_for(helpdesk, len(request.ticket_ids))
        permit = self.admit(helpdesk, calls, deadline, harmless=True)
        if permit.calls < calls:
            self.report(helpdesk, permit, [])
            raise UnavailableError(permit.code, "the helpdesk cannot be asked now", permit.retry_after)
        signal = ANSWERED
        try:
            client = self.client(helpdesk, permit)
            return self.retrieved(request, fetch(client, request.ticket_ids, request.extra, deadline))
        except HelpdeskError as error:
            signal = heard_in(error)
            raise
        finally:
            self.report(helpdesk, permit, [signal])

    # ── reads that can wait ──────────────────────────────────────────────────────────────────────────────

    def comments(self, helpdesk: str, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket; None where the helpdesk does not give them. Raises HelpdeskError."""
        return self._read(helpdesk, lambda client: client.comments(ticket_id, deadline))

    def pull(self, helpdesk: str, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone. Raises HelpdeskError."""
        return self._read(helpdesk, lambda client: client.pull(day, deadline))

    def look(self, helpdesk: str, ticket_ids: Sequence[str], deadline: float) -> list[Ticket]:
        """Those of up to `get_limit` tickets that there are, by calls that live requests leave.

        One bad id may spoil the others' call: what is refused is asked for in halves, down to single tickets,
        which are left out. Raises UnavailableError, UnauthorizedError, and OutcomeUnknownError also where the
        helpdesk seems to refuse whatever it is asked.
        """
        parts = [list(ticket_ids)]
        found: list[Ticket] = []
        refused = calls = 0
        while parts:
            if calls == _MOST_LOOKS or (refused > 1 and not found):
                raise OutcomeUnknownError("refused", "the helpdesk refuses to show tickets")
            part = parts.pop()
            calls += 1
            try:
                found += self._read(helpdesk, partial(_fetch_all, part, deadline), spare=True)
            except RejectedError:
                half = len(part) // 2
                parts += [part[half:], part[:half]] if half else []
                refused += not half
        return found

    def _read[T](self, helpdesk: str, call: Callable[[Helpdesk], T], *, spare: bool = False) -> T:
        """What a read in the background gives. It closes the gate to no request.

        A helpdesk may be slow to list, or refuse our key for it, and take tickets all the same.
        """
        permit = self._gates[helpdesk].admit_read(spare=spare)
        if not permit.calls:
            raise UnavailableError(permit.code, "the helpdesk cannot be asked now", permit.retry_after)
        signal = ANSWERED
        try:
            return call(self.client(helpdesk, permit))
        except HelpdeskError as error:
            signal = heard_in(error)
            raise
        except ValidationError as error:
            raise OutcomeUnknownError(
                "unexpected_answer", "the answer holds what no ticket can be"
            ) from error
        finally:
            self.report(helpdesk, permit, [signal])

    def probe(self, helpdesk: str, deadline: float) -> None:
        """Makes one harmless read where the gate is closed and it is time. Raises UnavailableError."""
        self.admit(helpdesk, 0, deadline, harmless=True)

    # ── for a batch ──────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, helpdesk: str) -> None:
        """Reads a secret that this process has not read yet, so that the first call need not wait for it."""
        if self._helpdesks[helpdesk].token_version(fresh=False) is None:
            self._helpdesks[helpdesk].token_version(fresh=True)

    def admit(self, helpdesk: str, calls: int, deadline: float, *, harmless: bool = False) -> Permit:
        """The right to make up to so many calls now. Probes a closed gate, where it is time, by a read.

        Raises UnavailableError as the gate does.
        """
        gate = self._gates[helpdesk]
        version = partial(self._helpdesks[helpdesk].token_version, fresh=True)
        permit = gate.admit(calls, version, harmless=harmless)
        if permit.kind == "probe":
            self._probe(helpdesk, permit, deadline)
            permit = gate.admit(calls, version, harmless=harmless)
        if permit.kind != "probe":
            return permit
        # A second one is due already: the first heard nothing, or the secret has changed since.
        self.report(helpdesk, permit, [])
        return Permit(0, permit.code, permit.retry_after)

    def _probe(self, helpdesk: str, permit: Permit, deadline: float) -> None:
        signal = ANSWERED
        try:
            self.client(helpdesk, permit).probe(deadline)
        except HelpdeskError as error:
            signal = heard_in(error)
        self.report(helpdesk, permit, [signal])

    def client(self, helpdesk: str, permit: Permit) -> Helpdesk:
        """The helpdesk, for the calls of this permit."""
        return self._helpdesks[helpdesk].metered(partial(self._gates[helpdesk].spend, permit))

    def calls_for(self, helpdesk: str, ids: int) -> int:
        """The calls that it takes to get so many tickets."""
        return math.ceil(ids / self._helpdesks[helpdesk].get_limit)

    def report(self, helpdesk: str, permit: Permit, signals: Sequence[Heard]) -> bool:
        """Lets the gate know how calls went. Whether the next of a batch may follow its trial.

        One that needed no call has given its turn back.
        """
        if not permit.calls:
            return False
        failures = [signal.failure for signal in signals if signal.failure]
        answered = any(signal.answered for signal in signals)
        # The gate is there to spare the helpdesk; what was done stays done without it.
        with suppress(HelpdeskError):
            version = self._helpdesks[helpdesk].token_version(fresh=False)
            self._gates[helpdesk].report(permit, failures, answered, version)
            return permit.kind == "trial" and not failures
        return False

    def retrieved(self, request: GetRequest, found: Mapping[str, Ticket]) -> Outcome:
        """The outcome of a get. Raises UnavailableError where its tickets cannot be put on the watchlist."""
        if self._watchlist and "watch" in request.include:
            self._watchlist.add(request.helpdesk, [one for one in request.ticket_ids if one in found])
        return _retrieved(request, found)


def fetch(
    client: Helpdesk, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float
) -> dict[str, Ticket]:
    """Those of the tickets that exist, by as many calls as it takes. Raises HelpdeskError."""
    found: dict[str, Ticket] = {}
    for start in range(0, len(ticket_ids), client.get_limit):
        part = ticket_ids[start : start + client.get_limit]
        try:
            found |= {ticket.ticket_id: ticket for ticket in client.get(part, extra, deadline)}
        except ValidationError as error:
            raise OutcomeUnknownError(
                "unexpected_answer", "the answer holds what no ticket can be"
            ) from error
    return found


def _fetch_all(ticket_ids: Sequence[str], deadline: float, client: Helpdesk) -> list[Ticket]:
    return list(fetch(client, ticket_ids, {}, deadline).values())


def heard_in(error: HelpdeskError) -> Heard:
    """What a call that failed says of the helpdesk."""
    if error.code in _OUR_CODES:
        return NOTHING
    match error:
        case RejectedError():
            return ANSWERED
        case UnauthorizedError():
            return Heard(failure=Failure(token_refused=True))
        case UnavailableError():
            return Heard(failure=Failure(retry_after=error.retry_after))
        case _:
            return Heard(failure=Failure())


def _retrieved(request: GetRequest, found: Mapping[str, Ticket]) -> Outcome:
    missing = tuple(one for one in request.ticket_ids if one not in found)
    if len(missing) == len(request.ticket_ids):
        return rejected(request, "ticket_not_found", "the helpdesk shows no such ticket", missing)
    tickets = [found[one] for one in dict.fromkeys(request.ticket_ids) if one in found]
    if "raw" not in request.include:
        tickets = [ticket.model_copy(update={"raw": None}) for ticket in tickets]
    only = tickets[0] if len(request.ticket_ids) == 1 else None
    return Outcome(
        identity=identity_of(request),
        kind=OutcomeKind.SUCCEEDED,
        ticket_id=only.ticket_id if only else None,
        ticket_url=only.url if only else None,
        tickets=tuple(tickets),
        missing=missing,
    )


def rejected(request: Request, code: str, message: str, missing: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a request that cannot be carried out as it is."""
    return Outcome(
        identity=identity_of(request), kind=OutcomeKind.REJECTED, code=code, message=message, missing=missing
    )
