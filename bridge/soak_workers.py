"""Functions that run as processes of their own, on the true handlers, and can be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.state import PROJECT

sys.path.insert(0, str(PROJECT / "functions"))
# Read when the handlers are imported.
os.environ.update(POWERTOOLS_LOG_LEVEL="ERROR", POWERTOOLS_SERVICE_NAME="soak")

# Imported once, in the server from which every worker is forked: a killed one is replaced at once.
import reconcile
import ticket_api
import ticket_queue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

HANDLERS = {
    "ticket_queue": ticket_queue.handler,
    "ticket_api": ticket_api.handler,
    "reconcile": reconcile.handler,
}
_FORKS = multiprocessing.get_context("forkserver")
# And what the main module imports, which each worker runs anew.
_FORKS.set_forkserver_preload([__name__, "bridge.soak_local", "bridge.soak_stack", "rich.table"])
# Starting a process is not safe for threads.
_starting = threading.Lock()


@dataclass
class _Context:
    """As much of Lambda's context object as the handlers use."""

    function_name: str
    ends_at: float
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:soak"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self.ends_at - time.monotonic()) * 1000), 0)


class DiedError(Exception):
    """The worker ended in mid-call: `how` is "killed", "timed out" or "died of themselves"."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Worker:
    """One instance of a function: takes one event at a time, and is replaced when it has died."""

    def __init__(self, function: str, timeout_s: float, environment: Mapping[str, str], log: Path) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._environment = dict(environment)
        self._log = log
        self._is_ready = False
        self._start()

    def invoke(self, event: Mapping[str, Any], die_after_s: float | None = None) -> Any:
        """The handler's answer; SIGKILL hits it after `die_after_s`, unless it has answered by then.

        Raises:
            DiedError: there is no answer. The next call goes to a new process.
        """
        try:
            if not self._is_ready:
                # Its time begins when it can work, as on Lambda, however busy this machine is.
                self._connection.recv()
                self._is_ready = True
            self._connection.send(event)
            if self._connection.poll(self._timeout_s if die_after_s is None else die_after_s):
                return self._connection.recv()
        except (EOFError, ConnectionError):
            self._replace()
            raise DiedError("died of themselves") from None
        self._replace()
        raise DiedError("timed out" if die_after_s is None else "killed")

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _replace(self) -> None:
        self.stop()
        self._is_ready = False
        self._start()

    def _start(self) -> None:
        with _starting:
            self._connection, theirs = _FORKS.Pipe()
            self._process = _FORKS.Process(
                target=_serve,
                args=(theirs, self._function, self._timeout_s, self._environment, str(self._log)),
                daemon=True,
            )
            self._process.start()
            theirs.close()


def _serve(
    connection: Connection, function: str, timeout_s: float, environment: Mapping[str, str], log: str
) -> None:
    # Ctrl-C is for the one who asked; this process ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in [name for name in os.environ if not name.startswith("POWERTOOLS_")]:
        del os.environ[name]
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    handler: Any = HANDLERS[function]
    connection.send("ready")
    while True:
        try:
            event = connection.recv()
        except EOFError:
            return
        connection.send(handler(event, _Context(function, time.monotonic() + timeout_s)))
