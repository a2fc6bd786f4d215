"""Each role allows what its function does, on the resources on which it does it, and nothing else."""

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import botocore.session
import pytest
from botocore import xform_name
from botocore.client import BaseClient
from moto import mock_aws

from bridge.local.helpdesks import HELPDESKS
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from helpdesk.models import HelpdeskName
from tests.accounts import ACCOUNTS, Account, KaptureAccount
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN
from tests.unit.test_template import RESOURCES, functions, referred

type Use = tuple[str, str]

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-these-tests"
# What Lambda itself does in the role's name: it polls the queue, and writes the log.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
POLLED = {
    ("sqs:ReceiveMessage", "RequestsQueue"),
    ("sqs:DeleteMessage", "RequestsQueue"),
    ("sqs:GetQueueAttributes", "RequestsQueue"),
}
LOGGED = ("logs:CreateLogStream", "logs:PutLogEvents")


class Recorder:
    """The AWS calls that functions make, by the function's logical name."""

    def __init__(self, deployment: Deployment) -> None:
        self.uses: dict[str, set[Use]] = defaultdict(set)
        self.operations: set[str] = set()
        self._own = (deployment.sqs, deployment.sns, deployment.secrets, deployment.dynamodb)
        self._function: str | None = None
        self._names = {
            deployment.requests: "RequestsQueue",
            deployment.dead_letter_queue: "DeadLetterQueue",
            deployment.topic: "OutcomesTopic",
            "ledger": "LedgerTable",
            deployment.secret: "TokenSecret",
            deployment.marker_key: "MarkerKeySecret",
            **{f"{desk.name}-callback": desk.callback_secret for desk in HELPDESKS},
        }

    def name(self, physical: str, logical: str) -> None:
        self._names[physical] = logical

    @contextmanager
    def running(self, function: str) -> Iterator[None]:
        """Calls made in the block are this function's."""
        self._function = function
        yield
        self._function = None

    def hear(self, client: Any, operation: str, arguments: dict[str, Any]) -> None:
        if client in self._own:
            return
        assert self._function, f"nobody runs, and {operation} was called"
        service = client.meta.service_model.service_name
        self.operations.add(f"{service}.{operation}")
        if operation == "TransactWriteItems":
            # It needs the actions of its parts.
            for kind, part in (pair for item in arguments["TransactItems"] for pair in item.items()):
                self.uses[self._function].add((f"dynamodb:{kind}Item", self._resource(part)))
            return
        # A batch needs the action of its single call.
        action = f"{service}:{operation.removesuffix('Batch')}"
        self.uses[self._function].add((action, self._resource(arguments)))

    def _resource(self, arguments: dict[str, Any]) -> str:
        keys = ("QueueUrl", "TableName", "TopicArn", "SecretId")
        (physical,) = [arguments[key] for key in keys if key in arguments] or arguments["RequestItems"]
        index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
        if "/forms/" in physical:
            return "forms/*"
        return self._names[physical] + index + self._kind(arguments)

    @staticmethod
    def _kind(arguments: dict[str, Any]) -> str:
        """Of which kind an item is; keys begin with it."""
        key = (arguments.get("Key") or arguments.get("Item") or {}).get("pk", {}).get("S")
        return f" {key.partition('#')[0]}#*" if key else ""


def allowed(function: str, resources: dict[str, Any] = RESOURCES) -> set[Use]:
    """Action and resource of all that a function's role allows."""
    role = resources[referred(functions()[function]["Role"])]["Properties"]
    uses: set[Use] = set()
    for statement in (
        statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]
    ):
        actions, on = statement["Action"], statement["Resource"]
        condition = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
        kinds = [f" {kind}" for kind in condition.get("dynamodb:LeadingKeys", [])]
        for action in actions if isinstance(actions, list) else [actions]:
            for resource in on if isinstance(on, list) else [on]:
                uses |= {(action, _name(resource) + kind) for kind in kinds or [""]}
    return uses


def _name(resource: Any) -> str:
    if "Fn::If" in resource:
        return _name(resource["Fn::If"][1])
    if "Fn::Sub" in resource:
        text: str = resource["Fn::Sub"]
        return re.sub(r"^.*\$\{AWS::StackName\}/", "", text.replace("${LedgerTable.Arn}", "LedgerTable"))
    return referred(resource)


