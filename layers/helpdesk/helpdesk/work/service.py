"""Executes requests: each gets at most one call, and an outcome or a reason to come back later."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from helpdesk.clients.markers import OFF, Markers
from helpdesk.clients.port import COMMENT
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
    Operation,
    Outcome,
    OutcomeKind,
    Request,
    Ticket,
    TicketLink,
    UpdateRequest,
    identity_of,
)
from helpdesk.store.gate import OUTAGE, OVER_BUDGET, TOKEN_REFUSED, Permit
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
from helpdesk.work.helpdesks import (
    HEALTHY,
    NO_SIGNAL,
    CallsInParts,
    Helpdesks,
    Signal,
    fetch,
    rejected,
    signal_of,
)

# A sender's clock may be ahead of ours by this much.
_MOST_AHEAD_S = 300
# How long an update waits for the add that its reference names, and how often it asks.
_REFERENCE_WAIT_S = 3600
_REFERENCE_EACH_S = 60.0


class Deferred(NamedTuple):
    """Nothing was done, or nothing is known yet: try again, after `retry_after` seconds where given."""

    code: str
    retry_after: float | None = None
    token_refused: bool = False
    # Nothing was tried: the gate is closed, or the budget is used up.
    held: bool = False
    # A fault of our own: the exception's class and where it was raised, without its text.
    fault: str | None = None
    # The helpdesk that the request belongs to, where it was sent to another one.
    elsewhere: str | None = None


type Result = Outcome | Deferred


class Execution:
    """A request, its result, and how long that took.

    A request that was first claimed at another helpdesk is executed there; `request` then names that one.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.result: Result = Deferred("not_executed")
        self.milliseconds = 0


# Compared by identity: two copies of one request are two groups.
@dataclass(frozen=True, eq=False)
class _CallGroup:
    """One change, gets that share one call, or the updates of one ticket in their order."""

    executions: tuple[Execution, ...]
    calls: int = 1

    @property
    def is_get(self) -> bool:
        return isinstance(self.executions[0].request, GetRequest)

    @property
    def operation(self) -> str:
        return self.executions[0].request.operation

    @property
    def request_ids(self) -> set[str]:
        return {execution.request.request_id for execution in self.executions}


class _Turn(NamedTuple):
    """What holds for all the calls of one permit.

    `failed` holds what the last replies show: an outage, or an operation whose key is refused.
    """

    permit: Permit
    deadline: float
    failed: set[str]


