"""Recipes of docs/producers.md, carried out on the deployed stack with the very words of the page."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml  # type: ignore[import-untyped]  # it has no types

from bridge.local import emulator
from bridge.local.sam import STACK_NAME
from bridge.local.state import PROJECT
from tests.e2e.waiting import GENEROUS_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack
    from tests.e2e.waiting import Outcomes

# AWS itself alone may use the page's name, and the emulator's alarms send no events.
OF_ALARMS = "test.cloudwatch"
PAGE = (PROJECT / "docs" / "producers.md").read_text().replace("aws.cloudwatch", OF_ALARMS)


def _block(heading: str, language: str) -> str:
    """The first block of a language below a heading."""
    block = re.search(
        rf"^```{language}\n(.*?)^```", PAGE[PAGE.index(f"\n{heading}\n") :], re.MULTILINE | re.DOTALL
    )
    assert block
    return block[1]


@pytest.fixture
def rules_of(stack: Stack, aws: Clients) -> Iterator[Callable[[str], None]]:
    """Makes the rules and targets that the page shows below a heading."""
    made: list[str] = []
    queue = aws.sqs.get_queue_attributes(QueueUrl=stack.requests_queue_url, AttributeNames=["QueueArn"])
    queue_arn = queue["Attributes"]["QueueArn"]

    def make(heading: str) -> None:
        commands = _block(heading, "sh")
        for name, pattern in re.findall(
            r"put-rule --name (\S+) --event-pattern '(.*?)'\n", commands, re.DOTALL
        ):
            aws.events.put_rule(Name=name, EventPattern=pattern)
            made.append(name)
        for name, targets in re.findall(
            r"put-targets --rule (\S+) --targets '(\[.*?\])'\n", commands, re.DOTALL
        ):
            text = targets.replace("'\"$REQUESTS_QUEUE_ARN\"'", queue_arn)
            assert aws.events.put_targets(Rule=name, Targets=json.loads(text))["FailedEntryCount"] == 0

    yield make
    assert made
    for name in made:
        aws.events.remove_targets(Rule=name, Ids=["tickets"])
        aws.events.delete_rule(Name=name)


def _titles(stack: Stack) -> Counter[str]:
    with requests.Session() as session:
        session.trust_env = False
        tickets = session.get(f"{stack.urls['kapture']}/_control/tickets", timeout=10).json()
    return Counter(ticket["title"] for ticket in tickets)


def test_an_event_of_another_bus_becomes_a_ticket(
    aws: Clients, outcomes: Outcomes, stack: Stack, rules_of: Callable[[str], None]
) -> None:
    rules_of("## A rule on another bus")

    for state in ("paid", "failed"):
        detail = json.dumps({"state": state, "order": f"77-{state}"})
        aws.events.put_events(Entries=[{"Source": "shop", "DetailType": "Payment Ended", "Detail": detail}])

    ended = outcomes.next(source="shop", outcome="succeeded")
    assert ended["data"]["request_id"].startswith("payment-")
    assert [title for title in _titles(stack) if title.startswith("Payment of")] == [
        "Payment of order 77-failed failed"
    ]


def test_an_alarm_becomes_a_ticket_and_its_end_closes_it(
    aws: Clients, outcomes: Outcomes, rules_of: Callable[[str], None]
) -> None:
    rules_of("## A CloudWatch alarm")
    ended = {}
    for state, before, operation in (("ALARM", "OK", "add"), ("OK", "ALARM", "update")):
        detail = {
            "alarmName": "orders-failing",
            "state": {"value": state, "reason": 'Threshold Crossed: [10.0] was > 5.0, and "no" was said'},
            "previousState": {"value": before},
        }
        entry: Any = {
            "Source": OF_ALARMS,
            "DetailType": "CloudWatch Alarm State Change",
            "Detail": json.dumps(detail),
        }
        assert aws.events.put_events(Entries=[entry])["FailedEntryCount"] == 0
        ended[operation] = outcomes.next(source="cloudwatch", operation=operation)["data"]

    assert {outcome["outcome"] for outcome in ended.values()} == {"succeeded"}
    assert ended["add"]["ticket_id"] == ended["update"]["ticket_id"]


@pytest.fixture
def nightly(stack: Stack, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs the page's script for a day, as cron does, from a folder that is set up as the page says."""
    script = tmp_path / "nightly-orders"
    script.write_text(_block("### Each night", "bash").replace("ticket-bridge", STACK_NAME))
    (tmp_path / "orders.yaml").write_text(_block("## A CSV file", "yaml"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "bridge").symlink_to(Path(sys.executable).parent / "bridge")

    def run(day: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", script, day],
            check=False,
            cwd="/",
            env={
                "PATH": os.defpath,
                "HOME": str(tmp_path),
                **emulator.client_environment(stack.endpoint_url),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GENEROUS_S,
        )

    return run


def test_a_nights_rows_become_one_ticket_each_however_often_the_night_is_repeated(
    stack: Stack,
    outcomes: Outcomes,
    nightly: Callable[[str], subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "orders-1.csv").write_text("order,E-mail\nnight-1,ana@example.com\nnight-2,bo@example.com\n")
    result = tmp_path / "orders-1.result.csv"

    first, second = nightly("1"), nightly("1")
    rows = list(csv.DictReader(result.read_text().splitlines()))
    result.unlink()
    third = nightly("1")
    # Those of the rows that were sent once more, too.
    for _ in range(4):
        outcomes.next(source="csv/orders", outcome="succeeded")
    (tmp_path / "orders-2.csv").write_text("order,E-mail\nnight-3,nonsense\n")
    wrong = nightly("2")

    for done in (first, second, third):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [(row["state"], row["detail"]) for row in rows] == [("sent", "by an earlier run")] * 2
    titles = _titles(stack)
    assert [titles[f"Damaged parcel of order night-{number}"] for number in (1, 2, 3)] == [1, 1, 0]
    assert (wrong.returncode, wrong.stdout.splitlines()[-1]) == (
        1,
        "1,orders:night-3,wrong,ticket.requester.email must be an e-mail address,",
    )
    assert "nonsense" not in wrong.stdout


def test_the_scheduled_workflow_runs_the_same_script() -> None:
    workflow = yaml.safe_load(_block("### Each night", "yaml"))

    # YAML takes `on` for a truth.
    assert workflow[True]["schedule"] == [{"cron": "30 2 * * *"}]
    assert workflow["jobs"]["orders"]["steps"][-1]["run"].endswith("./nightly-orders")
