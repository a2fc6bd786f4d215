"""The console's interface without a browser, on the deployed stack."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.console.guard import TOKEN_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack

pytestmark = pytest.mark.usefixtures("nothing_parked")

type Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(stack: Stack) -> Iterator[Ask]:
    """Asks the console as its page does; with a body it acts."""
    with requests.Session() as session:
        session.trust_env = False
        token = re.search(r'name="token" content="([^"]+)"', session.get(stack.console_url, timeout=30).text)
        assert token

        def asking(path: str, body: Any = None, **query: str) -> dict[str, Any]:
            url = f"{stack.console_url}api/{path}"
            if body is None:
                answer = session.get(url, params=query, timeout=30)
            else:
                answer = session.post(url, json=body, headers={TOKEN_HEADER: token[1]}, timeout=30)
            reply: dict[str, Any] = answer.json()
            assert (answer.status_code == 200) == ("error" not in reply)
            return reply

        yield asking


def _state(ask: Ask, request_id: str) -> str | None:
    known = {request["request_id"]: request["state"] for request in ask("now")["requests"]}
    return known.get(request_id)


def _await_state(ask: Ask, request_id: str, state: str) -> None:
    deadline = time.monotonic() + 60
    while (seen := _state(ask, request_id)) != state:
        assert time.monotonic() < deadline, f"{request_id} is {seen}"
        time.sleep(0.3)


def test_one_look_shows_all_of_the_stack(ask: Ask) -> None:
    now = ask("now")

    assert now["problems"] == []
    assert [helpdesk["name"] for helpdesk in now["helpdesks"]] == ["kapture", "socialboards"]
    assert {alarm["name"] for alarm in now["alarms"]} >= {"dead-letters", "token-refused"}
    assert all(alarm["description"] for alarm in now["alarms"])
    assert now["queues"].keys() == {"waiting", "parked"}
    assert [(simulator["name"], simulator["takes_token"]) for simulator in now["simulators"]] == [
        ("kapture", True),
        ("socialboards", True),
    ]


def test_each_try_of_each_form_is_a_request_of_its_own(ask: Ask) -> None:
    tried = [
        ask("submissions", {"form": form["form"], "body": form["body"].replace("\r\n", "\n")})["request_id"]
        for _ in range(2)
        for form in ask("choices")["forms"]
    ]

    assert len(set(tried)) == len(tried) >= 16
    _await_state(ask, tried[-1], "succeeded")


def test_a_wrong_request_is_told_field_by_field_and_not_sent(ask: Ask) -> None:
    reply = ask("requests", {"operation": "add", "ticket": {"title": "", "details": 5}})

    assert {error["field"] for error in reply["errors"]} == {"ticket.title", "ticket.details"}


def test_a_pause_is_shown_and_taken_back(ask: Ask) -> None:
    def state() -> str:
        return str(ask("now")["helpdesks"][1]["state"])

    ask("pause", {"helpdesk": "socialboards"})
    try:
        assert state() == "paused"
    finally:
        ask("resume", {"helpdesk": "socialboards"})

    assert state() == "open"
    assert "is no helpdesk of" in ask("pause", {"helpdesk": "elsewhere"})["error"]


def test_a_dry_run_sends_nothing_and_a_redrive_what_is_meant(ask: Ask, aws: Clients, stack: Stack) -> None:
    request_id = f"console-api-{uuid.uuid4().hex[:8]}"
    # Kapture wants a sub-status, which only its own check knows.
    body = {"operation": "update", "request_id": request_id, "ticket_id": "1", "changes": {"comment": "c"}}
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
    _await_state(ask, request_id, "rejected")

    order = {"request_id": request_id}
    assert [ask("redrive", order | {"dry_run": True})["count"] for _ in range(2)] == [1, 1]
    parked = ask("parked", {})["copies"]
    assert request_id in [copy["request_id"] for copy in parked]
    assert all("body" not in copy for copy in parked), "customers' words stay where they are"
    assert ask("redrive", order | {"dry_run": False})["count"] == 1
    story = ask("trace", request_id=request_id)
    assert story["stands"].startswith("rejected (invalid_request: ")
    assert [error["field"] for error in story["errors"]] == ["changes.sub_status"]


def test_what_is_dropped_is_gone_and_the_story_says_why(ask: Ask, aws: Clients, stack: Stack) -> None:
    order = {"request_id": f"console-api-{uuid.uuid4().hex[:8]}"}
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps({**order, "ticket": {}}))
    _await_state(ask, order["request_id"], "rejected")

    assert ask("drop", order | {"why": "", "dry_run": True})["count"] == 1
    assert "Say why" in ask("drop", order | {"why": " ", "dry_run": False})["error"]
    assert ask("drop", order | {"why": "a test", "dry_run": False})["count"] == 1

    assert order["request_id"] not in [copy["request_id"] for copy in ask("parked", {})["copies"]]
    steps = [step["text"] for step in ask("trace", **order)["steps"]]
    assert any(text.endswith("dropped its parked copy: a test") for text in steps)


def test_a_simulator_is_told_to_fail_and_nothing_else_is(ask: Ask) -> None:
    assert "Slow" in ask("simulate", {"helpdesk": "kapture", "what": "slow"})["words"]
    assert [fault["label"] for fault in ask("now")["simulators"][0]["faults"]] == ["Slow (3 s)"]
    ask("simulate", {"helpdesk": "kapture", "what": "clear"})
    assert ask("now")["simulators"][0]["faults"] == []

    assert "no switch" in ask("simulate", {"helpdesk": "kapture", "what": "burn"})["error"]
    assert "not simulated" in ask("simulate", {"helpdesk": "elsewhere", "what": "down"})["error"]