def needed(function: str, recorded: set[Use]) -> set[Use]:
    """What a function does itself, and what Lambda does for it."""
    log = referred(functions()[function]["LoggingConfig"]["LogGroup"])
    polled = (
        POLLED if any(event["Type"] == "SQS" for event in functions()[function]["Events"].values()) else set()
    )
    # Where a role may touch every kind of item, the kind does not matter.
    every = {use for use in allowed(function) if " " not in use[1]}
    own = {(action, on.partition(" ")[0]) for action, on in recorded} & every
    return (
        own
        | {use for use in recorded if (use[0], use[1].partition(" ")[0]) not in every}
        | polled
        | {(action, log) for action in LOGGED}
    )


def drive(
    deployment: Deployment,
    recorder: Recorder,
    kapture: KaptureSimulator,
    others: Sequence[Account],
    clock: Clock,
) -> None:
    """Takes each function through all that it does."""
    tokens = {account: account.simulator.token for account in others}

    def consume() -> None:
        with recorder.running("TicketQueueFunction"):
            deployment.consume()

    def add(name: str, **more: Any) -> dict[str, Any]:
        return {"operation": "add", "request_id": name, "reference": name, "ticket": {"title": name}} | more

    lost = Fault(reset="after")
    kapture.faults.add(FaultRule(operation="add", match="lost", fault=lost))
    deployment.send(add("one"), add("lost"), {"operation": "add"})
    deployment.send(*(add(other.name, helpdesk=other.name) for other in others))
    consume()
    moment = "2026-11-21T10:00:00Z"
    deployment.send(
        {"operation": "update", "reference": "one", "occurred_at": moment, "changes": {"sub_status": "PS"}},
        {"operation": "update", "reference": "none", "changes": {"sub_status": "PS"}},
        {"operation": "get", "ticket_ids": [kapture.tickets[0].ticket_id]},
        *(
            {
                "operation": "update",
                "helpdesk": other.name,
                "reference": other.name,
                "changes": other.comment("c"),
            }
            for other in others
        ),
    )
    consume()
    clock.let_pass(60)
    with recorder.running("ResolveDoubtsFunction"):
        deployment.resolve_doubts()
    # With a closed gate for each helpdesk, so that its token is asked for.
    kapture.token = "another"
    for other in others:
        other.change_token("another")
    deployment.restart()
    with recorder.running("TicketApiFunction"):
        assert deployment.call("POST", "/tickets", {"ticket": {"title": "by the API"}}).status == 202
        for helpdesk in get_args(HelpdeskName):
            assert deployment.call("GET", "/tickets/1", query={"helpdesk": helpdesk}).status == 502
        assert deployment.call("GET", "/requests/one").status == 200
    kapture.token = TOKEN
    for other in others:
        other.change_token(tokens[other])
    clock.let_pass(120)
    deployment.restart()
    with recorder.running("ResolveDoubtsFunction"):
        deployment.resolve_doubts()

    body = {"id": "f-1", "title": "a form's"}
    with recorder.running("FormIntakeFunction"):
        assert deployment.form("plain", body, secret=SECRET).status == 202
    deployment.restart()
    called: dict[str, Any] = {"kapture": {"ticket_id": kapture.tickets[0].ticket_id}}
    called |= {other.name: other.callback(other.tickets()[0].ticket_id) for other in others}
    for helpdesk, body in called.items():
        with recorder.running("CallbacksFunction"):
            answer = deployment.callback(helpdesk, body, headers={"X-Callback-Secret": SECRET})
        assert (answer.status, answer.body["changed"]) == (200, True)

    deployment.restart()
    # Closed tickets are no longer watched.
    for state in ("OP", "OP", "CL", "CL"):
        clock.let_pass(3600)
        with recorder.running("WatchFunction"):
            assert deployment.watch()["looked"]
        for ticket in kapture.tickets:
            kapture.change_by_hand(ticket.ticket_id, state)
    clock.let_pass(86400)
    with recorder.running("DailyAuditFunction"):
        assert deployment.audit()["audited"]


