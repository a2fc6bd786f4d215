"""The alarms of a stack as CloudWatch has them: the words that every view of a stack shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.stacks.target import Target


@dataclass(frozen=True)
class Alarm:
    """One alarm: its name without the stack's, whether it is raised, and what it says to do."""

    name: str
    is_raised: bool
    description: str
    # Since when it is in this state, in seconds since the epoch.
    since: float = 0.0
    # Without figures nobody has judged it yet: then it is neither raised nor quiet.
    has_figures: bool = True


def metric_alarms(target: Target) -> Iterator[Any]:
    """Every alarm of the stack as CloudWatch has it."""
    pages = target.cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{target.name}-")
    return pages.search("MetricAlarms[]")


def alarms(target: Target) -> list[Alarm]:
    """Every alarm of the stack, the raised ones first, then by name."""
    every = [
        Alarm(
            alarm["AlarmName"].removeprefix(f"{target.name}-"),
            alarm["StateValue"] == "ALARM",
            target.as_here(alarm.get("AlarmDescription", "")),
            alarm["StateUpdatedTimestamp"].timestamp() if "StateUpdatedTimestamp" in alarm else 0.0,
            alarm["StateValue"] != "INSUFFICIENT_DATA",
        )
        for alarm in metric_alarms(target)
    ]
    return sorted(every, key=lambda alarm: (not alarm.is_raised, alarm.name))
