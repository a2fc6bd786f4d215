"""The checks of `bridge smoke`, where a stack does not behave."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from bridge.checks.smoke import run
from bridge.local.folder import Folder
from helpdesk.store.gate import GateState
from tests.unit.test_doctor import OPEN


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

    target = SimpleNamespace(api_url="https://api")
    smoke: Any = SimpleNamespace(made=[], stack=SimpleNamespace(target=target, api_key="key", send=send))

    result = run(smoke, "refusals")

    assert (result.state, type(error).__name__ in result.said) == ("failed", True)
    assert "canary" not in repr(result)


def test_a_form_that_verifies_nobody_is_tried_without_a_secret_whatever_its_file_ends_with(
    tmp_path: Path,
) -> None:
    def no_secret(**_: str) -> Any:
        raise AssertionError("a secret is asked for")

    sent: list[str] = []

    def send(_method: str, address: str, *_: object) -> Any:
        sent.append(address)
        return SimpleNamespace(status_code=202, text="")

    for name in ("forms", "samples"):
        (tmp_path / name).mkdir()
    (tmp_path / "forms" / "open.yml").write_text(OPEN)
    becomes = {"operation": "add", "ticket": {"title": "t"}}
    sample = {"send": {"form": "open", "body": {"title": "t"}}, "becomes": becomes}
    (tmp_path / "samples" / "form_add_open.json").write_text(json.dumps(sample))
    target = SimpleNamespace(
        api_url="https://api", secretsmanager=SimpleNamespace(get_secret_value=no_secret)
    )
    stack = SimpleNamespace(target=target, send=send)
    smoke: Any = SimpleNamespace(made=[], own=Folder(tmp_path), local=None, stack=stack)

    result = run(smoke, "forms")

    assert (result.state, sent) == ("passed", ["https://api/forms/open"]), result.said
