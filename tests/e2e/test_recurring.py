"""What runs by the clock, on the deployed stack: the watch, the audit, and recurring requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bridge import cli
from bridge.generate.schedules import SCHEDULED_TIME, Schedule
from bridge.local.helpdesks import HELPDESKS, LocalHelpdesk
from bridge.sending.samples import CallbackSend, ScheduleSend
from bridge.stacks.target import local
from tests.e2e.waiting import invoke, until, variables

if TYPE_CHECKING:
    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from bridge.sending.triggers import Triggers
    from tests.e2e.waiting import Outcomes

STATES = {"kapture": "PS", "socialboards": "pending"}


def add(aws: Clients, stack: Stack, outcomes: Outcomes, helpdesk: LocalHelpdesk, title: str) -> str:
    """Adds a ticket, and returns its id once the ledger knows it too."""
    body = {"operation": "add", "helpdesk": helpdesk.name, "request_id": title, "ticket": {"title": title}}
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
    ticket_id: str = outcomes.next(request_id=title)["data"]["ticket_id"]
    return ticket_id


def made(stack: Stack, helpdesk: LocalHelpdesk, title: str) -> list[str]:
    """The tickets of that title."""
    stored = helpdesk.control(stack.urls, "GET", "tickets")
    return [str(ticket["ticket_id"]) for ticket in stored if ticket["title"] == title]


@pytest.mark.parametrize("helpdesk", HELPDESKS, ids=lambda helpdesk: helpdesk.name)
def test_a_change_at_the_helpdesk_is_told_once_by_callback_and_watch_together(
    stack: Stack, aws: Clients, triggers: Triggers, outcomes: Outcomes, helpdesk: LocalHelpdesk
) -> None:
    ticket_id = add(aws, stack, outcomes, helpdesk, f"watched-{helpdesk.name}")
    state, expected = STATES[helpdesk.name], {"type": "ticket.changed", "ticket_id": ticket_id}

    def is_known() -> bool:
        """Whether a change can be told: the ticket was read, by this run of the watch or by another."""
        invoke(aws, "watch")
        return "state" in local(stack).table.get(f"change#{helpdesk.name}#{ticket_id}")

    def told() -> list[dict[str, Any]]:
        # The run that the clock has started may be the one that tells it.
        invoke(aws, "watch")
        return outcomes.published(**expected)

    with variables(aws, "watch", WATCH_MINUTES="0.001"):
        until(is_known)
        helpdesk.control(stack.urls, "PUT", f"tickets/{ticket_id}", {"state": state})
        [change] = until(told)
        if helpdesk.name == "kapture":
            called = CallbackSend(trigger="callback", helpdesk="kapture", body={"ticketId": ticket_id})
            assert triggers.send(called).status == 200

        assert [again for _ in range(3) for again in told()] == []
    assert change["data"]["ticket"]["sub_status"]["key"] == state


def test_the_audit_names_what_the_helpdesk_and_the_ledger_do_not_agree_about(
    stack: Stack, state: StateFolder, aws: Clients, outcomes: Outcomes
) -> None:
    helpdesk = HELPDESKS[0]
    deleted, copied, forgotten = (
        add(aws, stack, outcomes, helpdesk, f"audited-{number}") for number in range(3)
    )
    helpdesk.control(stack.urls, "DELETE", f"tickets/{deleted}")
    copy = helpdesk.control(stack.urls, "POST", f"tickets/{copied}/copy")["ticket_id"]
    local(stack).table.delete("request#audited-2")

    # Today is as good as any day that is over.
    with variables(aws, "daily-audit", AUDIT_AFTER_HOURS="-24"):
        invoke(aws, "daily-audit")

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


def test_a_recurring_request_makes_one_ticket_however_often_a_tick_comes(
    stack: Stack, triggers: Triggers, outcomes: Outcomes
) -> None:
    weekly = Schedule.model_validate(
        {
            "description": "Each week",
            "schedule": "cron(0 9 ? * MON *)",
            "request": {"operation": "add", "ticket": {"title": "Each week"}},
        }
    )
    tick = json.loads(weekly.input("each-week").replace(SCHEDULED_TIME, "2026-01-05T09:00:00Z"))

    ended = []
    for _ in range(2):
        triggers.send(ScheduleSend(trigger="schedule", input=tick))
        ended.append(outcomes.next(request_id=tick["request_id"]))

    assert [outcome["data"]["outcome"] for outcome in ended] == ["succeeded", "succeeded"]
    assert len(made(stack, HELPDESKS[0], "Each week")) == 1
