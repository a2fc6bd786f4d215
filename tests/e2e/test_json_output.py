"""What the commands print for programs: objects, one in a line, and nothing else on standard output."""

from __future__ import annotations

import json
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from bridge import cli
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.local.state import Stack, StateFolder


@pytest.fixture
def objects(
    state: StateFolder,
    stack: Stack,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., list[dict[str, Any]]]:
    def run(*arguments: str) -> list[dict[str, Any]]:
        monkeypatch.setenv("BRIDGE_STATE_DIR", str(state.root))
        # Nothing of a developer's own AWS set-up matters to the local stack.
        monkeypatch.setenv("AWS_PROFILE", "gone")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setattr(sys, "argv", ["bridge", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_status_is_what_stack_json_holds(stack: Stack, objects: Callable[..., list[dict[str, Any]]]) -> None:
    assert objects("status") == [stack.as_json()]


def test_a_pause_and_its_end_name_the_helpdesk(objects: Callable[..., list[dict[str, Any]]]) -> None:
    assert objects("pause", "--helpdesk", "socialboards") == [{"helpdesk": "socialboards", "paused": True}]
    assert objects("resume", "--helpdesk", "socialboards") == [{"helpdesk": "socialboards", "paused": False}]


def test_a_request_is_followed_by_program_from_sending_to_redrive(
    objects: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    request_id = f"json-{uuid.uuid4().hex[:8]}"
    # Kapture wants a sub-status, which only its own check knows.
    body = {"operation": "update", "request_id": request_id, "ticket_id": "1", "changes": {"comment": "c"}}
    file = tmp_path / "queue_update.json"
    file.write_text(json.dumps(body))

    assert [(line["trigger"], line["request_id"]) for line in objects("send", str(file))] == [
        ("queue", request_id)
    ]
    copies = until(lambda: objects("redrive", "--request-id", request_id, "--dry-run"))
    assert (copies[0]["code"], json.loads(copies[0]["body"])) == ("invalid_request", body)
    assert request_id in [entry.get("request_id") for entry in objects("parked")]
    (story,) = objects("trace", request_id)
    assert story["stands"].startswith("rejected (invalid_request: ")
    assert story["errors"] == [{"field": "changes.sub_status", "problem": story["errors"][0]["problem"]}]
    assert all(isinstance(step["at"], float) and step["text"] for step in story["steps"])
    assert len(objects("redrive", "--request-id", request_id, "--yes")) == 1
