"""Waits for what happens, not for a time: how fast a machine is decides nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bridge.simulators.server import HelpdeskSimulator

# No test waits for so long, unless it fails.
LONG_S = 60


def eventually[T](condition: Callable[[], T], *, at_most_s: float = LONG_S, every_s: float = 0.01) -> T:
    """What a look has found, as soon as it finds something; fails where it does not in time."""
    give_up = time.monotonic() + at_most_s
    while not (found := condition()):
        assert time.monotonic() < give_up, "what a test waits for has not come about"
        time.sleep(every_s)
    return found


class HeldCall:
    """A call that waits at the helpdesk, and with it whoever calls there meanwhile."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._released = threading.Event()

    def hold(self) -> None:
        """The first call is held."""
        if not self._arrived.is_set():
            self._arrived.set()
            assert self._released.wait(LONG_S)

    def wait_for_arrival(self) -> None:
        """Returns when the call has come."""
        assert self._arrived.wait(LONG_S)

    def release(self) -> None:
        """The helpdesk goes on with it."""
        self._released.set()


@contextmanager
def held(simulator: HelpdeskSimulator[Any], operation: str) -> Iterator[HeldCall]:
    """Holds the first call of this operation until it is released, at the latest when the block ends."""
    call = HeldCall()
    operation_of = simulator.operation_of

    def hold(method: str, path: str) -> str:
        name = operation_of(method, path)
        if name == operation:
            call.hold()
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "operation_of", hold)
        try:
            yield call
        finally:
            call.release()
