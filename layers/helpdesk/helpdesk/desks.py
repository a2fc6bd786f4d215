"""The helpdesks that are served here: what each can take, and what it shows, asked through its gate."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Protocol
from zoneinfo import ZoneInfo

from pydantic import JsonValue, ValidationError

from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.gate import Failure, Gate, Pass
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
from helpdesk.steps import Steps
from helpdesk.watchlist import Watchlist

# Calls of one look that bad ids among good ones are worth.
_MOST_LOOKS = 20
# Reasons of our own: they say nothing of the helpdesk.
_OUR_CODES = {
    "ledger_unavailable",
    "ledger_moved_on",
    "out_of_date",
    "secret_unreadable",
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
    """Every helpdesk with its gate."""

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

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that the helpdesk cannot take."""
        if request.helpdesk not in self._helpdesks:
            problem = FieldProblem("helpdesk", f"must be {' or '.join(self._helpdesks)}")
            raise RejectedError("invalid_request", "this helpdesk is not served here", (problem,))
        if isinstance(request, GetRequest) and "watch" in request.include and not self._watchlist:
            problem = FieldProblem("include", "nothing is watched here: WatchMinutes is 0")
            raise RejectedError("invalid_request", "the watch is switched off", (problem,))
        self._helpdesks[request.helpdesk].check(request)

    def gate(self, helpdesk: str) -> Gate:
        """The gate of a helpdesk, to be looked at."""
        return self._gates[helpdesk]

    def get(self, request: GetRequest, deadline: float) -> Outcome:
        """The tickets asked for. Raises HelpdeskError where they cannot be had."""
        calls = self.calls_for(request.helpdesk, len(request.ticket_ids))
        fetch = partial(self.fetch, request.helpdesk, request.ticket_ids, request.extra, deadline)
        return self.retrieved(request, self._through_gate(request.helpdesk, calls, fetch))

    def comments(self, helpdesk: str, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket; None where the helpdesk does not give them. Raises HelpdeskError."""
        return self._through_gate(
            helpdesk, 1, partial(self._helpdesks[helpdesk].comments, ticket_id, deadline)
        )

    def pull(self, helpdesk: str, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone. Raises HelpdeskError."""
        return self._through_gate(helpdesk, 1, partial(self._helpdesks[helpdesk].pull, day, deadline))

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
                found += self._look_once(helpdesk, part, deadline)
            except RejectedError:
                half = len(part) // 2
                parts += [part[half:], part[:half]] if half else []
                refused += not half
        return found

    def _look_once(self, helpdesk: str, ticket_ids: Sequence[str], deadline: float) -> list[Ticket]:
        admitted = self._gates[helpdesk].admit_spare(self._fresh_version(helpdesk))
        if not admitted.calls:
            raise UnavailableError(admitted.code, "no call is left over", admitted.retry_after)
        fetch = partial(self.fetch, helpdesk, ticket_ids, {}, deadline)
        return list(self._heard(helpdesk, admitted, fetch, is_spare=True).values())

    def _through_gate[T](self, helpdesk: str, calls: int, call: Callable[[], T]) -> T:
        admitted = self.admit(helpdesk, calls)
        if not admitted.calls:
            raise UnavailableError(admitted.code, "the helpdesk cannot be asked now", admitted.retry_after)
        return self._heard(helpdesk, admitted, call)

    def _heard[T](self, helpdesk: str, admitted: Pass, call: Callable[[], T], *, is_spare: bool = False) -> T:
        """What the call answers, and the gate knows how it went.

        A spare call that fails says nothing of requests, unless it was a probe or was told to stay away.
        """
        heard = ANSWERED
        try:
            return call()
        except HelpdeskError as error:
            heard = heard_in(error)
            failure = heard.failure
            if is_spare and admitted.probe_s is None and failure and failure == Failure():
                heard = NOTHING
            raise
        except ValidationError as error:
            raise OutcomeUnknownError(
                "unexpected_answer", "the answer holds what no ticket can be"
            ) from error
        finally:
            self.tell(helpdesk, admitted, [heard])

    # ── for a batch ──────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, helpdesk: str) -> None:
        """Reads a secret that this process has not read yet, so that the first call need not wait for it."""
        if self._helpdesks[helpdesk].token_version(fresh=False) is None:
            self._helpdesks[helpdesk].token_version(fresh=True)

    def admit(self, helpdesk: str, calls: int) -> Pass:
        """The right to make up to so many calls now. Raises UnavailableError as the gate does."""
        return self._gates[helpdesk].admit(calls, self._fresh_version(helpdesk))

    def _fresh_version(self, helpdesk: str) -> Callable[[], str | None]:
        return partial(self._helpdesks[helpdesk].token_version, fresh=True)

    def calls_for(self, helpdesk: str, ids: int) -> int:
        """The calls that it takes to get so many tickets."""
        return math.ceil(ids / self._helpdesks[helpdesk].get_limit)

    def tell(self, helpdesk: str, admitted: Pass, heard: Sequence[Heard]) -> bool:
        """Lets the gate know how it went. Whether a probe has opened it."""
        if not admitted.calls:
            return False
        failures = [one.failure for one in heard if one.failure]
        answered = any(one.answered for one in heard)
        try:
            version = self._helpdesks[helpdesk].token_version(fresh=False)
            self._gates[helpdesk].report(admitted, failures, answered, version)
        except HelpdeskError:
            # The gate is there to spare the helpdesk; what was done stays done without it.
            return False
        return admitted.probe_s is not None and answered and not failures

    def retrieved(self, request: GetRequest, found: Mapping[str, Ticket]) -> Outcome:
        """The outcome of a get. Raises UnavailableError where its tickets cannot be put on the watchlist."""
        if self._watchlist and "watch" in request.include:
            self._watchlist.add(request.helpdesk, [one for one in request.ticket_ids if one in found])
        return _retrieved(request, found)

    def fetch(
        self, name: str, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float
    ) -> dict[str, Ticket]:
        """Those of the tickets that exist, by calls that have been admitted. Raises HelpdeskError."""
        helpdesk = self._helpdesks[name]
        found: dict[str, Ticket] = {}
        for start in range(0, len(ticket_ids), helpdesk.get_limit):
            part = ticket_ids[start : start + helpdesk.get_limit]
            found |= {ticket.ticket_id: ticket for ticket in helpdesk.get(part, extra, deadline)}
        return found


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
