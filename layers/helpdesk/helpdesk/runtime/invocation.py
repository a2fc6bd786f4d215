"""What every invocation has: its logger, its metrics, its clock, and the time it may take."""

import functools
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from aws_lambda_powertools import Logger, Metrics

from helpdesk.errors import SettingsError

logger = Logger()
metrics = Metrics(namespace="TicketBridge")

_ON_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
# What a batch needs after its last call: remembering, publishing, giving back.
_QUEUE_RESERVE_S = 5.0
_API_RESERVE_S = 1.5


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


type Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


class Entry[Parts, Part]:
    """The handler of a function: runs its part, which it makes of parts when it is first needed.

    On Lambda that is at once: init has a whole processor, and an invocation only its share of it. Making
    opens no connection and reads no clock: what is made is the same in every start.
    """

    def __init__(
        self,
        parts: Callable[[], Parts],
        make: Callable[[Parts], Part],
        run: Callable[[Part, dict[str, Any], LambdaContext], dict[str, Any]],
    ) -> None:
        self._parts = parts
        self._make = make
        self._run = run
        self._part: Part | None = None
        functools.update_wrapper(self, run)
        self._logged: Handler = metrics.log_metrics(logger.inject_lambda_context(self._invoke))
        if _ON_LAMBDA in os.environ:
            # The first invocation makes it again, and fails with the same words.
            with suppress(SettingsError):
                self._part = make(parts())
            gc.enable()
            gc.freeze()

    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        return self._logged(event, context)

    def use(self, parts: Parts) -> None:
        """Has the part made of these parts from now on."""
        self._parts, self._part = lambda: parts, None

    def _invoke(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        if self._part is None:
            self._part = self._make(self._parts())
        return self._run(self._part, event, context)


def entry[Parts, Part](
    parts: Callable[[], Parts], make: Callable[[Parts], Part]
) -> Callable[[Callable[[Part, dict[str, Any], LambdaContext], dict[str, Any]]], Entry[Parts, Part]]:
    """Makes a function the handler of its module, as the module's last statement."""
    return lambda run: Entry(parts, make, run)


def queue_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the calls of a batch must end."""
    return _deadline(context, _QUEUE_RESERVE_S)


def api_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the call behind an answer must end."""
    return _deadline(context, _API_RESERVE_S)


def schedule_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the calls of a run must end."""
    return _deadline(context, _QUEUE_RESERVE_S)


def _deadline(context: LambdaContext, reserve_s: float) -> float:
    return time.monotonic() + context.get_remaining_time_in_millis() / 1000 - reserve_s
