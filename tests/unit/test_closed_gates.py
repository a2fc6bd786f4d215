"""Requests behind a closed gate."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from helpdesk.clients.markers import Markers
from helpdesk.models import REQUEST, Request
from helpdesk.store.gate import Permit
from helpdesk.work.helpdesks import Helpdesks
from helpdesk.work.service import Deferred, TicketService

# No test waits for so long, unless it fails.
LONG_S = 30


class _Closed:
    """A gate that nothing may pass."""

    limit = None

    def acquire(self, _wanted: int, _version: Callable[[], str | None], **_: object) -> Permit:
        return Permit(0, "gate_closed_outage", 5.0)


class _NoLedger:
    """Nothing comes as far as a claim."""

    def prepare(self) -> None:
        pass


class _UnreadableSecret:
    """A helpdesk whose secret is being read, and nobody answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answers = threading.Event()

    def check(self, _request: Request) -> None:
        pass

    def token_version(self, *, fresh: bool) -> None:
        with self._lock:
            if fresh:
                self.answers.wait(2 * LONG_S)


@pytest.fixture
def helpdesk() -> Iterator[_UnreadableSecret]:
    unreadable = _UnreadableSecret()
    yield unreadable
    unreadable.answers.set()


def test_what_a_closed_gate_holds_back_does_not_wait_for_a_secret(helpdesk: _UnreadableSecret) -> None:
    helpdesks: Any = {"kapture": helpdesk}
    gates: Any = {"kapture": _Closed()}
    no_ledger: Any = _NoLedger()
    service = TicketService(
        Helpdesks(helpdesks, gates), no_ledger, Markers(lambda: (b"key",), "t"), doubt_s=1, threads=2
    )
    identity = {"request_id": "1", "source": "s", "helpdesk": "kapture"}
    body = {"operation": "add", "ticket": {"title": "t"}, **identity}

    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(service.execute, [REQUEST.validate_python(body)], time.monotonic() + LONG_S)
        (execution,) = batch.result(timeout=LONG_S)

    assert execution.result == Deferred("gate_closed_outage", 5.0, held=True)
