"""Carries requests out: at most one call for each, and an outcome or a reason to come back later."""

import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event

from helpdesk.clients.markers import Markers
from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
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
from helpdesk.store.gate import OUTAGE, OVER_BUDGET, Permit
from helpdesk.store.ledger import (
    Abandoned,
    Busy,
    Claim,
    Elsewhere,
    Ledger,
    Reused,
    Settled,
    fingerprint,
    redact_request_words,
)
from helpdesk.work.helpdesks import HEALTHY, NO_SIGNAL, Helpdesks, Signal, fetch, rejected, signal_of

# By how much a sender's clock may be ahead of ours.
_MOST_AHEAD_S = 300
# An update waits so long for the add that its reference names, and asks for it so often.
_REFERENCE_WAIT_S = 3600
_REFERENCE_EACH_S = 60.0


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
    # The helpdesk to which the request belongs, where it was sent to another one.
    elsewhere: str | None = None


type Result = Outcome | Deferred


@dataclass(frozen=True)
class Executed:
    """A request, what became of it, and how long that took.

    `asked` is the request as it came, where it is carried out at another helpdesk: that of its first claim.
    """

    request: Request
    result: Result
    milliseconds: int
    asked: Request | None = None


# Compared by identity: two copies of one request are two pieces of work.
@dataclass(frozen=True, eq=False)
class _CallGroup:
    """One change, gets that one call can answer, or the updates of one ticket in their order."""

    requests: tuple[Request, ...]
    calls: int = 1

    @property
    def is_get(self) -> bool:
        return isinstance(self.requests[0], GetRequest)


@dataclass(frozen=True)
class _Turn:
    """What holds for all the calls of one permit; `failed` is set while the last answer is a failure."""

    permit: Permit
    deadline: float
    failed: Event


