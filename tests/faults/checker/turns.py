"""Functions that take turns on one virtual clock: each waits at its calls, and any can be killed there.

Every thread of a function is a greenlet here: threads would go on in an order of their own. What the layer
takes from Python's library (the monotonic clock, chance, thread pools) is lent out while a schedule runs.
"""

import heapq
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]  # no types


class KilledError(BaseException):
    """Raised in a function that has been killed: nothing in it may catch that."""


@dataclass(eq=False)
class Process:
    """One invocation of a function. It dies at `ends_at`, or at its call number `fuse`."""

    name: str
    ends_at: float
    fuse: int | None = None
    # Whether the deadly call is still carried out.
    acts_first: bool = False
    calls: int = 0
    dead: bool = False
    parked: "set[Turn]" = field(default_factory=set)
    # What follows from its death.
    died: Callable[[], None] = lambda: None


class Turn(greenlet):  # type: ignore[misc]  # as above
    """One thread of a function."""

    def __init__(self, process: Process, run: Callable[[], None], clockwork: greenlet) -> None:
        super().__init__(run, clockwork)
        self.process = process


class Turns:
    """Who goes on next: whoever's moment comes first. The clock moves by nothing else."""

    def __init__(self, chance: random.Random, start: float) -> None:
        self.now = start
        # Where everybody who waits hands the turn back.
        self._clockwork = getcurrent()
        self._chance = chance
        self._due: list[tuple[float, float, int, Callable[[], object]]] = []
        self._places = 0

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Does something at a moment; what is due at the same one comes in any order."""
        self._places += 1
        heapq.heappush(self._due, (max(moment, self.now), self._chance.random(), self._places, action))

    def run_until(self, moment: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Lets time pass up to a moment, or until nothing more is to be waited for."""
        while self._due and self._due[0][0] <= moment and not is_over():
            self.now, _, _, action = heapq.heappop(self._due)
            action()
        if not is_over():
            self.now = max(self.now, moment)

    # ── functions ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def process(self) -> Process:
        """The function whose turn it is."""
        turn = getcurrent()
        assert isinstance(turn, Turn), "only functions make calls"
        return turn.process

    def begin(self, process: Process, run: Callable[[], None]) -> None:
        """Starts a thread of a function. A function that is killed just stops."""

        def lives() -> None:
            try:
                self.check(process)
                run()
            except KilledError:
                self.kill(process)

        turn = Turn(process, lives, self._clockwork)
        self.at(self.now, turn.switch)

    def wait(self, seconds: float) -> None:
        """Lets time pass for the thread whose turn it is. Raises KilledError where its function has died."""
        turn = getcurrent()
        assert isinstance(turn, Turn), "only functions wait"
        until = min(self.now + seconds, turn.process.ends_at)
        if self._due and self._due[0][0] <= until:
            self.at(until, turn.switch)
            self._clockwork.switch()
        else:
            self.now = until
        if self.now >= turn.process.ends_at:
            self.kill(turn.process)
        self.check(turn.process)

    def kill(self, process: Process) -> None:
        """Ends a function with all its threads."""
        if process.dead:
            return
        process.dead = True
        process.died()
        parked, process.parked = process.parked, set()
        for turn in parked:
            self.at(self.now, turn.switch)

    def check(self, process: Process) -> None:
        """Raises KilledError where the function has died."""
        if process.dead:
            raise KilledError

    # ── what the layer takes from Python's library ───────────────────────────────────────────────────────

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The layer's clock, chance and threads are those of this schedule while the block lasts."""
        library: Any = random
        kept = time.monotonic, library._urandom, ThreadPoolExecutor.submit
        pools: Any = ThreadPoolExecutor
        time.monotonic = lambda: self.now
        library._urandom = self._chance.randbytes
        pools.submit = lambda _, work, /, *args, **named: self._submitted(lambda: work(*args, **named))
        try:
            yield
        finally:
            time.monotonic, library._urandom, pools.submit = kept

    def _submitted(self, work: Callable[[], Any]) -> "_Job":
        job, process = _Job(self), self.process

        def run() -> None:
            try:
                job.set_result(work())
            except KilledError:
                raise
            except BaseException as error:  # noqa: BLE001  # as a pool does
                job.set_exception(error)
            waiting, job.waiting = job.waiting, []
            for turn in waiting:
                process.parked.discard(turn)
                self.at(self.now, turn.switch)

        self.begin(process, run)
        return job

    def wait_for(self, job: "_Job") -> None:
        """Lets others go on until a job is done."""
        turn = getcurrent()
        assert isinstance(turn, Turn), "only functions wait"
        while not job.done():
            job.waiting.append(turn)
            turn.process.parked.add(turn)
            self._clockwork.switch()
            self.check(turn.process)


class _Job(Future[Any]):
    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self.waiting: list[Turn] = []

    def result(self, timeout: float | None = None) -> Any:
        self._turns.wait_for(self)
        return super().result(0)
