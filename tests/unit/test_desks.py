"""The helpdesks behind their gates, where a gate lets nothing through."""

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
                self.answers.wait(10)


@pytest.fixture
def helpdesk() -> Iterator[_UnreadableSecret]:
    secret = _UnreadableSecret()
    yield secret
    secret.answers.set()


def test_what_a_closed_gate_holds_back_does_not_wait_for_a_secret(helpdesk: _UnreadableSecret) -> None:
    helpdesks: Any = {"kapture": helpdesk}
    gates: Any = {"kapture": _Closed()}
    no_ledger: Any = _NoLedger()
    service = TicketService(
        Helpdesks(helpdesks, gates), no_ledger, Markers(lambda: (b"key",), "t"), doubt_s=1, threads=2
    )
    names = {"request_id": "1", "source": "s", "helpdesk": "kapture"}
    body = {"operation": "add", "ticket": {"title": "t"}, **names}

    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(service.execute, [REQUEST.validate_python(body)], time.monotonic() + 20)
        (carried,) = batch.result(timeout=5)

    assert carried.result == Deferred("gate_closed_outage", 5.0, held=True)
