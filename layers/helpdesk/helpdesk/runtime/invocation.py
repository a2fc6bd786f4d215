"""The frame of a handler: its logger, its metrics, its part, and the time that it may take."""

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
# The time that a batch needs after its last call: to record, to publish, to give back.
_QUEUE_RESERVE_S = 5.0
_API_RESERVE_S = 1.5


class LambdaContext(Protocol):
    """The part of Lambda's context object that we use."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


type Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


class Entry[Parts, Part]:
    """The handler of a function. It runs the function's part, and makes that part when it is first needed.

    On Lambda that is at once: init has a whole processor, an invocation only its share. Making the part opens
    no connection and reads no clock: the part is the same after every start.
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
        self._made: tuple[Part] | None = None
        functools.update_wrapper(self, run)
        self._logged: Handler = metrics.log_metrics(logger.inject_lambda_context(self._invoke))
        if _ON_LAMBDA in os.environ:
            # The first invocation tries again, and fails with the same message.
            with suppress(SettingsError):
                self._made = (make(parts()),)
            gc.enable()
            gc.freeze()

    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        return self._logged(event, context)

    def use(self, parts: Parts) -> None:
        """Makes the function's part from these parts from now on."""
        self._parts, self._made = lambda: parts, None

    def _invoke(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        if self._made is None:
            self._made = (self._make(self._parts()),)
        return self._run(self._made[0], event, context)


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
