"""The helpdesks that are served here: what each can take and show, called through its gate."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from helpdesk.clients.port import HelpdeskClient
from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.models import (
    GetRequest,
    Outcome,
    OutcomeKind,
    Request,
    Ticket,
    identity_of,
)
from helpdesk.store.gate import OVER_BUDGET, Failure, Gate, Kind, Permit
from helpdesk.store.watchlist import Watchlist

# How many calls one background get, or the gets of a batch, may make to find the bad ids among good ones.
_MOST_CALLS_IN_PARTS = 20
# So many refused parts and no ticket: the helpdesk seems to refuse every call.
_MOST_REFUSED = 7
# Our own reasons: they say nothing of the helpdesk.
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


type _HarmlessCall = Callable[[HelpdeskClient, float], object]
# No ticket is of that day: its list shows only whether our key is taken.
_LONG_AGO = date(2000, 1, 1)
_HARMLESS: Mapping[str, _HarmlessCall] = {
    "get": lambda client, deadline: client.probe(deadline),
    "pull": lambda client, deadline: client.pull(_LONG_AGO, deadline),
}


class Signal(NamedTuple):
    """What a call says of the helpdesk; nothing where the helpdesk was not called."""

    healthy: bool = False
    failure: Failure | None = None


NO_SIGNAL = Signal()
HEALTHY = Signal(healthy=True)


class Helpdesks:
    """Every helpdesk by its name, each with its gate."""

    def __init__(
        self,
        clients: Mapping[str, HelpdeskClient],
        gates: Mapping[str, Gate],
        watchlist: Watchlist | None = None,
    ) -> None:
        self._clients = clients
        self._gates = gates
        # None where nothing is watched.
        self._watchlist = watchlist

    def __getitem__(self, helpdesk: str) -> HelpdeskClient:
        return self._clients[helpdesk]

    @property
    def clients(self) -> Mapping[str, HelpdeskClient]:
        """The client of each helpdesk, by the helpdesk's name."""
        return self._clients

    def check(self, request: Request) -> None:
        """Raises RejectedError, naming every field that the helpdesk cannot take."""
        if request.helpdesk not in self._clients:
            problem = FieldProblem("helpdesk", f"must be {' or '.join(self._clients)}")
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
            most = limit * self._clients[request.helpdesk].get_limit
            problem = FieldProblem("ticket_ids", f"must be at most {most}: the budget allows no more")
            raise RejectedError("invalid_request", "the budget does not allow so many tickets", (problem,))
        self._clients[request.helpdesk].check(request)

    def gate(self, helpdesk: str) -> Gate:
        """The gate of a helpdesk, for reading its state."""
        return self._gates[helpdesk]

    def get(self, request: GetRequest, deadline: float) -> Outcome:
        """The outcome of a get. Raises HelpdeskError where the tickets cannot be had."""
        helpdesk = request.helpdesk
        calls = self.calls_for(helpdesk, len(request.ticket_ids))
        permit = self.acquire(helpdesk, calls, deadline, harmless=True)
        permit = self._for_operation(helpdesk, permit, "get")
        if permit.calls < calls:
            self.report(helpdesk, permit, [])
            raise UnavailableError(permit.code, "the helpdesk cannot be asked now", permit.retry_after)
        signal = HEALTHY
        try:
            client = self.client(helpdesk, permit)
            tickets = fetch(client, request.ticket_ids, request.extra, deadline, CallsInParts())
            return self.retrieved(request, tickets)
        except HelpdeskError as error:
            signal = signal_of(error)
            raise
        finally:
            self.report(helpdesk, permit, [signal])

    # ── reads that can wait ──────────────────────────────────────────────────────────────────────────────

    def comments(self, helpdesk: str, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket; None where the helpdesk does not give them. Raises HelpdeskError."""
        return self._read(helpdesk, "get", lambda client: client.comments(ticket_id, deadline))

    def pull(self, helpdesk: str, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone. Raises HelpdeskError."""
        return self._read(helpdesk, "pull", lambda client: client.pull(day, deadline))

    def get_with_spare_budget(
        self, helpdesk: str, ticket_ids: Sequence[str], deadline: float
    ) -> list[Ticket]:
        """The tickets that exist, of up to `get_limit`, by calls that live requests leave.

        Those that the helpdesk refuses to show are left out. Raises UnavailableError, UnauthorizedError, and
        OutcomeUnknownError also where the helpdesk seems to refuse every call.
        """

        def get(part: Sequence[str]) -> list[Ticket]:
            return self._read(helpdesk, "get", partial(_fetch_all, part, deadline), spare=True)

        try:
            return _get_in_parts([ticket_ids], get, CallsInParts())
        except RejectedError as error:
            raise OutcomeUnknownError("refused", "the helpdesk refuses to show tickets") from error

    def _read[T](
        self, helpdesk: str, operation: str, call: Callable[[HelpdeskClient], T], *, spare: bool = False
    ) -> T:
        """The result of a background read. Its failure closes the gate to no request.

        A helpdesk may be slow to list, and still take tickets. Where each operation has a key of its own, a
        refused key holds back its own operation.
        """
        permit = self._gates[helpdesk].acquire_read(spare=spare)
        permit = self._for_operation(helpdesk, permit, operation)
        if not permit.calls:
            raise UnavailableError(permit.code, "the helpdesk cannot be asked now", permit.retry_after)
        signal = HEALTHY
        try:
            return call(self.client(helpdesk, permit))
        except HelpdeskError as error:
            signal = signal_of(error)
            raise
        except ValidationError as error:
            raise OutcomeUnknownError(
                "unexpected_answer", "the answer holds what no ticket can be"
            ) from error
        finally:
            self.report(helpdesk, permit, [signal])

    def probe(self, helpdesk: str, deadline: float) -> None:
        """Makes one harmless read where a closed gate's probe or the try of a refused key is due.

        No call with the key of another operation is harmless: only its secret is looked at. Raises
        UnavailableError.
        """
        for operation in self.acquire(helpdesk, 0, deadline, harmless=True).refused:
            if operation not in _HARMLESS:
                self._gates[helpdesk].note_replaced(operation, self._version_of(helpdesk))
                continue
            permit = self.acquire_try(helpdesk, operation, kind="read")
            if permit.calls:
                self._probe(helpdesk, permit, deadline, _HARMLESS[operation])

    # ── for a batch ──────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, helpdesk: str) -> None:
        """Reads a secret that this process has not read yet, so the first call need not wait for it."""
        if self._clients[helpdesk].token_version(fresh=False) is None:
            self._clients[helpdesk].token_version(fresh=True)

    def acquire(
        self,
        helpdesk: str,
        calls: int,
        deadline: float,
        *,
        harmless: bool = False,
        by_operation: Mapping[str, int] = {},
    ) -> Permit:
        """The permit to make up to so many calls now. Probes a closed gate by a read, where that is due.

        Raises UnavailableError as the gate does.
        """
        version = self._version_of(helpdesk)
        acquire = partial(
            self._gates[helpdesk].acquire, calls, version, harmless=harmless, by_operation=by_operation
        )
        permit = acquire()
        if permit.kind == "probe":
            self._probe(helpdesk, permit, deadline)
            permit = acquire()
        if permit.kind != "probe":
            return permit
        # A second probe is due already: the first got no reply, or the secret has changed since.
        self.report(helpdesk, permit, [])
        return Permit(0, permit.code, permit.retry_after)

    def acquire_try(
        self, helpdesk: str, operation: str, *, kind: Kind = "calls", harmless: bool = True
    ) -> Permit:
        """The permit to make one call of an operation whose key is refused, if its try is due."""
        version = self._version_of(helpdesk)
        return self._gates[helpdesk].acquire_try(operation, version, kind=kind, harmless=harmless)

    def _for_operation(self, helpdesk: str, permit: Permit, operation: str) -> Permit:
        """The permit, or if the key of the operation is refused, the permit to try it."""
        if operation not in permit.refused or not permit.calls:
            return permit
        self.report(helpdesk, permit, [])
        return self.acquire_try(helpdesk, operation, kind=permit.kind)

    def _version_of(self, helpdesk: str) -> Callable[[], str | None]:
        return partial(self._clients[helpdesk].token_version, fresh=True)

    def _probe(
        self, helpdesk: str, permit: Permit, deadline: float, call: _HarmlessCall = _HARMLESS["get"]
    ) -> None:
        signal = HEALTHY
        try:
            call(self.client(helpdesk, permit), deadline)
        except HelpdeskError as error:
            signal = signal_of(error)
        self.report(helpdesk, permit, [signal])

    def client(self, helpdesk: str, permit: Permit) -> HelpdeskClient:
        """The helpdesk, for the calls of this permit."""
        return self._clients[helpdesk].metered(partial(self._gates[helpdesk].spend, permit))

    def calls_for(self, helpdesk: str, ids: int) -> int:
        """The calls that it takes to get so many tickets."""
        return math.ceil(ids / self._clients[helpdesk].get_limit)

    def report(self, helpdesk: str, permit: Permit, signals: Sequence[Signal]) -> bool:
        """Reports to the gate how calls went. Whether the next call of a batch may follow its trial.

        A trial that needed no call has given its turn back.
        """
        if not permit.calls:
            return False
        failures = [signal.failure for signal in signals if signal.failure]
        # An update whose comment was found ends well without a call: that shows nothing.
        healthy = permit.used and any(signal.healthy for signal in signals)
        # The gate only spares the helpdesk: a report that is lost undoes nothing.
        with suppress(HelpdeskError):
            version = self._clients[helpdesk].token_version(fresh=False)
            self._gates[helpdesk].report(permit, failures, healthy, version)
            return permit.kind == "trial" and not failures
        return False

    def retrieved(self, request: GetRequest, tickets: Mapping[str, Ticket]) -> Outcome:
        """The outcome of a get. Raises UnavailableError where its tickets cannot be put on the watchlist."""
        if self._watchlist and "watch" in request.include:
            shown = [ticket_id for ticket_id in request.ticket_ids if ticket_id in tickets]
            self._watchlist.add(request.helpdesk, shown)
        return _retrieved(request, tickets)


class CallsInParts:
    """How many calls may still be made to find the bad ids among good ones."""

    def __init__(self) -> None:
        self.left = _MOST_CALLS_IN_PARTS


def fetch(
    client: HelpdeskClient,
    ticket_ids: Sequence[str],
    extra: Mapping[str, JsonValue],
    deadline: float,
    in_parts: CallsInParts | None = None,
) -> dict[str, Ticket]:
    """The tickets that exist, by as many calls as it takes. Raises HelpdeskError.

    A refused call is made again in parts, as far as `in_parts`, time and budget allow: tickets that are
    refused still are left out, unless all are.
    """

    def get(part: Sequence[str]) -> list[Ticket]:
        try:
            return client.get(part, extra, deadline)
        except ValidationError as error:
            raise OutcomeUnknownError(
                "unexpected_answer", "the answer holds what no ticket can be"
            ) from error

    tickets: dict[str, Ticket] = {}
    for start in range(0, len(ticket_ids), client.get_limit):
        part = ticket_ids[start : start + client.get_limit]
        try:
            items = get(part)
        except RejectedError as refusal:
            items = _instead_of(refusal, part, get, in_parts) if in_parts else []
            if not items:
                raise
        tickets |= {ticket.ticket_id: ticket for ticket in items}
    return tickets


def _instead_of(
    refusal: RejectedError,
    ticket_ids: Sequence[str],
    get: Callable[[Sequence[str]], list[Ticket]],
    in_parts: CallsInParts,
) -> list[Ticket]:
    """The tickets that are shown in parts. Where time or budget ends before, the refusal stands."""
    try:
        return _get_in_parts(_halves(ticket_ids), get, in_parts, refusal)
    except UnavailableError as error:
        if error.code in _OUR_CODES:
            raise refusal from error
        raise


def _get_in_parts(
    parts: Sequence[Sequence[str]],
    get: Callable[[Sequence[str]], list[Ticket]],
    calls: CallsInParts,
    refusal: RejectedError | None = None,
) -> list[Ticket]:
    """The tickets of these parts. A refused part is halved, a refused single ticket is left out.

    One bad id may spoil the others' call, and an account may show fewer tickets at once than we ask for.

    Raises:
        RejectedError: the calls are used up, or the helpdesk seems to refuse every call.
    """
    waiting = deque(parts)
    tickets: list[Ticket] = []
    refused = 0
    while waiting:
        if refusal and (calls.left <= 0 or (refused > _MOST_REFUSED and not tickets)):
            raise refusal
        # Large parts first: bad ids that stand together leave one of them whole.
        part = waiting.popleft()
        calls.left -= 1
        try:
            tickets += get(part)
        except RejectedError as error:
            refusal = error
            refused += 1
            waiting += _halves(part)
    return tickets


def _halves(ticket_ids: Sequence[str]) -> list[Sequence[str]]:
    half = len(ticket_ids) // 2
    return [ticket_ids[:half], ticket_ids[half:]] if half else []


def _fetch_all(ticket_ids: Sequence[str], deadline: float, client: HelpdeskClient) -> list[Ticket]:
    return list(fetch(client, ticket_ids, {}, deadline).values())


def signal_of(error: HelpdeskError) -> Signal:
    """What a call that failed says of the helpdesk."""
    if error.code in _OUR_CODES:
        return NO_SIGNAL
    match error:
        case RejectedError():
            return HEALTHY
        case UnauthorizedError():
            return Signal(failure=Failure(token_refused=True, operation=error.operation, code=error.code))
        case UnavailableError():
            return Signal(failure=Failure(retry_after=error.retry_after))
        case _:
            return Signal(failure=Failure())


def _retrieved(request: GetRequest, shown: Mapping[str, Ticket]) -> Outcome:
    missing = tuple(ticket_id for ticket_id in request.ticket_ids if ticket_id not in shown)
    if len(missing) == len(request.ticket_ids):
        return rejected(request, "ticket_not_found", "the helpdesk shows no such ticket", missing)
    tickets = [shown[ticket_id] for ticket_id in dict.fromkeys(request.ticket_ids) if ticket_id in shown]
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
    """The outcome of a request that cannot be executed as it is."""
    return Outcome(
        identity=identity_of(request), kind=OutcomeKind.REJECTED, code=code, message=message, missing=missing
    )
