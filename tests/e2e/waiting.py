"""Waits for what comes about by itself."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Returns as soon as the condition holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
