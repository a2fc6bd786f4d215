"""The checks of `bridge smoke`, where a stack does not behave."""

from types import SimpleNamespace
from typing import Any

import pytest
import requests

from bridge.commands.smoke_checks import run
from helpdesk.store.gate import GateState


def _refuse(*_: object) -> None:
    raise AssertionError("an operator's pause is taken back")


@pytest.mark.parametrize("state", [GateState(paused=True), GateState(closed=True)], ids=["paused", "closed"])
def test_a_helpdesk_that_is_paused_or_closed_already_is_left_alone(state: GateState) -> None:
    gate = SimpleNamespace(read=lambda: state, pause=_refuse, resume=_refuse)
    smoke: Any = SimpleNamespace(
        made=[],
        operations=SimpleNamespace(gate=lambda _: gate),
        stack=SimpleNamespace(target=SimpleNamespace(helpdesks=("kapture",))),
    )

    assert run(smoke, "pause").state == "skipped"


@pytest.mark.parametrize(
    "error",
    [requests.ConnectionError("url: /forms/contact/canary-secret"), KeyError("canary-secret")],
    ids=["connection", "malformed"],
)
def test_a_failed_check_prints_no_secret(error: Exception) -> None:
    def send(*_: object) -> None:
        raise error

    smoke: Any = SimpleNamespace(
        made=[], stack=SimpleNamespace(api_url="https://api", api_key="key", send=send)
    )

    result = run(smoke, "refusals")

    assert (result.state, type(error).__name__ in result.said) == ("failed", True)
    assert "canary" not in repr(result)
