"""Stands in for the part of CloudWatch that the emulator leaves out, so that alarms change locally too.

The emulator (MiniStack 1.5.33) keeps metrics and judges alarms when some are put, and nobody puts them: it
reads no figures out of logs, and its queues publish none. What differs from AWS: it judges one stretch of
`Period` x `EvaluationPeriods`, takes no heed of dimensions, and leaves an alarm as it is where nothing comes.
So a zero is put for each alarm that is quiet without figures, as AWS would judge it.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING

import click
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local.state import StateFolder
from bridge.stacks import queues, target
from bridge.stacks.alarms import metric_alarms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef

    from bridge.stacks.target import Target

NAME = "metrics"
_EVERY_S = 2.0
_ZEROS_EVERY_S = 10.0
# A line may come into the log a little after others with a later time.
_OVERLAP_MS = 5000
_MOST_AT_ONCE = 500


class LogReader:
    """Finds figures in the functions' logs, each line once."""

    def __init__(self, stack: Target, prefix: str) -> None:
        self._logs = stack.logs
        self._prefix = prefix
        self._since = int(time.time() * 1000)
        # Lines by their log and text: the emulator gives no ids.
        self._seen: dict[tuple[str, str], int] = {}

    def new(self) -> Iterator[tuple[str, MetricDatumTypeDef]]:
        """Namespace and figure of all that came since the last read."""
        since = self._since - _OVERLAP_MS
        self._seen = {line: at for line, at in self._seen.items() if at >= since}
        self._since = int(time.time() * 1000)
        for group in self._logs.describe_log_groups(logGroupNamePrefix=self._prefix)["logGroups"]:
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=since
            )
            for event in pages.search("events[]"):
                line = (group["logGroupName"], event["message"])
                if line not in self._seen:
                    self._seen[line] = event["timestamp"]
                    yield from figures_in(event["message"])


def figures_in(line: str) -> Iterator[tuple[str, MetricDatumTypeDef]]:
    """Namespace and figure of each metric in a log line; nothing where it is in another format."""
    if not line.startswith('{"_aws"'):
        return
    try:
        content = json.loads(line)
    except ValueError:
        return
    at = datetime.fromtimestamp(content["_aws"]["Timestamp"] / 1000, UTC)
    for directive in content["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            for metric in directive["Metrics"]:
                values = content[metric["Name"]]
                yield (
                    directive["Namespace"],
                    {
                        "MetricName": metric["Name"],
                        "Dimensions": [{"Name": name, "Value": content[name]} for name in names],
                        "Timestamp": at,
                        "Unit": metric.get("Unit", "None"),
                        "Values": values if isinstance(values, list) else [values],
                    },
                )


def zeros(stack: Target) -> Iterator[tuple[str, MetricDatumTypeDef]]:
    """A zero for each alarm that is not raised where no figures come."""
    for alarm in metric_alarms(stack):
        if alarm.get("TreatMissingData") == "notBreaching":
            yield (
                alarm["Namespace"],
                {"MetricName": alarm["MetricName"], "Dimensions": alarm["Dimensions"], "Value": 0.0},
            )


def queue_figures(stack: Target) -> Iterator[tuple[str, MetricDatumTypeDef]]:
    """How many copies are in the dead-letter queue and how many requests wait, as SQS publishes it on AWS.

    A copy that an operator's command reads is hidden for a moment, and counts. A request that waits counts as
    in flight, also where it is not: beside the figure of the dead-letter queue, which the emulator would not
    tell from it, it would raise that queue's alarm.
    """
    for url, name in (
        (stack.dead_letter_queue_url, "ApproximateNumberOfMessagesVisible"),
        (stack.requests_queue_url, "ApproximateNumberOfMessagesNotVisible"),
    ):
        dimensions = [{"Name": "QueueName", "Value": url.rpartition("/")[2]}]
        yield (
            "AWS/SQS",
            {
                "MetricName": name,
                "Dimensions": dimensions,  # type: ignore[typeddict-item]  # the stubs want their own class
                "Value": float(queues.count(stack.sqs, url)),
            },
        )


def put(stack: Target, figures: list[tuple[str, MetricDatumTypeDef]]) -> None:
    """Gives the figures to CloudWatch, which then judges its alarms."""
    for namespace in dict.fromkeys(namespace for namespace, _ in figures):
        mine = [figure for name, figure in figures if name == namespace]
        for some in batched(mine, _MOST_AT_ONCE, strict=False):
            stack.cloudwatch.put_metric_data(Namespace=namespace, MetricData=some)


@click.command()
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(state_dir: Path) -> None:
    """Carry figures from the local stack's logs to its metrics, until stopped."""
    stack = target.local(StateFolder(state_dir).read_stack())
    reader = LogReader(stack, f"/aws/lambda/{stack.name}-")
    zeros_at = 0.0
    while True:
        try:
            figures = list(reader.new())
            if time.monotonic() >= zeros_at:
                figures += [*zeros(stack), *queue_figures(stack)]
                zeros_at = time.monotonic() + _ZEROS_EVERY_S
            put(stack, figures)
        except (BotoCoreError, ClientError) as error:
            # The emulator may be busy with a deployment.
            click.echo(f"not carried: {error}", err=True)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    try:
        main()
    except BridgeError as error:
        raise SystemExit(str(error)) from error
