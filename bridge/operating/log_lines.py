"""Reads the functions' logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bridge.operating.words import OF_AN_OUTAGE
from helpdesk.store.gate import ASKED_TO_WAIT, OUTAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operating.words import Outage
    from bridge.stacks.target import Target

# A call is logged when its batch has ended: within this time of the moment at which it closed the gate.
_CLOSED_WITHIN_S = 60.0


@dataclass(frozen=True)
class LogLine:
    """One line; `at` is in seconds since the epoch."""

    at: float
    request_id: str
    message: str
    fields: dict[str, Any]


def log_line(event: Any) -> LogLine | None:
    """The line in an event of CloudWatch Logs; None where it is about no request."""
    fields = _fields_in(event)
    if not isinstance(fields.get("request_id"), str):
        return None
    return LogLine(_time_of(fields, event), fields["request_id"], str(fields.get("message", "")), fields)


def _fields_in(event: Any) -> dict[str, Any]:
    """The fields of a line that a function has logged; of any other line none."""
    try:
        fields = json.loads(event["message"])
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _time_of(fields: dict[str, Any], event: Any) -> float:
    # The line's own time: the log's is when the line was taken in.
    try:
        return datetime.strptime(fields["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
    except (KeyError, TypeError, ValueError):
        return float(event.get("timestamp", 0)) / 1000


def read_events(
    target: Target,
    function: str,
    *,
    since: float = 0.0,
    until: float | None = None,
    **fields: str | None,
) -> Iterator[Any]:
    """What a function has logged since a moment, as CloudWatch has it: lines with these fields, if any.

    Raises what botocore raises.
    """
    arguments: dict[str, Any] = {} if until is None else {"endTime": int(until * 1000)}
    meant = [f"($.{name} = {json.dumps(value)})" for name, value in fields.items() if value is not None]
    if meant:
        arguments["filterPattern"] = f"{{ {' && '.join(meant)} }}"
    return events_in(target, function, since, **arguments)


def events_in(
    target: Target, function: str, since: float, *, most_pages: int | None = None, **arguments: Any
) -> Iterator[Any]:
    """The same by CloudWatch's own arguments, at most so many pages."""
    pages = target.logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{target.name}-{function}", startTime=int(since * 1000), **arguments
    )
    try:
        # A page may be empty and have others behind it.
        for page in islice(pages, most_pages):
            yield from page["events"]
    except target.logs.exceptions.ResourceNotFoundException:
        # A function that never ran has no log yet.
        return


def read_warnings(
    target: Target, function: str, *, since: float, until: float | None = None, **fields: str
) -> Iterator[tuple[float, dict[str, Any]]]:
    """A function's warnings with these fields: when each was logged, and all of its fields."""
    fields["level"] = "WARNING"
    for event in read_events(target, function, since=since, until=until, **fields):
        found = _fields_in(event)
        # Not everything that stands in for CloudWatch selects by fields.
        if fields.items() <= found.items():
            yield _time_of(found, event), found


def cause_of(target: Target, outage: Outage) -> str:
    """The code of the call that closed a helpdesk's gate, as the log has it; empty where it is not known."""
    if outage.reason not in (OUTAGE, ASKED_TO_WAIT):
        return ""
    since, until = outage.since - _CLOSED_WITHIN_S, outage.since + _CLOSED_WITHIN_S
    try:
        for _, fields in read_warnings(
            target, "ticket-queue", since=since, until=until, helpdesk=outage.helpdesk
        ):
            code = str(fields.get("code"))
            if code in OF_AN_OUTAGE or code.startswith("http_"):
                return code
    except (BotoCoreError, ClientError):
        # The outage itself is known without the right to read logs.
        return ""
    return ""


def read_lines(target: Target, function: str, *, request_id: str) -> Iterator[LogLine]:
    """A function's lines about one request."""
    for event in read_events(target, function, request_id=request_id):
        line = log_line(event)
        if line is not None and line.request_id == request_id:
            yield line
