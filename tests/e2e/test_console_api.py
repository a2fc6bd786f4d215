"""The console's interface without a browser, on the deployed stack."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.console.guard import TOKEN_HEADER
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.state import Stack

type Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(stack: Stack) -> Iterator[Ask]:
    """Asks the console as its page does; with a body it acts."""
    with requests.Session() as session:
        session.trust_env = False
        token = re.search(r'name="token" content="([^"]+)"', session.get(stack.console_url, timeout=120).text)
        assert token

        def asking(path: str, body: Any = None, **query: str) -> dict[str, Any]:
            url = f"{stack.console_url}api/{path}"
            if body is None:
                answer = session.get(url, params=query, timeout=120)
            else:
                answer = session.post(url, json=body, headers={TOKEN_HEADER: token[1]}, timeout=120)
            reply: dict[str, Any] = answer.json()
            assert (answer.status_code == 200) == ("error" not in reply)
            return reply

        yield asking


def _now(ask: Ask) -> dict[str, Any]:
    """A look. The console gives one up that takes too long; then it looks again."""
    return until(lambda: {} if "error" in (seen := ask("now")) else seen)


def _is_shown(ask: Ask, request_id: str, state: str) -> bool:
    shown = _now(ask)["requests"]
    return (request_id, state) in [(request["request_id"], request["state"]) for request in shown]


def test_one_look_shows_all_of_the_stack(ask: Ask) -> None:
    now = _now(ask)

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
    until(lambda: _is_shown(ask, tried[-1], "succeeded"))


def test_a_wrong_request_is_told_field_by_field_and_not_sent(ask: Ask) -> None:
    reply = ask("requests", {"operation": "add", "ticket": {"title": "", "details": 5}})

    assert {error["field"] for error in reply["errors"]} == {"ticket.title", "ticket.details"}


def test_nothing_but_a_simulator_is_made_to_fail_and_no_stranger_is_paused(ask: Ask) -> None:
    assert "no switch" in ask("simulate", {"helpdesk": "kapture", "what": "burn"})["error"]
    assert "not simulated" in ask("simulate", {"helpdesk": "elsewhere", "what": "down"})["error"]
    assert "is no helpdesk of" in ask("pause", {"helpdesk": "elsewhere"})["error"]
