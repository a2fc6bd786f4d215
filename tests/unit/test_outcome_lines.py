"""What `bridge outcomes` writes for people."""

from typing import Any

import pytest

from bridge.outcomes import line

ADDED: dict[str, Any] = {
    "type": "ticket.added",
    "subject": "713",
    "time": "2026-11-21T10:00:00.123Z",
    "data": {"request_id": "order-1", "helpdesk": "kapture", "outcome": "succeeded", "ticket_id": "713"},
}
REJECTED: dict[str, Any] = {
    "type": "ticket.rejected",
    "time": "2026-11-21T10:00:00.123Z",
    "data": {
        "request_id": "order-2",
        "code": "invalid_request",
        "message": "fields are wrong",
        "errors": [{"field": "title", "problem": "is missing"}],
    },
}
PROVED: dict[str, Any] = {
    "type": "day.proved",
    "subject": "2026-11-20",
    "time": "2026-11-21T10:00:00+00:00",
    "data": {"helpdesk": "kapture", "outcome": "odd"},
}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (ADDED, "2026-11-21T10:00:00  ticket.added       request order-1  ticket 713"),
        (
            REJECTED,
            "2026-11-21T10:00:00  ticket.rejected    request order-2"
            "  invalid_request: fields are wrong  title: is missing",
        ),
        (PROVED, "2026-11-21T10:00:00  day.proved         kapture 2026-11-20: odd"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_an_event_is_one_line(event: dict[str, Any], told: str) -> None:
    assert line(event) == told
