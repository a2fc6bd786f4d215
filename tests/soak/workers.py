"""Functions that run as processes of their own, on the true handlers, and can be killed at any moment."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# The handlers read these when they are imported.
os.environ.update(POWERTOOLS_LOG_LEVEL="ERROR", POWERTOOLS_SERVICE_NAME="soak")

import resolve_doubts
import ticket_api
import ticket_queue

_HANDLERS = {
    "ticket_queue": ticket_queue.handler,
    "ticket_api": ticket_api.handler,
    "resolve_doubts": resolve_doubts.handler,
}
# A server has imported this module, and forks each worker: a killed one is replaced at once.
_FORKS = multiprocessing.get_context("forkserver")
# And what the main module imports, which each worker runs anew.
_FORKS.set_forkserver_preload([__name__, "tests.soak.ground", "rich.table"])
# Starting a process is not safe for threads.
_starting = threading.Lock()


class WorkerDiedError(Exception):
    """The worker ended before it responded; the text is "killed", "timed out" or "died of themselves"."""


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


class Worker:
    """One instance of a function: takes one event at a time, and is replaced when it has died."""

    def __init__(self, function: str, timeout_s: float, environment: Mapping[str, str], log: Path) -> None:
        self._timeout_s = timeout_s
        self._arguments = (function, timeout_s, dict(environment), str(log))
        self._is_ready = False
        self._start()

    def invoke(self, event: Mapping[str, Any], kill_after_s: float | None = None) -> Any:
        """The handler's response; SIGKILL hits it after `kill_after_s`, unless it has responded by then.

        Raises:
            WorkerDiedError: there is no response. The next event goes to a new process.
        """
        try:
            if not self._is_ready:
                # Its time begins when it can work, as on Lambda, however busy this machine is.
                self._connection.recv()
                self._is_ready = True
            self._connection.send(event)
            if self._connection.poll(self._timeout_s if kill_after_s is None else kill_after_s):
                return self._connection.recv()
            death = "timed out" if kill_after_s is None else "killed"
        except (EOFError, ConnectionError):
            death = "died of themselves"
        self.stop()
        self._start()
        raise WorkerDiedError(death)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self) -> None:
        with _starting:
            self._connection, theirs = _FORKS.Pipe()
            self._process = _FORKS.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            self._process.start()
            theirs.close()
        self._is_ready = False


def _serve(
    connection: Connection, function: str, timeout_s: float, environment: Mapping[str, str], log: str
) -> None:
    # Ctrl-C is for the soak, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in [name for name in os.environ if not name.startswith("POWERTOOLS_")]:
        del os.environ[name]
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    handler: Any = _HANDLERS[function]
    connection.send("ready")
    while True:
        try:
            event = connection.recv()
        except EOFError:
            return
        connection.send(handler(event, _Context(function, time.monotonic() + timeout_s)))