class TicketService:
    """Executes requests against the helpdesks, each at most once by the ledger."""

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
        # A thread claims a request, calls, and records: it claims nothing whose call would have to wait.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")

    def execute(
        self, requests: Sequence[Request], deadline: float, received_before: Collection[str] = ()
    ) -> list[Execution]:
        """The result of each request, in the order asked. Calls are made side by side, gets together.

        Updates of one ticket that say when they happened are made one after the other, the oldest first.
        Requests with an id in `received_before` whose call has died before come last and one by one: a
        request that kills its function must not take others with it, time and again.
        """
        executions = [Execution(request) for request in requests]
        self._execute(executions, deadline, received_before)
        moved: list[Execution] = []
        for execution in executions:
            helpdesk = execution.result.elsewhere if isinstance(execution.result, Deferred) else None
            if helpdesk:
                execution.request, execution.milliseconds = _at(helpdesk, execution.request), 0
                moved.append(execution)
        if moved:
            self._execute(moved, deadline, received_before)
        return executions

    def _execute(
        self, executions: Sequence[Execution], deadline: float, received_before: Collection[str]
    ) -> None:
        by_helpdesk: dict[str, list[Execution]] = {}
        for execution in executions:
            refusal = self._refusal_of(execution.request)
            if refusal:
                execution.result = refusal
            else:
                by_helpdesk.setdefault(execution.request.helpdesk, []).append(execution)
        # These run while the gates are read. What goes wrong here shows in the calls, if any are made.
        ready = self._pool.submit(self._ledger.prepare)
        self._pool.submit(self._markers.prepare)
        for helpdesk in by_helpdesk:
            self._pool.submit(self._helpdesks.prepare, helpdesk)
        serve = partial(self._serve, ready, deadline, received_before)
        if len(by_helpdesk) < 2:
            for helpdesk, of_helpdesk in by_helpdesk.items():
                serve(helpdesk, of_helpdesk)
        else:
            with ThreadPoolExecutor(len(by_helpdesk)) as threads:
                list(threads.map(serve, by_helpdesk.keys(), by_helpdesk.values()))

    def _refusal_of(self, request: Request) -> Result | None:
        """Why a request is not accepted; None where it is.

        A request that was accepted before stays accepted, at its helpdesk of then: settings change.
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
            # The claim then says its state, and its helpdesk.
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
        helpdesk: str,
        executions: Sequence[Execution],
    ) -> None:
        """Executes the requests for one helpdesk. Nothing is claimed before the ledger is `ready`."""
        waiting = self._groups(helpdesk, executions)
        while waiting:
            permit, now, waiting = self._acquire(helpdesk, waiting, deadline)
            turn = _Turn(permit, deadline, set())
            if now:
                ready.result()
            suspects = self._suspects([group for group in now if group.request_ids & set(received_before)])
            others = [group for group in now if group not in suspects]
            signals = list(self._pool.map(partial(self._call_group, turn), others))
            signals += [self._call_group(turn, group) for group in suspects]
            signals = _without_odd_refusals([*others, *suspects], signals)
            # A trial that succeeded, or needed no call, lets the next of its batch follow at once.
            goes_on = self._helpdesks.report(helpdesk, permit, signals)
            # After all others those may follow whose keys are refused: one tries each key.
            only_refused = all(group.operation in permit.refused for group in waiting)
            if not (goes_on or (now and only_refused)):
                break
        for group in waiting:
            _defer(group.executions, _held(permit, group))

    def mark_published(self, outcome: Outcome) -> None:
        """Records that a doubt has been published; where that fails it is published again."""
        with suppress(UnavailableError):
            self._ledger.mark_published(outcome)

    def note_rejections(self, outcomes: Sequence[Outcome]) -> None:
        """Records refusals of requests that have no item. The published outcomes say the same."""
        for outcome in outcomes:
            with suppress(UnavailableError):
                self._ledger.note_rejection(outcome)

    def close(self, request: Request, outcome: Outcome, *, at_once: bool = False) -> Result:
        """Ends a request without a call; the result of a request that has ended already.

        A request in doubt goes on waiting for its look-up, unless it has to end `at_once`.
        """
        if isinstance(request, GetRequest):
            return outcome
        try:
            claim = self._ledger.claim(request)
            if at_once and isinstance(claim, Settled) and claim.outcome.kind is OutcomeKind.UNKNOWN:
                receipt = self._ledger.receipt(request.request_id)
                message = "it may have happened, and could not be looked up in time"
                identity = receipt.identity if receipt else outcome.identity
                update = {"identity": identity, "code": "outcome_unknown", "message": message}
                doubt = outcome.model_copy(update=update)
                return self._record(receipt.claim, request, doubt) if receipt else doubt
        except UnavailableError as error:
            return Deferred(error.code)
        if isinstance(claim, Claim):
            return self._record(claim, request, outcome)
        if isinstance(claim, Elsewhere):
            there = _at(claim.helpdesk, request)
            outcome = outcome.model_copy(update={"identity": identity_of(there)})
            return self.close(there, outcome, at_once=at_once)
        return self._without_call(request, claim)

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    def _groups(self, helpdesk: str, executions: Sequence[Execution]) -> list[_CallGroup]:
        """The groups; those with which a trial does the least harm come first."""
        changes: list[_CallGroup] = []
        gets: dict[str, list[Execution]] = {}
        updates: dict[tuple[str | None, ...], list[tuple[float, Execution]]] = {}
        for execution in executions:
            request = execution.request
            if isinstance(request, GetRequest):
                gets.setdefault(str(sorted(request.extra.items())), []).append(execution)
            elif isinstance(request, UpdateRequest) and request.occurred_at:
                ticket = (request.ticket_id,) if request.ticket_id else (request.source, request.reference)
                updates.setdefault(ticket, []).append((request.occurred_at.timestamp(), execution))
            else:
                changes.append(_CallGroup((execution,)))
        for of_ticket in updates.values():
            of_ticket.sort(key=lambda pair: pair[0])
            changes.append(_CallGroup(tuple(execution for _, execution in of_ticket), len(of_ticket)))
        changes.sort(key=lambda group: not group.executions[0].request.repeatable)
        return changes + [self._get_group(helpdesk, alike) for alike in gets.values()]

    def _get_group(self, helpdesk: str, gets: Sequence[Execution]) -> _CallGroup:
        requests = (get.request for get in gets if isinstance(get.request, GetRequest))
        ids = {ticket_id for request in requests for ticket_id in request.ticket_ids}
        return _CallGroup(tuple(gets), self._helpdesks.calls_for(helpdesk, len(ids)))

    def _acquire(
        self, helpdesk: str, groups: Sequence[_CallGroup], deadline: float
    ) -> tuple[Permit, list[_CallGroup], list[_CallGroup]]:
        """A permit, the groups that fit into it, and those that must wait."""
        try:
            calls = Counter[str]()
            for group in groups:
                calls[group.operation] += group.calls
            harmless = all(group.is_get for group in groups)
            permit = self._helpdesks.acquire(
                helpdesk, calls.total(), deadline, harmless=harmless, by_operation=calls
            )
            allowed = [group for group in groups if group.operation not in permit.refused]
            if not allowed:
                return self._acquire_try(helpdesk, permit, groups)
        except UnavailableError as error:
            # Without the ledger nothing can be claimed either.
            return Permit(0, code=error.code), [], list(groups)
        left = permit.calls
        now: list[_CallGroup] = []
        later = list(allowed)
        while later and left:
            first = later[0]
            if first.calls > left and len(first.executions) > 1:
                # Together they do not fit, but one of them may.
                later[:1] = self._split(helpdesk, first)
                continue
            if first.calls > left:
                break
            now.append(later.pop(0))
            left -= first.calls
        return permit, now, later + [group for group in groups if group not in allowed]

    def _acquire_try(
        self, helpdesk: str, permit: Permit, groups: Sequence[_CallGroup]
    ) -> tuple[Permit, list[_CallGroup], list[_CallGroup]]:
        """The permit to try a refused key, the one request that does, and those that must wait."""
        self._helpdesks.report(helpdesk, permit, [])
        for first in {group.operation: group for group in reversed(groups)}.values():
            turn = self._helpdesks.acquire_try(helpdesk, first.operation, harmless=first.is_get)
            if turn.calls:
                turn.refused = permit.refused
                now, *rest = self._split(helpdesk, first)
                return turn, [now], rest + [group for group in groups if group is not first]
        return Permit(0, permit.code, permit.retry_after, refused=permit.refused), [], list(groups)

    def _split(self, helpdesk: str, group: _CallGroup) -> list[_CallGroup]:
        """One request by itself, then the others."""
        if len(group.executions) == 1:
            return [group]
        if group.is_get:
            return [self._get_group(helpdesk, [get]) for get in group.executions]
        return [_CallGroup(group.executions[:1]), _CallGroup(group.executions[1:], group.calls - 1)]

    def _suspects(self, groups: Sequence[_CallGroup]) -> list[_CallGroup]:
        """The groups whose call was begun before and has not ended, the most often begun last."""
        changes = [group for group in groups if not group.is_get]
        begun = list(self._pool.map(self._times_begun, changes))
        suspects = [pair for pair in zip(begun, changes, strict=True) if pair[0]]
        return [group for _, group in sorted(suspects, key=lambda pair: pair[0])]

    def _times_begun(self, group: _CallGroup) -> int:
        try:
            receipts = [self._ledger.receipt(execution.request.request_id) for execution in group.executions]
        except UnavailableError:
            return 0
        return max([0, *(receipt.attempts for receipt in receipts if receipt and not receipt.ended)])

    # ── one group ────────────────────────────────────────────────────────────────────────────────────────

    def _call_group(self, turn: _Turn, group: _CallGroup) -> Signal:
        """Executes the group's requests; what the last call says of the helpdesk."""
        if group.is_get:
            return self._try(group.executions, turn)
        signal = NO_SIGNAL
        is_over = True
        for place, execution in enumerate(group.executions):
            if turn.failed & {OUTAGE, group.operation}:
                # The others' calls show an outage or a refused key: this one is not sent into it.
                why = OUTAGE if OUTAGE in turn.failed else TOKEN_REFUSED
                reason = Deferred(f"gate_closed_{why}", held=True)
            elif not is_over:
                reason = Deferred("ticket_busy")
            else:
                signal = self._try([execution], turn)
                is_over = _is_over(execution.result)
                _note(signal, turn)
                continue
            _defer(group.executions[place:], reason)
            break
        return signal

    def _try(self, executions: Sequence[Execution], turn: _Turn) -> Signal:
        began = time.monotonic()
        first = executions[0].request
        try:
            if isinstance(first, GetRequest):
                gets = (execution.request for execution in executions)
                results, signal = self._get_all([get for get in gets if isinstance(get, GetRequest)], turn)
            else:
                results, signal = self._change(first, turn)
        except Exception as error:  # noqa: BLE001  # the outer edge of one record: the others must not suffer
            fault = Deferred("internal_error", fault=_raised_at(error))
            results, signal = [fault for _ in executions], NO_SIGNAL
        milliseconds = round((time.monotonic() - began) * 1000)
        for execution, result in zip(executions, results, strict=True):
            execution.result, execution.milliseconds = result, milliseconds
        return signal

    def _change(self, request: AddRequest | UpdateRequest, turn: _Turn) -> tuple[list[Result], Signal]:
        try:
            # Before the claim: without its marker no call is made.
            marker = self._markers.of(request.helpdesk, request.request_id)
            target = self._target(request) if isinstance(request, UpdateRequest) else None
            claim = self._ledger.claim(request, marker, self._marker_field(request), target)
        except UnavailableError as error:
            return [Deferred(error.code)], NO_SIGNAL
        if not isinstance(claim, Claim):
            return [self._without_call(request, claim)], NO_SIGNAL
        result, signal = self._call(request, claim, turn)
        return [self._record(claim, request, result)], signal

    def _marker_field(self, request: AddRequest | UpdateRequest) -> str:
        client = self._helpdesks[request.helpdesk]
        if isinstance(request, AddRequest):
            return client.marker_field
        return COMMENT if client.marks_comments and request.changes.comment else OFF

    def _without_call(
        self, request: AddRequest | UpdateRequest, refusal: Busy | Abandoned | Settled | Reused | Elsewhere
    ) -> Result:
        match refusal:
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
                # It has used up its attempts, and there is nothing to look up.
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
            link = self._send(request, claim, turn)
        except HelpdeskError as error:
            if isinstance(error, OutcomeUnknownError) and not request.repeatable:
                result: Result = _outcome(request, claim, OutcomeKind.UNKNOWN, error.code, error.message)
            else:
                result = _result_of(request, error, claim.attempts)
            return result, signal_of(error)
        outcome = _outcome(request, claim, OutcomeKind.SUCCEEDED)
        return outcome.model_copy(update={"ticket_id": link.ticket_id, "ticket_url": link.url}), HEALTHY

    def _send(self, request: AddRequest | UpdateRequest, claim: Claim, turn: _Turn) -> TicketLink:
        client = self._helpdesks.client(request.helpdesk, turn.permit)
        if isinstance(request, AddRequest):
            return client.add(client.marked(request.ticket, claim.marker), turn.deadline)
        ticket_id = self._ticket_id(request, claim, turn)
        progress = _LedgerProgress(self._ledger, claim)
        if not request.occurred_at:
            return client.update(ticket_id, request.changes, turn.deadline, progress)
        ticket = (claim, request.helpdesk, ticket_id, request.occurred_at)
        # Whether the update was made; None where nobody knows.
        made: bool | None = None
        doubted = self._ledger.begin_update(*ticket)
        try:
            link = client.update(ticket_id, request.changes, turn.deadline, progress)
            made = True
        except RejectedError:
            # The helpdesk refuses it now, so an earlier try in doubt was refused too.
            made = progress.begun
            raise
        except UnavailableError as error:
            # An update in doubt stays in doubt. Some of its steps may have been taken.
            in_doubt = doubted or progress.begun or isinstance(error.__cause__, OutcomeUnknownError)
            made = None if in_doubt else False
            raise
        except UnauthorizedError:
            made = None if doubted or progress.begun else False
            raise
        finally:
            # An end that cannot be recorded leaves it in doubt.
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
        # Its add may still be on its way, or held back: with all other requests, or by its refused key.
        calm_since = self._clock() if Operation.ADD in turn.permit.refused else turn.permit.calm_since
        since = max(claim.unresolved_since or self._clock(), calm_since)
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
            # Without the record the request counts as still in flight.
            return Deferred(error.code)
        return result

    def _get_all(
        self, gets: Sequence[GetRequest], turn: _Turn, in_parts: CallsInParts | None = None
    ) -> tuple[list[Result], Signal]:
        in_parts = in_parts or CallsInParts()
        ids = list(dict.fromkeys(ticket_id for request in gets for ticket_id in request.ticket_ids))
        try:
            client = self._helpdesks.client(gets[0].helpdesk, turn.permit)
            # Several requests are tried one by one first.
            alone = in_parts if len(gets) == 1 else None
            tickets = fetch(client, ids, gets[0].extra, turn.deadline, alone)
        except HelpdeskError as error:
            if isinstance(error, RejectedError) and len(gets) > 1:
                # One bad id may have spoilt the others' call.
                single_gets = [self._get_all([request], turn, in_parts) for request in gets]
                return [result for results, _ in single_gets for result in results], HEALTHY
            return [_result_of(request, error) for request in gets], signal_of(error)
        return [self._retrieved(request, tickets) for request in gets], HEALTHY

    def _retrieved(self, request: GetRequest, tickets: Mapping[str, Ticket]) -> Result:
        try:
            return self._helpdesks.retrieved(request, tickets)
        except UnavailableError as error:
            return Deferred(error.code)


