"""`bridge deploy` over the previous release with requests in every state, and `bridge remove` after it."""

from __future__ import annotations

import json
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from bridge.cli import bridge
from bridge.local import emulator_gaps, sam
from bridge.local.helpdesks import HELPDESKS
from bridge.local.sam import Site
from bridge.local.state import StateFolder
from bridge.operating import removal
from bridge.operating.operations import Operations
from bridge.stacks import deployment, queues, target
from tests.e2e.waiting import GENEROUS_S, invoke, until
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from click.testing import Result

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack
    from bridge.operating.removal import Contents

PREVIOUS = Path(__file__).parent / "releases" / "ticket-bridge-0.1.0.tar.gz"
NAME = "upgraded"
KAPTURE, SOCIALBOARDS = HELPDESKS
REFUSAL = json.dumps({"status": "failed", "message": "no"})
# By their requests, whose tickets are named after them.
ADDS = ("done", "done-too", "refused", "made-and-lost", "never-made", "waits", "held-by-the-pause")
KEPT = ("RequestsQueue", "DeadLetterQueue", "LedgerTable", "OutcomesTopic", "TicketApi")


class Upgraded:
    """The stack, as its users and the helpdesks see it."""

    def __init__(self, stack: Stack, aws: Clients) -> None:
        self.local = stack
        self.aws = aws
        self.events: list[dict[str, Any]] = []
        self.listener = aws.sqs.create_queue(QueueName=f"{queues.OWN_QUEUES}{NAME}")["QueueUrl"]

    @property
    def here(self) -> list[str]:
        """The option that takes the emulator for the account."""
        return ["--allow-endpoint", self.aws.endpoint_url]

    @property
    def outputs(self) -> dict[str, str]:
        (described,) = self.aws.cloudformation.describe_stacks(StackName=NAME)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    @property
    def resources(self) -> dict[str, str]:
        pages = self.aws.cloudformation.get_paginator("list_stack_resources").paginate(StackName=NAME)
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceStatus"] != "DELETE_COMPLETE"
        }

    @property
    def secrets(self) -> dict[str, str]:
        return {
            name: self.aws.secretsmanager.get_secret_value(SecretId=place)["SecretString"]
            for name, place in self.resources.items()
            if name.endswith("Secret")
        }

    @property
    def operations(self) -> Operations:
        return Operations(target.deployed(NAME))

    def send(self, request_id: str, **more: Any) -> None:
        operation = "update" if "changes" in more else "add"
        body = {"operation": operation, "request_id": request_id, "source": "shop", **more}
        if operation == "add":
            body = {"ticket": {"title": _title(request_id)}, **body}
        self.aws.sqs.send_message(QueueUrl=self.outputs["RequestsQueueUrl"], MessageBody=json.dumps(body))

    def ended(
        self, kind: str, *request_ids: str, after: int = 0, meanwhile: Callable[[], Any] = lambda: None
    ) -> dict[str, dict[str, Any]]:
        """Outcomes of that kind by request, of those that came `after` so many events; waits for them."""
        deadline = time.monotonic() + GENEROUS_S
        while True:
            outcomes = {
                event["data"].get("request_id"): event["data"]
                for event in self.events[after:]
                if event["data"].get("outcome") == kind
            }
            missing = [request_id for request_id in request_ids if request_id not in outcomes]
            if not missing:
                return outcomes
            assert time.monotonic() < deadline, [self.operations.trace(name) for name in missing]
            meanwhile()
            self.listen()

    def listen(self) -> None:
        """Takes in what was published."""
        self.events += map(json.loads, queues.take(self.aws.sqs, self.listener, 1))

    def receipt(self, request_id: str) -> dict[str, Any]:
        """What the API shows of a request."""
        key = self.aws.apigateway.get_api_key(apiKey=self.outputs["ApiKeyId"], includeValue=True)["value"]
        address = self.aws.endpoint_url + emulator_gaps.base_path(self.resources["TicketApi"], "v1")
        with requests.Session() as session:
            session.trust_env = False
            shown = session.get(f"{address}/requests/{request_id}", headers={"x-api-key": key}, timeout=120)
        assert shown.status_code == 200, shown.text
        receipt: dict[str, Any] = shown.json()
        return receipt

    def fault(self, *rules: Mapping[str, Any]) -> None:
        """What Kapture's calls suffer from now on."""
        KAPTURE.control(self.local.urls, "DELETE", "faults")
        KAPTURE.control(self.local.urls, "POST", "faults", list(rules))

    def tickets(self) -> dict[str, list[str]]:
        """The tickets at the helpdesks, by the requests that have made them."""
        made: dict[str, list[str]] = {_title(request_id): [] for request_id in ADDS}
        for desk in HELPDESKS:
            for ticket in desk.control(self.local.urls, "GET", "tickets"):
                # Other tests leave tickets of theirs.
                made.get(ticket["title"], []).append(str(ticket["ticket_id"]))
        return {request_id: made[_title(request_id)] for request_id in ADDS}

    def invoke(self, function: str) -> dict[str, Any]:
        return invoke(self.aws, function, stack=NAME)

    def is_watched(self, ticket_id: str) -> bool:
        """Whether the state is known from which a change of the ticket is told."""
        self.invoke("watch")
        return "state" in target.deployed(NAME).table.get(f"change#kapture#{ticket_id}")

    def changes(self, ticket_id: str) -> list[dict[str, Any]]:
        """The changes of the ticket that were told."""
        self.invoke("watch")
        self.listen()
        told = [event["data"] for event in self.events if event["type"] == "ticket.changed"]
        return [change for change in told if change["ticket_id"] == ticket_id]

    def held(self) -> Contents:
        return removal.contents(target.deployed(NAME))


