"""What `bridge outcomes` writes for people."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from bridge.commands.mapping import map_command
from bridge.stacks.outcomes import line

ESC = "\x1b]0;owned\x07\x1b[2J"
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
AUDITED: dict[str, Any] = {
    "type": "day.audited",
    "subject": "2026-11-20",
    "time": "2026-11-21T10:00:00+00:00",
    "data": {"helpdesk": "kapture", "outcome": "discrepancies"},
}


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (ADDED, "2026-11-21 10:00:00Z  ticket.added       request order-1  ticket 713"),
        (
            REJECTED,
            "2026-11-21 10:00:00Z  ticket.rejected    request order-2"
            "  invalid_request: fields are wrong  title: is missing",
        ),
        (AUDITED, "2026-11-21 10:00:00Z  day.audited        kapture 2026-11-20: discrepancies"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_an_event_is_one_line(event: dict[str, Any], shown: str) -> None:
    assert line(event) == shown


def test_a_helpdesks_words_do_not_steer_the_terminal() -> None:
    said = f"{ESC}\r\n2026-11-21T10:00:00  ticket.added\u202e\x9b31m"
    shown = line({**REJECTED, "data": {**REJECTED["data"], "message": said, "errors": [{"field": said}]}})

    assert shown.isprintable()
    assert r"\x1b[2J" in shown


def test_a_persons_words_do_not_steer_the_terminal(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"subject=" + quote(ESC + "\x9b31m").encode())
    form = Path(__file__).parents[2] / "examples" / "forms" / "contact.yaml"

    shown = CliRunner().invoke(map_command, [str(form), str(body), "--answers"]).output

    assert shown.replace("\n", "").isprintable()
    assert "owned" in shown
