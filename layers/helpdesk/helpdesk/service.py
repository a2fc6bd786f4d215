"""Carries requests out: at most one call for each, and an outcome or a reason to come back later."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Protocol

from pydantic import JsonValue

from helpdesk.errors import (
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.ledger import Abandoned, Busy, Claim, Ledger, Reused, Settled, masked
from helpdesk.models import (
    AddRequest,
    Changes,
    GetRequest,
    NewTicket,
    Outcome,
    OutcomeKind,
    Request,
    Ticket,
    TicketLink,
    UpdateRequest,
    identity_of,
)


class Helpdesk(Protocol):
    """What a helpdesk can do for us. Each call ends before its deadline, a moment of `time.monotonic()`."""

    @property
    def name(self) -> str:
        """As requests name it."""

    @property
    def get_limit(self) -> int:
        """How many tickets one get may ask for."""

    def check(self, request: Request) -> None:
        """Raises RejectedError where this helpdesk cannot take the request. Makes no call."""

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Makes a ticket."""

    def update(self, ticket_id: str, changes: Changes, deadline: float) -> TicketLink:
        """Changes a ticket."""

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        """The tickets that exist, in any order."""

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone."""


@dataclass(frozen=True)
class Deferred:
    """Nothing was done, or nothing is known yet: ask again, after `retry_after` seconds where given."""

    code: str
    retry_after: float | None = None
    token_refused: bool = False


type Result = Outcome | Deferred


@dataclass(frozen=True)
class Carried:
    """A request, what became of it, and how long that took."""

    request: Request
    result: Result
    milliseconds: int


class TicketService:
    """Carries out requests against the helpdesks, each at most once by the ledger."""

    def __init__(self, helpdesks: Mapping[str, Helpdesk], ledger: Ledger, threads: int) -> None:
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that the helpdesk cannot take."""
        self._helpdesks[request.helpdesk].check(request)

    def carry_out(self, requests: Sequence[Request], deadline: float) -> list[Carried]:
        """What became of each request, in any order. Calls are made side by side, gets together."""
        began = time.monotonic()
        gets = [request for request in requests if isinstance(request, GetRequest)]
        changes = [request for request in requests if not isinstance(request, GetRequest)]

        def timed(make: Callable[[], Iterable[tuple[Request, Result]]]) -> list[Carried]:
            made = list(make())
            milliseconds = round((time.monotonic() - began) * 1000)
            return [Carried(request, result, milliseconds) for request, result in made]

        work: list[Callable[[], Iterable[tuple[Request, Result]]]] = [
            partial(self._changed, request, deadline) for request in changes
        ]
        if gets:
            work.append(partial(self._get_all, gets, deadline))
        running = [self._pool.submit(timed, one) for one in work]
        return [carried for future in running for carried in future.result()]

    # ── adds and updates: once, by the ledger ────────────────────────────────────────────────────────────

    def _changed(self, request: AddRequest | UpdateRequest, deadline: float) -> list[tuple[Request, Result]]:
        return [(request, self._change(request, deadline))]

    def _change(self, request: AddRequest | UpdateRequest, deadline: float) -> Result:
        try:
            self.check(request)
            answer = self._ledger.claim(request)
        except HelpdeskError as error:
            return _result_of(request, error)
        match answer:
            case Settled(outcome):
                return outcome
            case Reused():
                return _rejected(request, "request_id_reused", "the request_id belongs to another request")
            case Busy(seconds):
                return Deferred("in_flight", retry_after=max(seconds, 1.0))
            case Abandoned(claim):
                return self._record(
                    claim, request, _unknown(request, claim, "crashed", "the function died in mid-call")
                )
            case Claim() as claim:
                return self._record(claim, request, self._call(request, claim, deadline))

    def _call(self, request: AddRequest | UpdateRequest, claim: Claim, deadline: float) -> Result:
        helpdesk = self._helpdesks[request.helpdesk]
        try:
            if isinstance(request, AddRequest):
                link = helpdesk.add(request.ticket, deadline)
            else:
                link = helpdesk.update(self._ticket_id(request), request.changes, deadline)
        except OutcomeUnknownError as error:
            if request.repeatable:
                return Deferred(error.code)
            return _unknown(request, claim, error.code, error.message)
        except HelpdeskError as error:
            return _result_of(request, error, claim.attempts)
        return Outcome(
            identity=identity_of(request),
            kind=OutcomeKind.SUCCEEDED,
            ticket_id=link.ticket_id,
            ticket_url=link.url,
            attempts=claim.attempts,
        )

    def _ticket_id(self, request: UpdateRequest) -> str:
        if request.ticket_id:
            return request.ticket_id
        found = self._ledger.ticket_of(request.helpdesk, request.source, request.reference or "")
        if found is None:
            # Its add may still be on its way; how long to wait is for the caller to say.
            raise UnavailableError("unknown_reference", "no ticket has been added under this reference yet")
        return found

    def _record(self, claim: Claim, request: AddRequest | UpdateRequest, result: Result) -> Result:
        try:
            if isinstance(result, Deferred):
                self._ledger.release(claim)
            else:
                kept = result.model_copy(update={"message": masked(result.message, request)})
                if result.kind is OutcomeKind.UNKNOWN:
                    self._ledger.doubt(claim, kept)
                else:
                    self._ledger.finish(claim, kept)
        except UnavailableError as error:
            # Without the record the request must look as if it were still in flight.
            return Deferred(error.code)
        return result

    # ── gets: together, without the ledger ───────────────────────────────────────────────────────────────

    def get(self, request: GetRequest, deadline: float) -> Outcome:
        """The tickets asked for. Raises HelpdeskError where they cannot be had."""
        found = self._fetch(request.helpdesk, request.ticket_ids, request.extra, deadline)
        return _retrieved(request, found)

    def _get_all(self, gets: Sequence[GetRequest], deadline: float) -> Iterator[tuple[Request, Result]]:
        together: dict[tuple[str, str], list[GetRequest]] = {}
        for request in gets:
            together.setdefault((request.helpdesk, str(sorted(request.extra.items()))), []).append(request)
        for (helpdesk, _), group in together.items():
            ids = list(dict.fromkeys(one for request in group for one in request.ticket_ids))
            try:
                found = self._fetch(helpdesk, ids, group[0].extra, deadline)
            except RejectedError as error:
                # One bad id may have spoilt the others' call.
                alone = len(group) == 1
                for request in group:
                    yield request, _result_of(request, error) if alone else self._get_alone(request, deadline)
            except HelpdeskError as error:
                yield from ((request, _result_of(request, error)) for request in group)
            else:
                yield from ((request, _retrieved(request, found)) for request in group)

    def _get_alone(self, request: GetRequest, deadline: float) -> Result:
        try:
            return self.get(request, deadline)
        except HelpdeskError as error:
            return _result_of(request, error)

    def _fetch(
        self, name: str, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float
    ) -> dict[str, Ticket]:
        helpdesk = self._helpdesks[name]
        found: dict[str, Ticket] = {}
        for start in range(0, len(ticket_ids), helpdesk.get_limit):
            part = ticket_ids[start : start + helpdesk.get_limit]
            found |= {ticket.ticket_id: ticket for ticket in helpdesk.get(part, extra, deadline)}
        return found