def _title(request_id: str) -> str:
    return f"upgrade: {request_id}"


def _run(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(bridge, arguments, input=Terminal(answers))


def _deploy_previous(upgraded: Upgraded, folder: Path) -> None:
    """The previous release with its own template, as its `make deploy` did it."""
    with tarfile.open(PREVIOUS) as archive:
        archive.extractall(folder / "source", filter="data")
    makefile = folder / "source" / "functions" / "Makefile"
    # Its form compiler had another place.
    makefile.write_text(makefile.read_text().replace("bridge.form_files", "bridge.generate.form_files"))
    stack = upgraded.local
    site = Site(NAME, stack.region, sam.architecture(), endpoint_url=stack.endpoint_url)
    state = StateFolder(folder / "state")
    parameters = {
        "Helpdesks": "kapture,socialboards",
        "KaptureUrl": stack.urls["kapture"],
        "SocialboardsUrl": stack.urls["socialboards"],
        "KaptureBudget": "600",
        "SettleAfterSeconds": "60",
        "WatchMinutes": "1",
    }
    with state.locked():
        deployment.build(state, site, folder / "source" / "template.yaml")
        planned = deployment.plan(state, site, upgraded.aws.cloudformation, parameters)
        deployment.execute(upgraded.aws.cloudformation, site, planned)
    emulator_gaps.fill(upgraded.aws, NAME)
    for desk in HELPDESKS:
        secret = upgraded.outputs[desk.secret_output]
        upgraded.aws.secretsmanager.put_secret_value(
            SecretId=secret, SecretString=json.dumps(dict(desk.credentials))
        )
    queues.subscribe(
        upgraded.aws, queue_url=upgraded.listener, topic_arn=upgraded.outputs["OutcomesTopicArn"], raw=True
    )


def _fill_with_requests(upgraded: Upgraded) -> None:
    """Requests in every state: done, parked, in doubt, held by a closed gate, held by a pause."""
    upgraded.send("done", reference="order-1")
    upgraded.send("done-too", helpdesk="socialboards", reference="order-2")
    done = upgraded.ended("succeeded", "done", "done-too")["done"]
    until(lambda: upgraded.is_watched(done["ticket_id"]))
    # Of the last day that is over, which had no request.
    upgraded.invoke("daily-proof")
    # What a doubt would be found by cannot be read.
    blind = {"operation": "pull", "fault": {"status": 503}}
    refused = {"operation": "add", "match": "refused", "fault": {"status": 400, "body": REFUSAL}}
    lost = {"operation": "add", "match": "made-and-lost", "fault": {"reset": "after"}}
    never = {"operation": "add", "match": "never-made", "fault": {"reset": "before"}}
    upgraded.fault(blind, refused, lost, never)
    upgraded.send("refused")
    upgraded.ended("rejected", "refused")
    for request_id in ("made-and-lost", "never-made"):
        upgraded.send(request_id)
        upgraded.ended("unknown", request_id)
    upgraded.fault({"operation": "*", "fault": {"status": 503}})
    assert _run("pause", "--stack", NAME, "--helpdesk", "socialboards").exit_code == 0
    upgraded.send("held-by-the-pause", helpdesk="socialboards")
    upgraded.send("waits")
    until(lambda: upgraded.operations.gate("kapture").read().closed)
    # An open gate would let the second request named `done` through to its answer at once.
    upgraded.send("waits-for-its-ticket", reference="order-1", changes={"sub_status": "RS"})
    upgraded.send("done", reference="order-1")


@pytest.fixture(scope="module")
def previous(stack: Stack, aws: Clients, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """A stack of the previous release, and what its users had to say of their folder since."""
    upgraded = Upgraded(stack, aws)
    _deploy_previous(upgraded, tmp_path_factory.mktemp("previous"))
    yield upgraded
    aws.sqs.delete_queue(QueueUrl=upgraded.listener)
    KAPTURE.control(stack.urls, "DELETE", "faults")
    aws.cloudformation.delete_stack(StackName=NAME)


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its user. It lies there for all tests, so that it is built once."""
    mine = tmp_path_factory.mktemp("folder") / "mine"
    selected = ["--helpdesk", "kapture", "--helpdesk", "socialboards", "--form", "contact"]
    place = ["--kapture-url", stack.urls["kapture"], "--stack", NAME, "--region", stack.region]
    assert _run("init", str(mine), *selected, *place).exit_code == 0
    return mine


@pytest.fixture
def upgraded(previous: Upgraded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Upgraded:
    """The emulator stands for the account: its address is in the environment, as for every tool of AWS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", previous.local.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", previous.local.region)
    monkeypatch.chdir(folder)
    return previous


def test_an_upgrade_loses_nothing_and_does_nothing_twice(upgraded: Upgraded) -> None:
    _fill_with_requests(upgraded)
    outputs, resources, secrets = upgraded.outputs, upgraded.resources, upgraded.secrets
    values = deployment.running_parameters(upgraded.aws.cloudformation, NAME)
    before, tickets = upgraded.held(), upgraded.tickets()
    assert values
    assert (before.in_doubt, before.parked, before.waiting) == (2, 1, 6)

    done = _run("deploy", "prod", "--yes", *upgraded.here)
    assert done.exit_code == 0, done.output + str(done.exception)
    emulator_gaps.fill(upgraded.aws, NAME)

    # What was said: what goes, what stays as it ran, and what has to be known.
    shown = [line.strip() for line in done.output.splitlines()]
    assert f"at {upgraded.aws.endpoint_url}: an update from release 0.1.0 to 0." in done.output
    for gone in ("ReconcileFunction (function)", "ProofLateAlarm (alarm)"):
        assert f"removed     {gone}" in shown
    (kept,) = [line for line in shown if line.startswith("kept as it runs")]
    for setting in ("KaptureBudget=600", "SettleAfterSeconds=60", "WatchMinutes=1"):
        assert setting in kept
    assert "the event `day.proved` is `day.audited`" in done.output
    # What is told elsewhere by its address has the same address.
    assert upgraded.outputs.items() >= outputs.items()
    assert upgraded.outputs.keys() - outputs.keys() == {"Release"}
    assert {name: upgraded.resources[name] for name in KEPT} == {name: resources[name] for name in KEPT}
    assert upgraded.secrets == secrets
    now = deployment.running_parameters(upgraded.aws.cloudformation, NAME)
    assert now
    assert now.items() >= values.items()
    alarms = target.deployed(NAME).cloudwatch.describe_alarms(AlarmNamePrefix=f"{NAME}-")["MetricAlarms"]
    names = {alarm["AlarmName"].removeprefix(f"{NAME}-") for alarm in alarms}
    assert {"resolve-doubts-stopped", "audit-late"} <= names
    assert not [name for name in names if "proof" in name or "reconcile" in name]
    # The gate is still closed, and the pause still holds.
    assert upgraded.held() == before
    assert upgraded.operations.gate("kapture").read().closed
    assert upgraded.operations.gate("socialboards").read().paused

    after = len(upgraded.events)
    KAPTURE.control(upgraded.local.urls, "DELETE", "faults")
    assert _run("resume", "--stack", NAME, "--helpdesk", "socialboards").exit_code == 0
    assert (
        "1 request sent again" in _run("redrive", "--stack", NAME, "--request-id", "refused", "--yes").output
    )
    ended = upgraded.ended(
        "succeeded",
        *(request_id for request_id in (*ADDS, "waits-for-its-ticket") if request_id != "done-too"),
        after=after,
        meanwhile=lambda: upgraded.invoke("resolve-doubts"),
    )
    until(lambda: upgraded.held() == removal.Contents(0, 0, 0))

    # Nothing lost, nothing twice, and each where it belongs.
    made = upgraded.tickets()
    assert {request_id: len(ids) for request_id, ids in made.items()} == dict.fromkeys(ADDS, 1)
    assert {name for name in ADDS if made[name] == tickets[name]} == {"done", "done-too", "made-and-lost"}
    assert ended["waits-for-its-ticket"]["ticket_id"] == ended["done"]["ticket_id"]
    for request_id in ADDS:
        assert upgraded.receipt(request_id)["ticket_id"] == made[request_id][0]
    # The update has changed a ticket that the previous release began to watch.
    ticket_id = ended["done"]["ticket_id"]
    until(lambda: upgraded.changes(ticket_id) != [])
    assert [change["ticket"]["sub_status"]["key"] for change in upgraded.changes(ticket_id)] == ["RS"]
    # Days that it had audited are audited once more, as CHANGELOG says.
    assert upgraded.operations.audits(datetime.now(UTC).date(), 4) == []
    upgraded.invoke("daily-audit")
    reports = upgraded.operations.audits(datetime.now(UTC).date(), 4)
    assert {(report.helpdesk, report.is_clean) for report in reports} == {
        ("kapture", True),
        ("socialboards", True),
    }


def test_a_removed_stack_leaves_what_it_said_and_its_name_can_be_deployed_again(
    upgraded: Upgraded,
) -> None:
    assert _run("pause", "--stack", NAME, "--helpdesk", "socialboards").exit_code == 0
    upgraded.send("left-behind", helpdesk="socialboards")
    before, outputs = upgraded.resources, upgraded.outputs
    held = upgraded.held()

    asked = _run("remove", *upgraded.here, answers="n\n")
    assert (asked.exit_code, upgraded.resources) == (1, before)
    done = _run("remove", "prod", "--yes", *upgraded.here)
    assert done.exit_code == 0, done.output + str(done.exception)

    for output in (asked.output, done.output):
        assert f"holds    {held.waiting} requests in the queue, {held.in_doubt} of them in doubt" in output
        assert "goes     " in output
        for name in ("RequestsQueue", "DeadLetterQueue", "LedgerTable", "TokenSecret", "MarkerKeySecret"):
            assert f"{before[name]} --region us-east-1" in output
    assert deployment.running_parameters(upgraded.aws.cloudformation, NAME) is None
    assert queues.count(upgraded.aws.sqs, outputs["RequestsQueueUrl"]) == held.waiting
    assert outputs["LedgerTableName"] in upgraded.aws.dynamodb.list_tables()["TableNames"]
    for name in ("TokenSecret", "SocialboardsSecret", "MarkerKeySecret", "KaptureCallbackSecret"):
        assert upgraded.aws.secretsmanager.describe_secret(SecretId=before[name])

    one_helpdesk = ["--set", "Helpdesks=kapture", "--set", f"Architecture={sam.architecture()}"]
    one_helpdesk += upgraded.here
    shown = _run("deploy", "--plan", *one_helpdesk)
    assert shown.exit_code == 0, shown.output + str(shown.exception)
    none_yet = deployment.running_parameters(upgraded.aws.cloudformation, NAME)
    made = _run("deploy", "prod", "--yes", *one_helpdesk)
    assert made.exit_code == 0, made.output + str(made.exception)

    assert none_yet is None
    assert f"{NAME} in us-east-1 at {upgraded.aws.endpoint_url}: a new stack" in shown.output
    for line in (
        f"{NAME} is made.",
        "Kapture's access:",
        "aws apigateway get-api-key --region us-east-1 --include-value",
        "/forms/contact/SECRET",
        f"--name {NAME}/forms/contact",
        f"bridge doctor --stack {NAME}",
    ):
        assert line in made.output
    assert "Socialboards" not in made.output
