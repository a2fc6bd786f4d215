"""Carries requests out: at most one call for each, and an outcome or a reason to come back later."""

import time
import traceback
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore

from helpdesk.desks import ANSWERED, NOTHING, Desks, Heard, heard_in, rejected
from helpdesk.errors import (
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.gate import Pass
from helpdesk.ledger import MAX_ATTEMPTS, Abandoned, Busy, Claim, Ledger, Reused, Settled, masked
from helpdesk.marker import Markers
from helpdesk.models import (
    AddRequest,
    GetRequest,
    Outcome,
    OutcomeKind,
    Request,
    Ticket,
    TicketLink,
    UpdateRequest,
    identity_of,
)


@dataclass(frozen=True)
class Deferred:
    """Nothing was done, or nothing is known yet: ask again, after `retry_after` seconds where given."""

    code: str
    retry_after: float | None = None
    token_refused: bool = False
    # Nothing was tried: the gate is closed, or the budget is used up.
    held: bool = False
    # Of a fault of our own: the kind of the exception and where it was raised, without its text.
    fault: str | None = None


type Result = Outcome | Deferred


@dataclass(frozen=True)
class Carried:
    """A request, what became of it, and how long that took."""

    request: Request
    result: Result
    milliseconds: int


@dataclass(frozen=True)
class _Work:
    """What one call, or none, can carry out: an add, an update, or gets that go together."""

    requests: tuple[Request, ...]
    calls: int = 1


@dataclass(frozen=True)
class _Done:
    """What became of one piece of work."""

    carried: tuple[Carried, ...]
    heard: Heard


class TicketService:
    """Carries out requests against the helpdesks, each at most once by the ledger."""

    def __init__(
        self,
        desks: Desks,
        ledger: Ledger,
        markers: Markers,
        *,
        doubt_s: float,
        threads: int,
    ) -> None:
        self._markers = markers
        self._doubt_s = doubt_s
        self._desks = desks
        self._ledger = ledger
        # Twice as many threads as calls: meanwhile the next requests are claimed, and the last remembered.
        self._pool = ThreadPoolExecutor(2 * threads, thread_name_prefix="call")
        self._calls = BoundedSemaphore(threads)

    def carry_out(
        self, requests: Sequence[Request], deadline: float, received_before: Collection[str] = ()
    ) -> list[Carried]:
        """What became of each request, in any order. Calls are made side by side, gets together.

        Of the requests with an id in `received_before`, those whose call has died before come last and one
        by one: one that kills its function must not take others with it, time and again.
        """
        carried: list[Carried] = []
        fit: list[Request] = []
        for request in requests:
            try:
                self._desks.check(request)
                fit.append(request)
            except RejectedError as error:
                carried.append(Carried(request, _result_of(request, error), 0))
        waiting = self._work_of(fit)
        # While the gates are read. What goes wrong shows in the calls, where any are made.
        for helpdesk in waiting:
            self._pool.submit(self._desks.prepare, helpdesk)
        while waiting:
            admitted: list[_Work] = []
            passes: dict[str, Pass] = {}
            for helpdesk, work in waiting.items():
                passes[helpdesk], now, later = self._admitted(helpdesk, work)
                admitted += now
                waiting[helpdesk] = later
            suspects = self._suspects(
                [one for one in admitted if one.requests[0].request_id in received_before]
            )
            beside = [one for one in admitted if one not in suspects]
            done = list(self._pool.map(lambda work: self._do(work, deadline), beside))
            done += [self._do(one, deadline) for one in suspects]
            carried += [one for piece in done for one in piece.carried]
            for helpdesk in list(waiting):
                mine = [piece for piece in done if piece.carried[0].request.helpdesk == helpdesk]
                opened = self._desks.tell(helpdesk, passes[helpdesk], [piece.heard for piece in mine])
                # A probe that was answered lets the others of its batch follow at once.
                if not (opened and waiting[helpdesk]):
                    carried += _held(waiting.pop(helpdesk), passes[helpdesk])
        return carried

    def note_told(self, outcome: Outcome) -> None:
        """Remembers that a doubt has been published; where that fails it is published again."""
        with suppress(UnavailableError):
            self._ledger.note_told(outcome)

    def end(self, request: Request, outcome: Outcome) -> Result:
        """Ends a request without a call, or answers as it has ended already."""
        if isinstance(request, GetRequest):
            return outcome
        try:
            answer = self._ledger.claim(request)
        except UnavailableError as error:
            return Deferred(error.code)
        if isinstance(answer, Claim):
            return self._record(answer, request, outcome)
        return self._without_call(request, answer)

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    def _work_of(self, requests: Sequence[Request]) -> dict[str, list[_Work]]:
        work: dict[str, list[_Work]] = {}
        together: dict[tuple[str, str], list[GetRequest]] = {}
        for request in requests:
            if isinstance(request, GetRequest):
                key = (request.helpdesk, str(sorted(request.extra.items())))
                together.setdefault(key, []).append(request)
            else:
                work.setdefault(request.helpdesk, []).append(_Work((request,)))
        for (helpdesk, _), gets in together.items():
            ids = {one for request in gets for one in request.ticket_ids}
            work.setdefault(helpdesk, []).append(
                _Work(tuple(gets), self._desks.calls_for(helpdesk, len(ids)))
            )
        return work

    def _admitted(self, helpdesk: str, work: Sequence[_Work]) -> tuple[Pass, list[_Work], list[_Work]]:
        """What may be done now, and what must wait."""
        try:
            wanted = sum(one.calls for one in work)
            admitted = self._desks.admit(helpdesk, wanted)
        except UnavailableError as error:
            # Without the ledger nothing can be claimed either.
            return Pass(0, code=error.code), [], list(work)
        left = admitted.calls
        now: list[_Work] = []
        for one in work:
            if left < one.calls and not (one.calls > 1 and left and not now):
                break
            now.append(one)
            left -= one.calls
        return admitted, now, list(work[len(now) :])

    def _suspects(self, work: Sequence[_Work]) -> list[_Work]:
        """Those whose call was begun before and has not ended, the most often begun last."""
        changes = [one for one in work if not isinstance(one.requests[0], GetRequest)]
        begun = list(self._pool.map(lambda one: self._times_begun(one.requests[0]), changes))
        suspects = [(times, one) for times, one in zip(begun, changes, strict=True) if times]
        return [one for _, one in sorted(suspects, key=lambda pair: pair[0])]

    def _times_begun(self, request: Request) -> int:
        try:
            receipt = self._ledger.receipt(request.helpdesk, request.request_id)
        except UnavailableError:
            return 0
        return receipt.attempts if receipt and not receipt.ended else 0

    # ── one piece of work ────────────────────────────────────────────────────────────────────────────────

    def _do(self, work: _Work, deadline: float) -> _Done:
        began = time.monotonic()
        try:
            results, heard = self._results_of(work, deadline)
        except Exception as error:  # noqa: BLE001  # the outer edge of one record: the others must not suffer
            waits = Deferred("internal_error", fault=_raised_at(error))
            results, heard = [waits for _ in work.requests], NOTHING
        milliseconds = round((time.monotonic() - began) * 1000)
        pairs = zip(work.requests, results, strict=True)
        return _Done(tuple(Carried(request, result, milliseconds) for request, result in pairs), heard)

    def _results_of(self, work: _Work, deadline: float) -> tuple[list[Result], Heard]:
        first = work.requests[0]
        if isinstance(first, GetRequest):
            gets = [request for request in work.requests if isinstance(request, GetRequest)]
            with self._calls:
                return self._get_all(gets, deadline)
        result, heard = self._change(first, deadline)
        return [result], heard

    def _change(self, request: AddRequest | UpdateRequest, deadline: float) -> tuple[Result, Heard]:
        try:
            answer = self._ledger.claim(request)
        except UnavailableError as error:
            return Deferred(error.code), NOTHING
        if isinstance(answer, Claim):
            with self._calls:
                result, heard = self._call(request, answer, deadline)
            return self._record(answer, request, result), heard
        return self._without_call(request, answer), NOTHING

    def _without_call(
        self, request: AddRequest | UpdateRequest, answer: Busy | Abandoned | Settled | Reused
    ) -> Result:
        match answer:
            case Settled(outcome, told) if outcome.kind is OutcomeKind.UNKNOWN and told:
                return Deferred("in_doubt", self._doubt_s)
            case Settled(outcome):
                return outcome
            case Reused():
                return rejected(request, "request_id_reused", "the request_id belongs to another request")
            case Busy(seconds):
                return Deferred("in_flight", max(seconds, 1.0))
            case Abandoned(claim) if claim.attempts >= MAX_ATTEMPTS:
                message = "the function died in mid-call too often"
                return self._record(
                    claim, request, _outcome(request, claim, OutcomeKind.PARKED, "crashed", message)
                )
            case Abandoned(claim):
                message = "the function died in mid-call"
                return self._record(
                    claim, request, _outcome(request, claim, OutcomeKind.UNKNOWN, "crashed", message)
                )

    def _call(
        self, request: AddRequest | UpdateRequest, claim: Claim, deadline: float
    ) -> tuple[Result, Heard]:
        try:
            link = self._made(request, claim, deadline)
        except HelpdeskError as error:
            if isinstance(error, OutcomeUnknownError) and not request.repeatable:
                result: Result = _outcome(request, claim, OutcomeKind.UNKNOWN, error.code, error.message)
            else:
                result = _result_of(request, error, claim.attempts)
            return result, heard_in(error)
        outcome = _outcome(request, claim, OutcomeKind.SUCCEEDED)
        return outcome.model_copy(update={"ticket_id": link.ticket_id, "ticket_url": link.url}), ANSWERED

    def _made(self, request: AddRequest | UpdateRequest, claim: Claim, deadline: float) -> TicketLink:
        helpdesk = self._desks[request.helpdesk]
        marker = self._markers.of(request.helpdesk, request.request_id)
        if isinstance(request, AddRequest):
            return helpdesk.add(helpdesk.marked(request.ticket, marker), deadline)
        ticket_id = self._ticket_id(request)
        if request.occurred_at and not self._ledger.advance(request.helpdesk, ticket_id, request.occurred_at):
            raise RejectedError("out_of_date", "a newer update of this ticket has been asked for")
        steps = _LedgerSteps(self._ledger, claim, marker)
        return helpdesk.update(ticket_id, request.changes, deadline, steps)

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
                self._ledger.release(claim, result.code)
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

    def _get_all(self, gets: Sequence[GetRequest], deadline: float) -> tuple[list[Result], Heard]:
        ids = list(dict.fromkeys(one for request in gets for one in request.ticket_ids))
        try:
            found = self._desks.fetch(gets[0].helpdesk, ids, gets[0].extra, deadline)
        except HelpdeskError as error:
            if isinstance(error, RejectedError) and len(gets) > 1:
                # One bad id may have spoilt the others' call.
                alone = [self._get_all([request], deadline) for request in gets]
                return [result for results, _ in alone for result in results], ANSWERED
            return [_result_of(request, error) for request in gets], heard_in(error)
        return [self._answer(request, found) for request in gets], ANSWERED

    def _answer(self, request: GetRequest, found: Mapping[str, Ticket]) -> Result:
        try:
            return self._desks.retrieved(request, found)
        except UnavailableError as error:
            return Deferred(error.code)


class _LedgerSteps:
    """The steps of one request, remembered in its item."""

    def __init__(self, ledger: Ledger, claim: Claim, marker: str) -> None:
        self._ledger = ledger
        self._claim = claim
        self.marker = marker

    def is_done(self, step: str) -> bool:
        return step in self._claim.steps

    def mark_begun(self, step: str) -> None:
        self._ledger.mark(self._claim, f"{step}?")

    def mark_done(self, step: str) -> None:
        self._ledger.mark(self._claim, step)


def _raised_at(error: Exception) -> str:
    # The exception's own text may quote a customer's.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _held(work: Sequence[_Work], admitted: Pass) -> list[Carried]:
    waits = Deferred(admitted.code, admitted.retry_after, held=True)
    return [Carried(request, waits, 0) for one in work for request in one.requests]


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


def _outcome(
    request: Request, claim: Claim, kind: OutcomeKind, code: str | None = None, message: str | None = None
) -> Outcome:
    return Outcome(
        identity=identity_of(request), kind=kind, code=code, message=message, attempts=claim.attempts
    )