def _retrieved(request: GetRequest, found: Mapping[str, Ticket]) -> Outcome:
    missing = tuple(one for one in request.ticket_ids if one not in found)
    if len(missing) == len(request.ticket_ids):
        return _rejected(request, "ticket_not_found", "the helpdesk shows no such ticket", missing)
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


def _result_of(request: Request, error: HelpdeskError, attempts: int = 1) -> Result:
    match error:
        case RejectedError():
            return Outcome(
                identity=identity_of(request),
                kind=OutcomeKind.REJECTED,
                code=error.code,
                message=error.message,
                problems=error.problems,
                attempts=attempts,
            )
        case UnavailableError():
            return Deferred(error.code, error.retry_after)
        case UnauthorizedError():
            return Deferred(error.code, token_refused=True)
        case _:
            # Only a repeatable request comes here: the others' doubt is an outcome.
            return Deferred(error.code)


def _rejected(request: Request, code: str, message: str, missing: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        identity=identity_of(request), kind=OutcomeKind.REJECTED, code=code, message=message, missing=missing
    )


def _unknown(request: Request, claim: Claim, code: str, message: str) -> Outcome:
    return Outcome(
        identity=identity_of(request),
        kind=OutcomeKind.UNKNOWN,
        code=code,
        message=message,
        attempts=claim.attempts,
    )
