"""The figures of the last hour, minute by minute, as CloudWatch has them: what the page's plots show.

CloudWatch takes a cent for each thousand metrics that it is asked for, however many points each has. So it is
asked once a minute at most, and only while somebody looks.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef, MetricDataResultTypeDef

    from bridge.console.connection import Connected
    from bridge.stacks.target import Target

STEP_S = 60
MINUTES = 60
# On a local stack asking costs nothing.
_EVERY_S = {True: 5.0, False: 60.0}
_OUTCOMES = ("Succeeded", "Rejected", "Parked", "Unknown")
# What waits is in flight for most of the time.
_QUEUED = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")

# A figure for each minute, the oldest first; None where there is none.
type Line = list[float | None]


class Metric(NamedTuple):
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str


class Series:
    """Reads the figures of one stack, and keeps them until asking again is worth it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._reading = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._kept_until = 0.0

    def read(self, on: Connected) -> dict[str, Any]:
        """The figures of the last hour. Raises what botocore raises."""
        every_s = _EVERY_S[on.local is not None]
        with self._reading:
            now = self._clock()
            if now >= self._kept_until:
                self._kept = {"every_s": every_s} | last_hour(on, now)
                self._kept_until = now + every_s
            return self._kept


def last_hour(on: Connected, now: float) -> dict[str, Any]:
    """The lines that the page shows, and in `from` the moment at which their first minute begins."""
    begins = (now // STEP_S + 1 - MINUTES) * STEP_S
    names = [helpdesk.name for helpdesk in on.helpdesks]
    queue = (("QueueName", on.target.requests_queue_url.rpartition("/")[2]),)
    queued = [Metric("AWS/SQS", name, queue, "Maximum") for name in _QUEUED]

    def ours(helpdesk: str, name: str, statistic: str) -> Metric:
        of = (("service", on.target.name), ("helpdesk", helpdesk))
        return Metric("TicketBridge", name, of, statistic)

    outcomes = {outcome: [ours(name, outcome, "Sum") for name in names] for outcome in _OUTCOMES}
    doubts = [ours(name, "InDoubt", "Maximum") for name in names]
    latencies = {
        name: [ours(name, "RequestMilliseconds", statistic) for statistic in ("p50", "p99")] for name in names
    }
    every = [*queued, *doubts]
    for group in (*outcomes.values(), *latencies.values()):
        every += group
    lines = _read(on.target, every, begins)
    return {
        "from": begins,
        "step_s": STEP_S,
        # Where nothing ended, nothing is written: that is a zero, and no gap.
        "outcomes": {
            outcome.lower(): [figure or 0.0 for figure in together(lines[metric] for metric in metrics)]
            for outcome, metrics in outcomes.items()
        },
        "latencies": [
            {"title": helpdesk.title, "p50": lines[p50], "p99": lines[p99]}
            for helpdesk, (p50, p99) in zip(on.helpdesks, latencies.values(), strict=True)
        ],
        "waiting": together(lines[metric] for metric in queued),
        "doubts": together(lines[metric] for metric in doubts),
    }


def together(lines: Iterable[Line]) -> Line:
    """The sum of lines, minute by minute; None in a minute in which none has a figure."""
    minutes = zip(*lines, strict=True)
    known = ([figure for figure in minute if figure is not None] for minute in minutes)
    return [sum(figures) if figures else None for figures in known]


def _read(target: Target, metrics: Sequence[Metric], begins: float) -> dict[Metric, Line]:
    answer = target.cloudwatch.get_metric_data(
        MetricDataQueries=[_query(place, metric) for place, metric in enumerate(metrics)],
        StartTime=datetime.fromtimestamp(begins, UTC),
        EndTime=datetime.fromtimestamp(begins + MINUTES * STEP_S, UTC),
    )
    results = {result["Id"]: result for result in answer["MetricDataResults"]}
    return {metric: _line(results[f"m{place}"], begins) for place, metric in enumerate(metrics)}


def _query(place: int, metric: Metric) -> MetricDataQueryTypeDef:
    return {
        "Id": f"m{place}",
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
            },
            "Period": STEP_S,
            "Stat": metric.statistic,
        },
    }


def _line(result: MetricDataResultTypeDef, begins: float) -> Line:
    line: Line = [None] * MINUTES
    for at, figure in zip(result["Timestamps"], result["Values"], strict=True):
        line[int((at.timestamp() - begins) // STEP_S)] = figure
    return line
