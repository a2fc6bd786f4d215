"""A batch that is larger than the threads that carry it out."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from helpdesk.clients.markers import Markers
from helpdesk.models import REQUEST, NewTicket, Request, TicketLink
from helpdesk.store.gate import Permit
from helpdesk.store.ledger import Claim
from helpdesk.work.helpdesks import Helpdesks
from helpdesk.work.service import TicketService

THREADS = 2
# No test waits for so long, unless it fails.
LONG_S = 60


class _Open:
    limit = None

    def acquire(self, wanted: int, _version: Callable[[], str | None], **_: object) -> Permit:
        return Permit(wanted)

    def spend(self, _permit: Permit) -> None:
        pass

    def report(self, *_: object) -> None:
        pass


class _Ledger:
    """Counts the claims that are open: of a function that is killed these are in doubt."""

    def __init__(self) -> None:
        self._open = self.most_open = 0
        self._counting = threading.Lock()

    def prepare(self) -> None:
        pass

    def claim(self, request: Request, *_: object) -> Claim:
        with self._counting:
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        return Claim(request.request_id, "lease", 1)

    def finish(self, *_: object) -> None:
        with self._counting:
            self._open -= 1


class _Helpdesk:
    """Makes tickets when a test says so."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def check(self, _request: Request) -> None:
        pass

    marker_field = "details"

    def metered(self, _spend: Callable[[], None]) -> "_Helpdesk":
        return self

    def marked(self, ticket: NewTicket, _marker: str) -> NewTicket:
        return ticket

    def add(self, _ticket: NewTicket, _deadline: float) -> TicketLink:
        self.begun.release()
        assert self.may_answer.wait(LONG_S)
        return TicketLink(ticket_id="1")

    def token_version(self, *, fresh: bool) -> str:
        return f"known, {fresh=}"


def test_no_more_requests_are_claimed_at_once_than_calls_are_wanted() -> None:
    helpdesk, ledger = _Helpdesk(), _Ledger()
    helpdesks: Any = {"kapture": helpdesk}
    gates: Any = {"kapture": _Open()}
    kept: Any = ledger
    service = TicketService(
        Helpdesks(helpdesks, gates), kept, Markers(lambda: (b"key",), "t"), doubt_s=1, threads=THREADS
    )
    fields = {"operation": "add", "source": "s", "helpdesk": "kapture", "ticket": {"title": "t"}}
    requests = [REQUEST.validate_python({**fields, "request_id": str(number)}) for number in range(6)]

    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(service.execute, requests, time.monotonic() + LONG_S)
        for _ in range(THREADS):
            assert helpdesk.begun.acquire(timeout=LONG_S)
        helpdesk.may_answer.set()
        carried = batch.result(timeout=LONG_S)

    assert len(carried) == len(requests)
    assert ledger.most_open == THREADS
