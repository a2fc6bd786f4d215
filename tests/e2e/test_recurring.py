"""What runs by the clock, on the deployed stack: the watch, the audit, and recurring requests."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from bridge import cli
from bridge.local.helpdesks import HELPDESKS, LocalHelpdesk
from bridge.local.sam import STACK_NAME
from bridge.sending.samples import CallbackSend
from bridge.stacks import target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from bridge.sending.triggers import Triggers
    from bridge.stacks.outcomes import OutcomesQueue

STATES = {"kapture": "PS", "socialboards": "pending"}


def until[T](condition: Callable[[], T], seconds: float = 60) -> T:
    """What a look has found, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)
    return result


def invoke(aws: Clients, function: str) -> dict[str, Any]:
    def answered() -> dict[str, Any]:
        answer = aws.lambda_.invoke(FunctionName=f"{STACK_NAME}-{function}", Payload=b"{}")
        counts: dict[str, Any] = json.loads(answer["Payload"].read())
        # Where the schedule starts it at the same moment, the emulator may lose the folder of its code.
        is_lost = counts.get("errorType") == "FileNotFoundError" and "ministack-lambda" in str(counts)
        assert is_lost or "FunctionError" not in answer, counts
        return {} if is_lost else counts

    return until(answered)


@contextmanager
def variables(aws: Clients, function: str, **changed: str) -> Iterator[None]:
    """Gives a function other settings for a while."""
    name = f"{STACK_NAME}-{function}"
    own = aws.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": own | changed})
    try:
        yield
    finally:
        aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": own})


def add(aws: Clients, stack: Stack, helpdesk: LocalHelpdesk, title: str) -> str:
    """Adds a ticket, and returns its id."""
    body = {"operation": "add", "helpdesk": helpdesk.name, "request_id": title, "ticket": {"title": title}}
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))

    def made() -> list[str]:
        stored = requests.get(f"{stack.urls[helpdesk.name]}/_control/tickets", timeout=10).json()
        return [str(ticket["ticket_id"]) for ticket in stored if ticket["title"] == title]

    [ticket_id] = until(made)
    return ticket_id


def changes(outcomes_queue: OutcomesQueue, ticket_id: str) -> list[dict[str, Any]]:
    """What is published of a ticket's changes until nothing more comes."""
    changes: list[dict[str, Any]] = []
    while events := outcomes_queue.receive(wait_seconds=2):
        changes += [event for event in events if event["type"] == "ticket.changed"]
    return [event["data"] for event in changes if event["data"]["ticket_id"] == ticket_id]


@pytest.mark.parametrize("helpdesk", HELPDESKS, ids=lambda helpdesk: helpdesk.name)
def test_a_change_at_the_helpdesk_is_told_once_by_callback_and_watch_together(
    stack: Stack, aws: Clients, triggers: Triggers, outcomes_queue: OutcomesQueue, helpdesk: LocalHelpdesk
) -> None:
    ticket_id = add(aws, stack, helpdesk, f"watched-{helpdesk.name}")
    with variables(aws, "watch", WATCH_MINUTES="0.001"):
        until(lambda: invoke(aws, "watch").get("looked"))
        changed = requests.put(
            f"{stack.urls[helpdesk.name]}/_control/tickets/{ticket_id}",
            json={"state": STATES[helpdesk.name]},
            timeout=10,
        )
        assert changed.status_code == 200, changed.text
        until(lambda: invoke(aws, "watch").get("changed"))
        if helpdesk.name == "kapture":
            called = CallbackSend(trigger="callback", helpdesk="kapture", body={"ticketId": ticket_id})
            assert triggers.send(called).status == 200
        for _ in range(3):
            invoke(aws, "watch")

        [change] = changes(outcomes_queue, ticket_id)
    assert change["ticket"]["sub_status"]["key"] == STATES[helpdesk.name]


def test_the_audit_names_what_the_helpdesk_and_the_ledger_do_not_agree_about(
    stack: Stack, state: StateFolder, aws: Clients
) -> None:
    helpdesk = HELPDESKS[0]
    deleted, copied, forgotten = (add(aws, stack, helpdesk, f"audited-{number}") for number in range(3))
    control = f"{stack.urls[helpdesk.name]}/_control/tickets"
    requests.delete(f"{control}/{deleted}", timeout=10).raise_for_status()
    copy = requests.post(f"{control}/{copied}/copy", timeout=10).json()["ticket_id"]
    dynamodb = target.local(stack).dynamodb
    dynamodb.delete_item(TableName=stack.ledger_table, Key={"pk": {"S": "request#audited-2"}})

    # Today is as good as any day that is over.
    with variables(aws, "daily-audit", AUDIT_AFTER_HOURS="-24"):
        assert invoke(aws, "daily-audit")["audited"] > 0

    shown = CliRunner().invoke(cli.bridge, ["audit", "--json", "--state-dir", str(state.root)])
    assert shown.exit_code == 1, shown.output
    reports = map(json.loads, shown.output.splitlines())
    discrepancies = {tuple(each.values()) for report in reports for each in report["discrepancies"]}
    assert {
        ("missing", deleted, "audited-0"),
        ("added_twice", copy, "audited-1"),
        ("not_in_ledger", forgotten, None),
    } <= discrepancies
    table = CliRunner().invoke(cli.bridge, ["audit", "--state-dir", str(state.root)]).output
    assert f"ticket {deleted}, request audited-0: it was added, and the helpdesk shows it no more" in table


def test_a_recurring_request_makes_one_ticket_however_often_a_tick_comes(stack: Stack, aws: Clients) -> None:
    helpdesk = HELPDESKS[0]

    def made() -> list[Any]:
        stored = requests.get(f"{stack.urls[helpdesk.name]}/_control/tickets", timeout=10).json()
        return [ticket for ticket in stored if ticket["title"] == "Each minute"]

    until(made, seconds=120)
    # The tick comes again, as the emulator's next one would be.
    target = aws.scheduler.get_schedule(Name="each-minute")["Target"]
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=target["Input"])
    aws.scheduler.delete_schedule(Name="each-minute")

    add(aws, stack, helpdesk, "after-the-tick")
    assert len(made()) == 1
