"""Reads the functions' log lines that are about one request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class LogLine:
    """One line; `at` is in seconds since the epoch."""

    at: float
    request_id: str
    message: str
    fields: dict[str, Any]


def log_line(event: Any) -> LogLine | None:
    """The line in an event of CloudWatch Logs; None where it is about no request."""
    try:
        fields = json.loads(event["message"])
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("request_id"), str):
        return None
    return LogLine(_time_of(fields, event), fields["request_id"], str(fields.get("message", "")), fields)


def _time_of(fields: dict[str, Any], event: Any) -> float:
    # The line's own time: the log's is when the line was taken in.
    try:
        return datetime.strptime(fields["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
    except (KeyError, TypeError, ValueError):
        return float(event.get("timestamp", 0)) / 1000
