"""`bridge smoke` on the deployed stack: what it shows, what it leaves, and that it sees what is broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import requests
from click.testing import CliRunner

from bridge import cli
from bridge.local.sam import STACK_NAME
from bridge.stacks import deployment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.testing import Result

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder

# Figures take a minute to come: they have a test of their own in test_raised_alarms.py. The pause is below.
QUICK = ("bus", "budget", "refusals", "waiting", "forms", "dashboard", "parked", "schedule", "subscription")


def _smoke(state: StateFolder, checks: Sequence[str], *options: str) -> Result:
    selected = [part for check in checks for part in ("--only", check)]
    arguments = ["smoke", "local", "--state-dir", str(state.root), *selected, *options]
    return CliRunner(mix_stderr=False).invoke(cli.bridge, arguments)


def _report(done: Result) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_stack_as_it_is_shipped_passes_and_keeps_nothing_but_tickets(
    state: StateFolder, stack: Stack, aws: Clients, nothing_parked: None
) -> None:
    queues = set(aws.sqs.list_queues()["QueueUrls"])
    values = deployment.running_parameters(aws.cloudformation, STACK_NAME)

    done = _smoke(state, QUICK, "--json")

    report = _report(done)
    assert {name: (check["state"], check["said"]) for name, check in report.items()} == {
        name: ("passed", check["said"]) for name, check in report.items()
    }
    assert (done.exit_code, [*report]) == (0, [*QUICK])
    assert report["parked"]["said"] == "50 listed three times, redriven, and dropped"
    assert deployment.running_parameters(aws.cloudformation, STACK_NAME) == values
    assert set(aws.sqs.list_queues()["QueueUrls"]) == queues
    assert not [s for s in aws.scheduler.list_schedules()["Schedules"] if "smoke" in s["Name"]]


def test_what_is_broken_fails_its_check_and_not_the_others(state: StateFolder, stack: Stack) -> None:
    fault = {"operation": "add", "fault": {"status": 400, "body": '{"status": "failed", "message": "no"}'}}
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"{stack.urls['kapture']}/_control/faults", json=fault, timeout=10).raise_for_status()
        try:
            done = _smoke(state, ["bus", "refusals"], "--json")
        finally:
            session.delete(f"{stack.urls['kapture']}/_control/faults", timeout=10).raise_for_status()

    report = _report(done)
    assert done.exit_code == 1
    assert [check["state"] for check in report.values()] == ["failed", "passed"]
    assert "ended as rejected" in report["bus"]["said"]


def test_a_pause_of_fifty_requests_ends_with_a_ticket_for_each(state: StateFolder, stack: Stack) -> None:
    done = _smoke(state, ["pause"])

    assert done.exit_code == 0, done.output
    assert "50 requests, 50 tickets" in done.stdout
    assert "50 tickets stay at the helpdesk" in done.stdout


def test_bench_measures_conditional_writes_in_a_table_that_it_takes_away(
    state: StateFolder, stack: Stack, aws: Clients
) -> None:
    tables = set(aws.dynamodb.list_tables()["TableNames"])

    done = _smoke(state, (), "--bench", "--json")

    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["problems"]) == (0, [])
    assert set(aws.dynamodb.list_tables()["TableNames"]) == tables
