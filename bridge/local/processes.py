"""Starts programs in groups of their own, and ends those groups without ever touching another program.

A group is known by the pid of its first process and by the time when that process started. A pid that the
system has given to another program since then has another start time and is left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERM_SECONDS = 2.0
KILL_SECONDS = 5.0

# Popen complains when it is collected while its program runs, and only the parent can reap a program.
_children: dict[int, subprocess.Popen[bytes]] = {}
# The stop signals that came since stop_signals_raise began.
_stops: list[int] = []


@dataclass(frozen=True)
class Group:
    """One started program and everything that it starts."""

    name: str
    pid: int
    started: str


class _Row(NamedTuple):
    group: int
    started: str
    is_zombie: bool


def start(
    name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Group:
    """Start a program in a session of its own, its output going to `log`.

    Raises BridgeError when the program is not there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BridgeError(f"cannot start {name} ({command[0]}): {error.strerror}") from error
    _children[child.pid] = child
    row = _table().get(child.pid)
    return Group(name, child.pid, row.started if row else "")


def exit_code(group: Group) -> int | None:
    """The exit status of a program that this process started, None while it runs."""
    return _children[group.pid].poll()


def members(group: Group) -> list[int]:
    """The pids of the group that still run."""
    return _members(group, _table())


def stop(groups: Iterable[Group]) -> None:
    """End the groups: by SIGTERM, then by SIGKILL. Groups that are gone are no error.

    Raises BridgeError naming what could not be ended.
    """
    ending = list(groups)
    left = _signal_and_wait(ending, signal.SIGTERM, TERM_SECONDS)
    left = _signal_and_wait(left, signal.SIGKILL, KILL_SECONDS)
    for group in ending:
        child = _children.pop(group.pid, None)
        if child is not None and group not in left:
            child.wait(KILL_SECONDS)
    if left:
        names = ", ".join(f"{group.name} (pids {members(group)})" for group in left)
        raise BridgeError(f"still running after SIGKILL: {names}")


@contextmanager
def stop_signals_raise() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block like Ctrl-C, so that its clean-up runs.

    Only the first signal does: an impatient second one must not cut the clean-up short.
    """
    _stops.clear()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _stops.append(number)
        if len(_stops) == 1:
            raise KeyboardInterrupt

    with _handling(interrupt):
        yield


def check_stop() -> None:
    """Raise a Ctrl-C again that got lost, as one does that strikes while Python runs a finalizer."""
    if _stops:
        raise KeyboardInterrupt


@contextmanager
def stop_signals_wait() -> Iterator[None]:
    """Signals that would end the block are kept until it is through, and then raised as one Ctrl-C."""
    received: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    # A handler and not SIG_IGN: what is ignored stays ignored in the programs that are started meanwhile.
    with _handling(keep):
        yield
    if received:
        raise KeyboardInterrupt


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _signal_and_wait(groups: list[Group], number: int, seconds: float) -> list[Group]:
    """Signal every group and wait for all of them together; returns those with members left."""
    table = _table()
    left = [group for group in groups if _members(group, table)]
    for group in left:
        # The group may be gone since the table was read.
        try:
            os.killpg(group.pid, number)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        time.sleep(0.03)
        for group in left:
            child = _children.get(group.pid)
            if child is not None:
                child.poll()
        table = _table()
        left = [group for group in left if _members(group, table)]
    return left


def _members(group: Group, table: Mapping[int, _Row]) -> list[int]:
    if _boot() != group.started.partition("/")[0]:
        return []
    first = table.get(group.pid)
    if first is not None and first.started != group.started:
        # The system reuses a pid only when no group of that number is left either.
        return []
    return [pid for pid, row in table.items() if row.group == group.pid and not row.is_zombie]


def _table() -> dict[int, _Row]:
    return _table_of_proc() if sys.platform == "linux" else _table_of_ps()


def _table_of_proc() -> dict[int, _Row]:
    rows = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        # The second field is the program's name in brackets, which may itself hold blanks and brackets.
        fields = text.rpartition(")")[2].split()
        # The first thread may be over while others still hold the program's ports.
        is_zombie = fields[0] == "Z" and int(fields[17]) <= 1
        rows[int(folder.name)] = _Row(int(fields[2]), f"{_boot()}/{fields[19]}", is_zombie)
    return rows


def _table_of_ps() -> dict[int, _Row]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat=,lstart="],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    rows = {}
    for line in listing.stdout.splitlines():
        pid, group, state, started = line.split(None, 3)
        rows[int(pid)] = _Row(int(group), f"{_boot()}/{started.strip()}", state.startswith("Z"))
    return rows


@cache
def _boot() -> str:
    """What tells this run of the system from others, since Linux counts start times from the boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"
