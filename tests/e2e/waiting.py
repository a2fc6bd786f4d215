"""Waits for what comes about by itself."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.stacks.target import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Returns as soon as the condition holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


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
