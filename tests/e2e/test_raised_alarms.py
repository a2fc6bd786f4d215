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
from tests.e2e.waiting import judging_ten_seconds, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from bridge.stacks.outcomes import OutcomesQueue

KAPTURE = HELPDESKS[0]
# One tick of the schedule, and one period of the alarm.
TWO_TICKS_S = 130.0


def _tick(aws: Clients) -> None:
    """What the schedule does each minute."""
    answer = aws.lambda_.invoke(FunctionName="ticket-bridge-resolve-doubts", Payload=b"{}")
    assert "FunctionError" not in answer


def _put_simulator_token(stack: Stack, token: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.put(
            f"{stack.urls['kapture']}/_control/token", json={"token": token}, timeout=10
        ).raise_for_status()


def _is_add_key_refused(stack: Stack) -> bool:
    return "add" in Operations(local(stack)).gate("kapture").read().refused


def _raised(stack: Stack, state: StateFolder) -> dict[str, Alarm]:
    return {alarm.name: alarm for alarm in alarms(local(stack, state.root)) if alarm.is_raised}


def _on_the_console(stack: Stack) -> dict[str, str]:
    """What the console's page shows of raised alarms, at its top: their words by their names."""
    with requests.Session() as session:
        session.trust_env = False
        now = session.get(f"{stack.console_url}api/now", timeout=30).json()
    return {alarm["name"]: alarm["description"] for alarm in now["alarms"] if alarm["is_raised"]}


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


@pytest.mark.timeout(400)
def test_a_refused_token_is_told_everywhere_in_the_same_words_and_nothing_is_lost(
    state: StateFolder,
    stack: Stack,
    aws: Clients,
    outcomes_queue: OutcomesQueue,
    doctor: Callable[[], str],
) -> None:
    names = [f"revoked-{uuid.uuid4().hex[:8]}" for _ in range(5)]
    succeeded: list[str] = []

    def all_succeeded() -> bool:
        for event in outcomes_queue.receive(wait_seconds=1):
            if event["data"].get("request_id") in names:
                assert event["type"] == "ticket.added"
                succeeded.append(event["data"]["request_id"])
        return set(succeeded) == set(names)

    _put_simulator_token(stack, "another-token")
    secret: dict[str, Any] = {"SecretId": stack.secret_arns["kapture"]}
    try:
        for name in names:
            body = {"operation": "add", "request_id": name, "ticket": {"title": name}}
            aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
        until(lambda: _is_add_key_refused(stack), seconds=60)
        _tick(aws)
        until(lambda: "token-refused" in _raised(stack, state), seconds=TWO_TICKS_S)

        alarm = _raised(stack, state)["token-refused"]
        assert alarm.description.startswith("The helpdesk refuses our token")
        assert "token-refused" in _first_row(stack)
        assert _on_the_console(stack)["token-refused"] == alarm.description
        report = doctor()
        assert report.startswith("The alarm ")
        assert alarm.description.partition(" First: ")[0] in report

        aws.secretsmanager.put_secret_value(**secret, SecretString='{"token": "another-token"}')
        _tick(aws)
        with judging_ten_seconds(stack, "token-refused"):
            until(lambda: "token-refused" not in _raised(stack, state), seconds=TWO_TICKS_S)
            assert "token-refused" not in doctor()
            assert "token-refused" not in _on_the_console(stack)
        until(all_succeeded, seconds=200)
    finally:
        _put_simulator_token(stack, KAPTURE.credentials["token"])
        aws.secretsmanager.put_secret_value(**secret, SecretString=json.dumps(dict(KAPTURE.credentials)))

    with requests.Session() as session:
        session.trust_env = False
        tickets = session.get(f"{stack.urls['kapture']}/_control/tickets", timeout=10).json()
    made = [ticket["title"] for ticket in (tickets["tickets"] if isinstance(tickets, dict) else tickets)]
    assert [made.count(name) for name in names] == [1] * len(names), "each request made one ticket"
    assert sorted(succeeded) == sorted(names)
