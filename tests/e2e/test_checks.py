"""`bridge doctor` on the deployed stack: quiet where all is well, and precise where something is not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from bridge import cli
from bridge.errors import BridgeError
from bridge.learning import facts
from bridge.stacks import local_metrics
from bridge.stacks.alarms import alarms
from bridge.stacks.target import local
from tests.e2e.waiting import invoke, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder

type Doctor = "Callable[..., list[dict[str, str]]]"
CONSUMER = "ticket-bridge-ticket-queue"


@pytest.fixture
def doctor(state: StateFolder, stack: Stack) -> Callable[..., list[dict[str, str]]]:
    """Runs the command, and returns what it finds; other tests' dead letters are none of its business."""

    def run(*options: str) -> list[dict[str, str]]:
        arguments = ["doctor", "--json", "--state-dir", str(state.root), *options]
        result = CliRunner(mix_stderr=False).invoke(cli.bridge, arguments)
        findings = [json.loads(line) for line in result.stdout.splitlines()]
        assert result.exit_code == (1 if findings else 0), result.output
        return [finding for finding in findings if not finding["what"].startswith("The alarm ")]

    return run


def _variables(aws: Clients) -> dict[str, str]:
    return aws.lambda_.get_function_configuration(FunctionName=CONSUMER)["Environment"]["Variables"]


def _raised(stack: Stack) -> list[str]:
    return [alarm.name for alarm in alarms(local(stack)) if alarm.is_raised]


def test_a_stack_as_it_is_shipped_gives_nothing_to_find(doctor: Doctor) -> None:
    assert doctor() == []


def test_learning_finds_a_hidden_marker_and_a_wrong_zone_and_says_what_has_changed(
    state: StateFolder, stack: Stack, aws: Clients, tmp_path: Path
) -> None:
    before = _variables(aws)
    arguments = ["learn", "local", "--helpdesk", "kapture", "--yes", "--wait", "0", "--into", str(tmp_path)]
    _switch(stack, marker_returned=False)
    aws.lambda_.update_function_configuration(
        FunctionName=CONSUMER, Environment={"Variables": before | {"KAPTURE_ZONE": "America/New_York"}}
    )
    try:
        first = CliRunner().invoke(cli.bridge, [*arguments, "--state-dir", str(state.root)])
    finally:
        _switch(stack, marker_returned=True)
        aws.lambda_.update_function_configuration(FunctionName=CONSUMER, Environment={"Variables": before})
    learnt = facts.read(tmp_path / "helpdesk.kapture.json")
    second = CliRunner().invoke(cli.bridge, [*arguments, "--state-dir", str(state.root)])

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert learnt.settings["MarkerField"].value == "title"
    assert learnt.facts["zone.utc_offset_minutes"] == 330
    assert learnt.address == stack.urls["kapture"]
    assert "changed  marker.details.get: absent -> whole" in second.output
    secrets = aws.secretsmanager.get_secret_value(SecretId=stack.secret_arns["kapture"])["SecretString"]
    assert json.loads(secrets)["token"] not in (tmp_path / "helpdesk.kapture.json").read_text()


def _switch(stack: Stack, **switches: bool) -> None:
    _control(stack, "PUT", "switches", switches)


def _control(stack: Stack, method: str, what: str, body: Any = None) -> None:
    with requests.Session() as session:
        session.trust_env = False
        url = f"{stack.urls['kapture']}/_control/{what}"
        session.request(method, url, json=body, timeout=10).raise_for_status()


def test_a_queue_that_hides_and_keeps_too_short_is_found(doctor: Doctor, stack: Stack, aws: Clients) -> None:
    url = stack.requests_queue_url
    kept: Any = {"VisibilityTimeout": "180", "MessageRetentionPeriod": "1209600"}
    aws.sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"VisibilityTimeout": "35", "MessageRetentionPeriod": "86400"}
    )
    try:
        findings = doctor()
    finally:
        aws.sqs.set_queue_attributes(QueueUrl=url, Attributes=kept)

    assert [finding["change"] for finding in findings] == [
        "template.yaml: RequestsQueue, VisibilityTimeout: 180",
        "template.yaml: Globals, LEASE_S: 40",
        "GiveUpAfterHours=0 in bridge.toml",
    ]
    assert doctor() == []