class TicketService:
    """Carries out requests against the helpdesks, each at most once by the ledger."""

    def __init__(
        self,
        helpdesks: Helpdesks,
        ledger: Ledger,
        markers: Markers,
        *,
        doubt_s: float,
        threads: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._markers = markers
        self._doubt_s = doubt_s
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._clock = clock
        # A thread claims a request, calls and remembers: nothing is claimed whose call would have to wait.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")

    def execute(
        self, requests: Sequence[Request], deadline: float, received_before: Collection[str] = ()
    ) -> list[Executed]:
        """What became of each request, in any order. Calls are made side by side, gets together.

        Updates of one ticket that say when they happened are made one after the other, the oldest first. Of
        the requests with an id in `received_before`, those whose call has died before come last and one by
        one: one that kills its function must not take others with it, time and again.
        """
        carried = self._execute(requests, deadline, received_before)
        asked: dict[int, Request] = {}
        moved: list[Request] = []
        for one in carried:
            if isinstance(one.result, Deferred) and one.result.elsewhere:
                moved.append(_at(one.result.elsewhere, one.request))
                asked[id(moved[-1])] = one.request
        if moved:
            carried = [
                one for one in carried if not (isinstance(one.result, Deferred) and one.result.elsewhere)
            ]
            again = self._execute(moved, deadline, received_before)
            carried += [replace(one, asked=asked[id(one.request)]) for one in again]
        return carried

    def _execute(
        self, requests: Sequence[Request], deadline: float, received_before: Collection[str]
    ) -> list[Executed]:
        carried: list[Executed] = []
        fit: dict[str, list[Request]] = {}
        for request in requests:
            refused = self._refusal_of(request)
            if refused:
                carried.append(Executed(request, refused, 0))
            else:
                fit.setdefault(request.helpdesk, []).append(request)
        # While the gates are read. What goes wrong shows in the calls, where any are made.
        ready = self._pool.submit(self._ledger.prepare)
        self._pool.submit(self._markers.prepare)
        for helpdesk in fit:
            self._pool.submit(self._helpdesks.prepare, helpdesk)
        serve = partial(self._serve, ready, deadline, received_before)
        if len(fit) < 2:
            served = [serve(some) for some in fit.values()]
        else:
            with ThreadPoolExecutor(len(fit)) as each:
                served = list(each.map(serve, fit.values()))
        return [*carried, *(one for some in served for one in some)]

    def _refusal_of(self, request: Request) -> Result | None:
        """Why a request is not taken up; None where it is.

        One that was taken up before stays so, at the helpdesk of that time: defaults and settings change.
        """
        try:
            self._helpdesks.check(request)
            self._check_moment(request)
        except RejectedError as error:
            rejection = _result_of(request, error)
            if isinstance(request, GetRequest):
                return rejection
            try:
                receipt = self._ledger.receipt(request.request_id)
            except UnavailableError as unavailable:
                return Deferred(unavailable.code)
            # The claim then says how it stands, and at which helpdesk.
            return None if receipt and receipt.fingerprint == fingerprint(request) else rejection
        return None

    def _check_moment(self, request: Request) -> None:
        """An update of the far future would keep all others of its ticket out."""
        moment = request.occurred_at if isinstance(request, UpdateRequest) else None
        if moment and moment.timestamp() > self._clock() + _MOST_AHEAD_S:
            problem = FieldProblem("occurred_at", "must not lie in the future")
            raise RejectedError("invalid_request", "this update has not happened yet", (problem,))

    def _serve(
        self,
        ready: Future[None],
        deadline: float,
        received_before: Collection[str],
        requests: Sequence[Request],
    ) -> list[Executed]:
        """What became of the requests for one helpdesk. Nothing is claimed before the ledger is `ready`."""
        helpdesk = requests[0].helpdesk
        carried: list[Executed] = []
        waiting = self._work_of(helpdesk, requests)
        while waiting:
            permit, now, waiting = self._acquired(helpdesk, waiting, deadline)
            turn = _Turn(permit, deadline, Event())
            if now:
                ready.result()
            suspects = self._suspects([one for one in now if _ids_in(one) & set(received_before)])
            beside = [one for one in now if one not in suspects]
            done = list(self._pool.map(partial(self._do, turn), beside))
            done += [self._do(turn, one) for one in suspects]
            carried += [one for pieces, _ in done for one in pieces]
            # A trial that was answered, or needed no call, lets the next of its batch follow at once.
            if not self._helpdesks.report(helpdesk, permit, [signal for _, signal in done]):
                break
        return carried + _held(waiting, permit) if waiting else carried

    def mark_published(self, outcome: Outcome) -> None:
        """Remembers that a doubt has been published; where that fails it is published again."""
        with suppress(UnavailableError):
            self._ledger.mark_published(outcome)

    def close(self, request: Request, outcome: Outcome, *, at_once: bool = False) -> Result:
        """Ends a request without a call, or answers as it has ended already.

        One that is in doubt goes on waiting for its look-up, unless it has to end `at_once`.
        """
        if isinstance(request, GetRequest):
            return outcome
        try:
            answer = self._ledger.claim(request)
            if at_once and isinstance(answer, Settled) and answer.outcome.kind is OutcomeKind.UNKNOWN:
                receipt = self._ledger.receipt(request.request_id)
                message = "it may have happened, and could not be looked up in time"
                identity = receipt.identity if receipt else outcome.identity
                said = {"identity": identity, "code": "outcome_unknown", "message": message}
                doubt = outcome.model_copy(update=said)
                return self._record(receipt.claim, request, doubt) if receipt else doubt
        except UnavailableError as error:
            return Deferred(error.code)
        if isinstance(answer, Claim):
            return self._record(answer, request, outcome)
        if isinstance(answer, Elsewhere):
            there = _at(answer.helpdesk, request)
            outcome = outcome.model_copy(update={"identity": identity_of(there)})
            return self.close(there, outcome, at_once=at_once)
        return self._without_call(request, answer)

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    def _work_of(self, helpdesk: str, requests: Sequence[Request]) -> list[_CallGroup]:
        """The pieces of work, those first with which a trial does the least harm."""
        changes: list[_CallGroup] = []
        gets: dict[str, list[GetRequest]] = {}
        updates: dict[tuple[str | None, ...], list[UpdateRequest]] = {}
        for request in requests:
            if isinstance(request, GetRequest):
                gets.setdefault(str(sorted(request.extra.items())), []).append(request)
            elif isinstance(request, UpdateRequest) and request.occurred_at:
                ticket = (request.ticket_id,) if request.ticket_id else (request.source, request.reference)
                updates.setdefault(ticket, []).append(request)
            else:
                changes.append(_CallGroup((request,)))
        for some in updates.values():
            some.sort(key=lambda request: request.occurred_at.timestamp() if request.occurred_at else 0.0)
            changes.append(_CallGroup(tuple(some), len(some)))
        changes.sort(key=lambda work: not work.requests[0].repeatable)
        return changes + [self._gets(helpdesk, some) for some in gets.values()]

    def _gets(self, helpdesk: str, gets: Sequence[GetRequest]) -> _CallGroup:
        ids = {one for request in gets for one in request.ticket_ids}
        return _CallGroup(tuple(gets), self._helpdesks.calls_for(helpdesk, len(ids)))

    def _acquired(
        self, helpdesk: str, work: Sequence[_CallGroup], deadline: float
    ) -> tuple[Permit, list[_CallGroup], list[_CallGroup]]:
        """What may be done now, and what must wait."""
        try:
            wanted = sum(one.calls for one in work)
            harmless = all(one.is_get for one in work)
            permit = self._helpdesks.acquire(helpdesk, wanted, deadline, harmless=harmless)
        except UnavailableError as error:
            # Without the ledger nothing can be claimed either.
            return Permit(0, code=error.code), [], list(work)
        left = permit.calls
        now: list[_CallGroup] = []
        later = list(work)
        while later and left:
            first = later[0]
            if first.calls > left and len(first.requests) > 1:
                # Together they do not fit, but one of them may.
                later[:1] = (
                    [self._gets(helpdesk, [one]) for one in first.requests if isinstance(one, GetRequest)]
                    if first.is_get
                    else [_CallGroup(first.requests[:1]), _CallGroup(first.requests[1:], first.calls - 1)]
                )
                continue
            if first.calls > left:
                break
            now.append(later.pop(0))
            left -= first.calls
        return permit, now, later

    def _suspects(self, work: Sequence[_CallGroup]) -> list[_CallGroup]:
        """Those whose call was begun before and has not ended, the most often begun last."""
        changes = [one for one in work if not one.is_get]
        begun = list(self._pool.map(self._times_begun, changes))
        suspects = [(times, one) for times, one in zip(begun, changes, strict=True) if times]
        return [one for _, one in sorted(suspects, key=lambda pair: pair[0])]

    def _times_begun(self, work: _CallGroup) -> int:
        try:
            receipts = [self._ledger.receipt(one.request_id) for one in work.requests]
        except UnavailableError:
            return 0
        return max([0, *(one.attempts for one in receipts if one and not one.ended)])

    # ── one piece of work ────────────────────────────────────────────────────────────────────────────────

    def _do(self, turn: _Turn, work: _CallGroup) -> tuple[list[Executed], Signal]:
        """What became of the work's requests, and what the last call says of the helpdesk."""
        if work.is_get:
            gets = [request for request in work.requests if isinstance(request, GetRequest)]
            return self._timed(gets, partial(self._get_all, gets, turn))
        carried: list[Executed] = []
        signal = NO_SIGNAL
        changes = [request for request in work.requests if not isinstance(request, GetRequest)]
        for place, request in enumerate(changes):
            if turn.failed.is_set():
                # The others' calls show an outage: this one is not sent into it.
                waits = Deferred(f"gate_closed_{OUTAGE}", held=True)
            elif carried and not _is_over(carried[-1].result):
                waits = Deferred("ticket_busy")
            else:
                done, signal = self._timed([request], partial(self._change, request, turn))
                carried += done
                _note(signal, turn)
                continue
            carried += [Executed(one, waits, 0) for one in changes[place:]]
            break
        return carried, signal

    def _timed(
        self, requests: Sequence[Request], call: Callable[[], tuple[list[Result], Signal]]
    ) -> tuple[list[Executed], Signal]:
        began = time.monotonic()
        try:
            results, signal = call()
        except Exception as error:  # noqa: BLE001  # the outer edge of one record: the others must not suffer
            waits = Deferred("internal_error", fault=_raised_at(error))
            results, signal = [waits for _ in requests], NO_SIGNAL
        milliseconds = round((time.monotonic() - began) * 1000)
        pairs = zip(requests, results, strict=True)
        return [Executed(request, result, milliseconds) for request, result in pairs], signal

    def _change(self, request: AddRequest | UpdateRequest, turn: _Turn) -> tuple[list[Result], Signal]:
        field = self._helpdesks[request.helpdesk].marker_field if isinstance(request, AddRequest) else None
        try:
            # Before the claim: without its marker no call is made.
            marker = self._markers.of(request.helpdesk, request.request_id)
            target = self._target(request) if isinstance(request, UpdateRequest) else None
            answer = self._ledger.claim(request, marker, field, target)
        except UnavailableError as error:
            return [Deferred(error.code)], NO_SIGNAL
        if not isinstance(answer, Claim):
            return [self._without_call(request, answer)], NO_SIGNAL
        result, signal = self._call(request, answer, turn)
        return [self._record(answer, request, result)], signal

    def _without_call(
        self, request: AddRequest | UpdateRequest, answer: Busy | Abandoned | Settled | Reused | Elsewhere
    ) -> Result:
        match answer:
            case Settled(outcome, published) if outcome.kind is OutcomeKind.UNKNOWN and published:
                return Deferred("in_doubt", self._doubt_s)
            case Settled(outcome):
                return outcome
            case Reused():
                return rejected(request, "request_id_reused", "the request_id belongs to another request")
            case Elsewhere(helpdesk):
                return Deferred("belongs_elsewhere", elsewhere=helpdesk)
            case Busy(seconds):
                return Deferred("in_flight", max(seconds, 1.0))
            case Abandoned(claim) if request.repeatable:
                # It has died as often as is allowed, and there is nothing to look up.
                message = "the function died in mid-call too often"
                return self._record(
                    claim, request, _outcome(request, claim, OutcomeKind.PARKED, "crashed", message)
                )
            case Abandoned(claim):
                message = "the function died in mid-call"
                return self._record(
                    claim, request, _outcome(request, claim, OutcomeKind.UNKNOWN, "crashed", message)
                )

    def _call(self, request: AddRequest | UpdateRequest, claim: Claim, turn: _Turn) -> tuple[Result, Signal]:
        try:
            link = self._made(request, claim, turn)
        except HelpdeskError as error:
            if isinstance(error, OutcomeUnknownError) and not request.repeatable:
                result: Result = _outcome(request, claim, OutcomeKind.UNKNOWN, error.code, error.message)
            else:
                result = _result_of(request, error, claim.attempts)
            return result, signal_of(error)
        outcome = _outcome(request, claim, OutcomeKind.SUCCEEDED)
        return outcome.model_copy(update={"ticket_id": link.ticket_id, "ticket_url": link.url}), HEALTHY

    def _made(self, request: AddRequest | UpdateRequest, claim: Claim, turn: _Turn) -> TicketLink:
        helpdesk = self._helpdesks.client(request.helpdesk, turn.permit)
        if isinstance(request, AddRequest):
            return helpdesk.add(helpdesk.marked(request.ticket, claim.marker), turn.deadline)
        ticket_id = self._ticket_id(request, claim, turn)
        steps = _LedgerProgress(self._ledger, claim)
        if not request.occurred_at:
            return helpdesk.update(ticket_id, request.changes, turn.deadline, steps)
        ticket = (claim, request.helpdesk, ticket_id, request.occurred_at)
        # Whether it was made; None where nobody knows.
        made: bool | None = None
        doubted = self._ledger.begin_update(*ticket)
        try:
            link = helpdesk.update(ticket_id, request.changes, turn.deadline, steps)
            made = True
        except RejectedError:
            # What is refused now was refused before, where that was in doubt.
            made = steps.begun
            raise
        except UnavailableError as error:
            # What was in doubt stays so. Of several steps some may have been taken.
            in_doubt = doubted or steps.begun or isinstance(error.__cause__, OutcomeUnknownError)
            made = None if in_doubt else False
            raise
        except UnauthorizedError:
            made = None if doubted or steps.begun else False
            raise
        finally:
            # Where this cannot be remembered, it stays in doubt.
            with suppress(UnavailableError):
                self._ledger.end_update(*ticket, made=made)
        return link

    def _target(self, request: UpdateRequest) -> str | None:
        return request.ticket_id or self._ledger.ticket_of(
            request.helpdesk, request.source, request.reference or ""
        )

    def _ticket_id(self, request: UpdateRequest, claim: Claim, turn: _Turn) -> str:
        if claim.target:
            return claim.target
        reference = (request.helpdesk, request.source, request.reference or "")
        # Its add may still be on its way. While requests are held back, it may be held back as well.
        since = max(claim.unresolved_since or self._clock(), turn.permit.calm_since)
        if self._clock() - since > _REFERENCE_WAIT_S and not self._ledger.is_ticket_expected(*reference):
            raise RejectedError("unknown_reference", "no ticket has been added under this reference")
        message = "no ticket has been added under this reference yet"
        raise UnavailableError("unknown_reference", message, _REFERENCE_EACH_S)

    def _record(self, claim: Claim, request: AddRequest | UpdateRequest, result: Result) -> Result:
        try:
            if isinstance(request, AddRequest) and request.reference and not _is_over(result):
                self._ledger.expect_ticket(claim, request)
            if isinstance(result, Deferred):
                self._ledger.release(claim, result.code, unresolved=result.code == "unknown_reference")
            else:
                kept = result.model_copy(update={"message": redact_request_words(result.message, request)})
                if result.kind is OutcomeKind.UNKNOWN:
                    self._ledger.doubt(claim, kept)
                else:
                    self._ledger.finish(claim, kept)
        except UnavailableError as error:
            # Without the record the request must look as if it were still in flight.
            return Deferred(error.code)
        return result

    def _get_all(self, gets: Sequence[GetRequest], turn: _Turn) -> tuple[list[Result], Signal]:
        ids = list(dict.fromkeys(one for request in gets for one in request.ticket_ids))
        try:
            client = self._helpdesks.client(gets[0].helpdesk, turn.permit)
            found = fetch(client, ids, gets[0].extra, turn.deadline)
        except HelpdeskError as error:
            if isinstance(error, RejectedError) and len(gets) > 1:
                # One bad id may have spoilt the others' call.
                alone = [self._get_all([request], turn) for request in gets]
                return [result for results, _ in alone for result in results], HEALTHY
            return [_result_of(request, error) for request in gets], signal_of(error)
        return [self._answer(request, found) for request in gets], HEALTHY

    def _answer(self, request: GetRequest, found: Mapping[str, Ticket]) -> Result:
        try:
            return self._helpdesks.retrieved(request, found)
        except UnavailableError as error:
            return Deferred(error.code)


class _LedgerProgress:
    """The steps of one request, remembered in its item."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim
        self.marker = claim.marker
        # Whether any step has been taken, now or before.
        self.begun = bool(claim.steps)

    def is_done(self, step: str) -> bool:
        return step in self._claim.steps

    def mark_begun(self, step: str) -> None:
        self._ledger.mark(self._claim, f"{step}?")
        self.begun = True

    def mark_done(self, step: str) -> None:
        self.begun = True
        self._ledger.mark(self._claim, step)


def _at(helpdesk: str, request: Request) -> Request:
    return request.model_copy(update={"helpdesk": helpdesk})


def _raised_at(error: Exception) -> str:
    # The exception's own text may quote a customer's.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _ids_in(work: _CallGroup) -> set[str]:
    return {request.request_id for request in work.requests}


def _is_over(result: Result) -> bool:
    return isinstance(result, Outcome) and result.kind is not OutcomeKind.UNKNOWN


def _note(signal: Signal, turn: _Turn) -> None:
    if signal.healthy:
        turn.failed.clear()
    elif signal.failure:
        turn.failed.set()


def _held(work: Sequence[_CallGroup], permit: Permit) -> list[Executed]:
    waits = Deferred(permit.code, permit.retry_after, held=True)
    return [Executed(request, waits, 0) for one in work for request in one.requests]


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
            return Deferred(error.code, error.retry_after, held=error.code == OVER_BUDGET)
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