class _LedgerProgress:
    """The steps of one request, recorded in its item."""

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


def _is_over(result: Result) -> bool:
    return isinstance(result, Outcome) and result.kind is not OutcomeKind.UNKNOWN


def _defer(executions: Sequence[Execution], reason: Deferred) -> None:
    for execution in executions:
        execution.result = reason


def _note(signal: Signal, turn: _Turn) -> None:
    if signal.healthy:
        turn.failed.clear()
    elif signal.failure:
        turn.failed.add(signal.failure.operation or OUTAGE)


def _without_odd_refusals(groups: Sequence[_CallGroup], signals: Sequence[Signal]) -> list[Signal]:
    """The signals without refusals of a key that opened another call: there the request is the cause."""
    pairs = list(zip(groups, signals, strict=True))
    answered = {group.operation for group, signal in pairs if signal.healthy}
    return [
        NO_SIGNAL if signal.failure and signal.failure.operation in answered else signal for signal in signals
    ]


def _held(permit: Permit, group: _CallGroup) -> Deferred:
    """Why a group has to wait: for the try of its key, or for what holds all back."""
    wait_s = permit.refused.get(group.operation)
    if wait_s is None:
        return Deferred(permit.code, permit.retry_after, held=True)
    return Deferred(f"gate_closed_{TOKEN_REFUSED}", wait_s, held=True)


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
            # Only repeatable requests get here: for the others a doubt is an outcome.
            return Deferred(error.code)


def _outcome(
    request: Request, claim: Claim, kind: OutcomeKind, code: str | None = None, message: str | None = None
) -> Outcome:
    return Outcome(
        identity=identity_of(request), kind=kind, code=code, message=message, attempts=claim.attempts
    )