def test_a_budget_that_concurrency_cannot_use_or_does_not_need_is_found(doctor: Doctor, aws: Clients) -> None:
    before = _variables(aws)
    changes = []
    try:
        for budget in ("60", "1000000"):
            more = {"KAPTURE_BUDGET": budget, "LEDGER_DAYS": "5"}
            aws.lambda_.update_function_configuration(
                FunctionName=CONSUMER, Environment={"Variables": before | more}
            )
            changes += doctor()
    finally:
        aws.lambda_.update_function_configuration(FunctionName=CONSUMER, Environment={"Variables": before})

    whats = [finding["what"] for finding in changes]
    assert any(what.startswith("More runs at a time than the budget feeds: 5 batches") for what in whats)
    assert any(what.startswith("The budget cannot be used: 5 batches") for what in whats)
    assert "template.yaml: Globals, LEDGER_DAYS: 28" in [finding["change"] for finding in changes]


def test_a_queue_that_nobody_reads_or_that_takes_the_whole_account_is_found(
    doctor: Doctor, aws: Clients
) -> None:
    (mapping,) = aws.lambda_.list_event_source_mappings(FunctionName=CONSUMER)["EventSourceMappings"]
    uuid = mapping["UUID"]
    limit = aws.lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    try:
        aws.lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)
        (unread,) = doctor()
        aws.lambda_.update_event_source_mapping(
            UUID=uuid, Enabled=True, ScalingConfig={"MaximumConcurrency": limit - 4}
        )
        (crowded,) = doctor()
    finally:
        aws.lambda_.update_event_source_mapping(
            UUID=uuid, Enabled=True, ScalingConfig={"MaximumConcurrency": 5}
        )

    assert unread["change"] == f"aws lambda update-event-source-mapping --uuid {uuid} --enabled"
    assert crowded["change"].startswith(f"QueueConcurrency={limit - 5} in bridge.toml")


def test_a_subscription_that_hears_everything_is_found(doctor: Doctor, stack: Stack, aws: Clients) -> None:
    url = aws.sqs.create_queue(QueueName="greedy")["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = aws.sns.subscribe(
        TopicArn=stack.outcomes_topic_arn, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    try:
        (finding,) = doctor()
        aws.sns.set_subscription_attributes(
            SubscriptionArn=subscription,
            AttributeName="FilterPolicy",
            AttributeValue='{"source": ["crm"]}',
        )
        filtered = doctor()
    finally:
        aws.sns.unsubscribe(SubscriptionArn=subscription)

    assert finding["what"] == f"{arn} gets every outcome."
    assert subscription in finding["change"]
    assert filtered == []


def test_a_pause_is_found_at_once_and_told_by_its_alarm(
    doctor: Doctor, state: StateFolder, stack: Stack, aws: Clients
) -> None:
    run = CliRunner(mix_stderr=False).invoke
    run(cli.bridge, ["pause", "--state-dir", str(state.root)], catch_exceptions=False)
    try:
        (finding,) = doctor()
        invoke(aws, "resolve-doubts")
        until(lambda: "paused" in _raised(stack))
    finally:
        run(cli.bridge, ["resume", "--state-dir", str(state.root)], catch_exceptions=False)

    assert re.fullmatch(r"Kapture is paused\. \w+ requests? waits? until it is resumed\.", finding["what"])
    assert finding["change"].startswith("bridge resume --helpdesk kapture")


def test_figures_are_carried_to_the_local_alarms(state: StateFolder, stack: Stack) -> None:
    assert state.running(local_metrics.NAME)


def test_a_stack_by_its_name_is_looked_at_in_the_same_way(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it were in an AWS account: but its API, whose address only AWS knows."""
    for name, value in {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_DEFAULT_REGION": stack.region,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)

    result = CliRunner(mix_stderr=False).invoke(
        cli.bridge, ["doctor", "--stack", "ticket-bridge", "--json"], catch_exceptions=False
    )

    findings = [json.loads(line)["what"] for line in result.stdout.splitlines()]
    *unsigned, unreachable = [what for what in findings if not what.startswith("The alarm ")]
    assert unreachable.startswith("Not checked: tokens. ")
    assert all(re.match(r"The form \S+ has no secret\.", what) for what in unsigned)
    assert result.exit_code == 1


def test_a_stack_that_is_not_there_is_told_in_a_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint_url)

    with pytest.raises(BridgeError, match="No stack elsewhere in "):
        CliRunner().invoke(
            cli.bridge, ["doctor", "--stack", "elsewhere"], catch_exceptions=False, standalone_mode=False
        )