FORM = """\
service: json
verify: {scheme: tally}
request:
  operation: add
  request_id: answers.id
  ticket: {title: answers.title}
"""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """What each function was seen to do."""
    folder = tmp_path_factory.mktemp("forms")
    (folder / "plain.yaml").write_text(FORM)
    clock = Clock()
    kapture = KaptureSimulator(token=TOKEN, clock=clock)
    others = [account(clock) for account in ACCOUNTS if account is not KaptureAccount]
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        kapture_url = stack.enter_context(running(kapture.app()))
        urls = {other.name: stack.enter_context(running(other.simulator.app())) for other in others}
        stack.enter_context(mock_aws())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        deployment = Deployment(patch, kapture_url, TOKEN, clock=clock, SETTLE_AFTER_S="0")
        recorder = Recorder(deployment)
        for other in others:
            made = deployment.secrets.create_secret(Name=other.name, SecretString=other.credentials())
            recorder.name(made["ARN"], f"{other.name.capitalize()}Secret")
            deployment.set(**other.variables(urls[other.name], made["ARN"]))
        for helpdesk in get_args(HelpdeskName):
            deployment.put_callback_secret(helpdesk, SECRET)
        deployment.deploy_forms(folder, folder / "forms.json")
        deployment.put_form_secret("plain", SECRET)
        deployment.set(
            HELPDESKS=",".join(get_args(HelpdeskName)),
            KAPTURE_BUDGET="1000",
            WATCH_MINUTES="15",
        )
        call: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]  # left out of them

        def recorded(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
            recorder.hear(client, operation, arguments)
            return call(client, operation, arguments)

        patch.setattr(BaseClient, "_make_api_call", recorded)
        drive(deployment, recorder, kapture, others, clock)
        yield recorder
        deployment.restart()


@pytest.fixture
def uses(recorder: Recorder) -> dict[str, set[Use]]:
    """The actions of each function, and on what."""
    return recorder.uses


def test_the_layers_sdk_knows_the_operations_that_are_called_and_no_others(recorder: Recorder) -> None:
    makefile = (ROOT / "layers" / "helpdesk" / "Makefile").read_text().replace("\\\n", "")
    (listed,) = re.findall(r"^CALLS = (.*)", makefile, re.MULTILINE)
    calls = set(listed.split())
    code = "".join(path.read_text() for path in (ROOT / "layers/helpdesk/helpdesk").rglob("*.py"))
    services = {call.partition(".")[0] for call in calls}
    session = botocore.session.get_session()
    named = {
        f"{service}.{operation}"
        for service in services
        for operation in session.get_service_model(service).operation_names
        if re.search(rf"\.{xform_name(operation)}\b", code)
    }

    assert calls == named
    assert calls == recorder.operations


@pytest.mark.parametrize("function", functions())
def test_a_role_allows_exactly_what_its_function_does(function: str, uses: dict[str, set[Use]]) -> None:
    does = needed(function, uses.get(function, set()))

    assert {"unused": allowed(function) - does, "missing": does - allowed(function)} == {
        "unused": set(),
        "missing": set(),
    }


def _without(function: str, place: int) -> dict[str, Any]:
    """The template's resources, with one statement less in a function's role."""
    resources = copy.deepcopy(RESOURCES)
    _statements(function, resources).pop(place)
    return resources


def _statements(function: str, resources: dict[str, Any] = RESOURCES) -> list[Any]:
    role = resources[referred(functions()[function]["Role"])]["Properties"]
    statements: list[Any] = role["Policies"][0]["PolicyDocument"]["Statement"]
    return statements


def test_an_action_that_nothing_uses_is_found(uses: dict[str, set[Use]]) -> None:
    resources = copy.deepcopy(RESOURCES)
    table = {"Fn::GetAtt": ["LedgerTable", "Arn"]}
    _statements("TicketQueueFunction", resources).append(
        {"Effect": "Allow", "Action": "dynamodb:DeleteItem", "Resource": table}
    )
    does = needed("TicketQueueFunction", uses["TicketQueueFunction"])

    assert allowed("TicketQueueFunction", resources) - does == {("dynamodb:DeleteItem", "LedgerTable")}


@pytest.mark.parametrize("function", functions())
def test_an_action_that_is_used_and_removed_is_missed(function: str, uses: dict[str, set[Use]]) -> None:
    does = needed(function, uses[function])

    for place, _ in enumerate(_statements(function)):
        assert does - allowed(function, _without(function, place))


WRITES = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}


def test_who_is_called_or_audits_writes_no_items_of_requests(uses: dict[str, set[Use]]) -> None:
    held = {"TicketApiFunction", "CallbacksFunction", "DailyAuditFunction"}
    for function in held:
        written = {use for use in allowed(function) if use[0] in WRITES}
        assert written
        assert not {on for _, on in written} & {"LedgerTable", "LedgerTable request#*"}

    # One that writes another kind than its role allows is found.
    stray = uses["TicketApiFunction"] | {("dynamodb:UpdateItem", "LedgerTable request#*")}
    assert needed("TicketApiFunction", stray) - allowed("TicketApiFunction") == {
        ("dynamodb:UpdateItem", "LedgerTable request#*")
    }
