"""Waits for what comes about by itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.local.sam import STACK_NAME
from bridge.stacks.outcomes import OutcomesQueue
from bridge.stacks.target import local
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack

# What an alarm is made of, as CloudWatch takes it and shows it.
_SETTINGS = (
    "AlarmName",
    "AlarmDescription",
    "AlarmActions",
    "OKActions",
    "Namespace",
    "MetricName",
    "Dimensions",
    "Statistic",
    "Period",
    "EvaluationPeriods",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
)
# Only a failure waits for so long. Requests come back within minutes, and a busy machine is slow.
GENEROUS_S = 400.0


def until[T](condition: Callable[[], T]) -> T:
    """The same as `eventually`, for what a deployed stack does."""
    return eventually(condition, at_most_s=GENEROUS_S, every_s=0.2)


class Outcomes:
    """The events that a stack publishes. Each test takes its own, and those of others stay for these."""

    def __init__(self, stack: Stack) -> None:
        self._queue = OutcomesQueue(stack)
        self._events: list[dict[str, Any]] = []

    def next(self, **expected: str) -> dict[str, Any]:
        """The first event not yet taken that has these values, in its data or as its type; waits for it."""
        return until(lambda: self._take(1, expected))[0]

    def published(self, **expected: str) -> list[dict[str, Any]]:
        """All such events that have come by now."""
        return self._take(None, expected)

    def _take(self, most: int | None, expected: dict[str, str]) -> list[dict[str, Any]]:
        while more := self._queue.receive():
            self._events += more
        alike = [
            event
            for event in self._events
            if expected.items() <= {"type": event["type"], **event["data"]}.items()
        ][:most]
        for event in alike:
            self._events.remove(event)
        return alike


def invoke(aws: Clients, function: str, stack: str = STACK_NAME) -> dict[str, Any]:
    """What a function returns that is called as its schedule calls it."""

    def answer() -> list[dict[str, Any]]:
        invoked = aws.lambda_.invoke(FunctionName=f"{stack}-{function}", Payload=b"{}")
        counts: dict[str, Any] = json.loads(invoked["Payload"].read())
        # Where the schedule starts it at the same moment, the emulator may lose the folder of its code.
        is_lost = counts.get("errorType") == "FileNotFoundError" and "ministack-lambda" in str(counts)
        assert is_lost or "FunctionError" not in invoked, counts
        return [] if is_lost else [counts]

    return until(answer)[0]


@contextmanager
def variables(aws: Clients, function: str, **changed: str) -> Iterator[None]:
    """Gives a function other settings for a while."""
    name = f"{STACK_NAME}-{function}"
    own = aws.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": own | changed})
    try:
        yield
    finally:
        aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": own})


@contextmanager
def judging_ten_seconds(stack: Stack, name: str) -> Iterator[None]:
    """For now the alarm judges ten seconds, and not a minute; its state stays as it is."""
    target = local(stack)
    [alarm] = target.cloudwatch.describe_alarms(AlarmNames=[f"{target.name}-{name}"])["MetricAlarms"]
    settings: Any = {key: value for key, value in alarm.items() if key in _SETTINGS}
    target.cloudwatch.put_metric_alarm(**settings | {"Period": 10})
    try:
        yield
    finally:
        target.cloudwatch.put_metric_alarm(**settings)
