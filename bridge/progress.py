"""Says that a command is at work when it takes longer than a second, so that nobody takes it for dead."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 1.0


@contextmanager
def at_work(words: str) -> Iterator[None]:
    """The words go to standard error, once, if the block takes longer than a second."""
    timer = threading.Timer(PATIENCE_S, lambda: click.echo(f"{words} …", err=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
