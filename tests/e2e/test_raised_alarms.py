"""A refused token on the deployed stack: every view says so in the same words, and all clear afterwards."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from bridge import cli
from bridge.local.helpdesks import HELPDESKS
from bridge.operating.operations import Operations
from bridge.stacks.alarms import Alarm, alarms
from bridge.stacks.target import local
from tests.e2e.waiting import invoke, judging_ten_seconds, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from tests.e2e.waiting import Outcomes

KAPTURE = HELPDESKS[0]


def _put_simulator_token(stack: Stack, token: str) -> None:
    KAPTURE.control(stack.urls, "PUT", "token", {"token": token})


def _is_add_key_refused(stack: Stack) -> bool:
    return "add" in Operations(local(stack)).gate("kapture").read().refused


def _raised(stack: Stack, state: StateFolder) -> dict[str, Alarm]:
    return {alarm.name: alarm for alarm in alarms(local(stack, state.root)) if alarm.is_raised}


def _on_the_console(stack: Stack) -> dict[str, str]:
    """What the console's page shows of raised alarms, at its top: their words by their names."""
    with requests.Session() as session:
        session.trust_env = False
        # The console gives a slow stack up in the end, and looks again.
        shown = until(lambda: session.get(f"{stack.console_url}api/now", timeout=120).json().get("alarms"))
    return {alarm["name"]: alarm["description"] for alarm in shown if alarm["is_raised"]}


def _first_row(stack: Stack) -> list[str]:
    """The names of the alarms in the dashboard's first row."""
    clients = local(stack).cloudwatch
    body = clients.get_dashboard(DashboardName=f"ticket-bridge-{stack.region}")["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    (widget,) = [widget for widget in widgets if widget["type"] == "alarm"]
    assert widget["y"] == 0
    return [arn.rpartition(":")[2].removeprefix("ticket-bridge-") for arn in widget["properties"]["alarms"]]


@pytest.fixture
def doctor(state: StateFolder) -> Callable[[], str]:
    def run() -> str:
        # The words without the lines into which they are broken.
        output = (
            CliRunner(mix_stderr=False).invoke(cli.bridge, ["doctor", "--state-dir", str(state.root)]).stdout
        )
        return " ".join(output.split())

    return run


def test_a_refused_token_is_told_everywhere_in_the_same_words_and_nothing_is_lost(
    state: StateFolder,
    stack: Stack,
    aws: Clients,
    outcomes: Outcomes,
    doctor: Callable[[], str],
) -> None:
    names = [f"revoked-{uuid.uuid4().hex[:8]}" for _ in range(5)]

    def words() -> list[str]:
        """What each view says of it, `bridge doctor` last; nothing where it says nothing."""
        alarm = _raised(stack, state).get("token-refused")
        report = doctor()
        return [
            alarm.description if alarm else "",
            _on_the_console(stack).get("token-refused", ""),
            report if "token-refused" in report else "",
        ]

    _put_simulator_token(stack, "another-token")
    secret: dict[str, Any] = {"SecretId": stack.secret_arns["kapture"]}
    try:
        for name in names:
            body = {"operation": "add", "request_id": name, "ticket": {"title": name}}
            aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
        until(lambda: _is_add_key_refused(stack))
        invoke(aws, "resolve-doubts")
        description, shown, report = until(lambda: said if all(said := words()) else [])
        assert description.startswith("The helpdesk refuses our token")
        assert "token-refused" in _first_row(stack)
        assert shown == description
        assert report.startswith("The alarm ")
        assert description.partition(" First: ")[0] in report

        aws.secretsmanager.put_secret_value(**secret, SecretString='{"token": "another-token"}')
        invoke(aws, "resolve-doubts")
        with judging_ten_seconds(stack, "token-refused"):
            until(lambda: not any(words()))
        ended = [outcomes.next(request_id=name)["type"] for name in names]
    finally:
        _put_simulator_token(stack, KAPTURE.credentials["token"])
        aws.secretsmanager.put_secret_value(**secret, SecretString=json.dumps(dict(KAPTURE.credentials)))

    made = [ticket["title"] for ticket in KAPTURE.control(stack.urls, "GET", "tickets")]
    assert [made.count(name) for name in names] == [1] * len(names), "each request made one ticket"
    assert ended == ["ticket.added"] * len(names)
