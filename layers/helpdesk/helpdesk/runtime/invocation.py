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
# What every part takes for the time of day.
clock: Callable[[], float] = time.time

# What a batch needs after its last call: remembering, publishing, giving back.
_QUEUE_RESERVE_S = 5.0
_API_RESERVE_S = 1.5


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


type Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


def entry(make: Callable[[], object]) -> Callable[[Handler], Handler]:
    """Makes a function the handler of its module, as the module's last statement.

    On Lambda, `make` is called at once: init has a whole processor, and an invocation only its share of it.
    It opens no connection and reads no clock: what it makes is the same in every start.
    """

    def entered(handler: Handler) -> Handler:
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            # The first invocation makes it again, and fails with the same words.
            with suppress(SettingsError):
                make()
        with_log: Handler = logger.inject_lambda_context(handler)
        ready: Handler = functools.wraps(handler)(metrics.log_metrics(with_log))
        gc.enable()
        gc.freeze()
        return ready

    return entered


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
