"""The checks of `bridge smoke`: what only a deployed stack shows."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.console.trying import with_new_id
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.generate.schedules import SCHEDULED_TIME
from bridge.local import emulator, emulator_gaps
from bridge.local.sam import Site
from bridge.operating.operations import Operations, Selection
from bridge.sending import samples
from bridge.sending.form_signing import needs_secret, sign
from bridge.sending.samples import FormSend
from bridge.sending.triggers import Triggers
from bridge.stacks import deployment
from bridge.stacks.alarms import alarms
from bridge.stacks.deployment import Plan
from bridge.stacks.queues import TopicQueue
from bridge.stacks.target import FUNCTIONS
from helpdesk.store.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.checks.stack import Examined
    from bridge.local.folder import Folder
    from bridge.local.state import Stack

MANY = 50
_TICKET_S = 90.0
_ALL_S = 600.0
_FIGURES_S = 300.0
_TOO_MUCH = 7_000_000
_FIGURES = {"Accepted", "Checked", "Succeeded"}


class FailedCheckError(Exception):
    """A check found something else than it should; the message says what."""


class SkippedCheckError(Exception):
    """A check cannot be made here; the message says why."""


@dataclass
class Smoke:
    """One run against one stack. Everything that it makes carries `run` in its name, or as its source."""

    stack: Examined
    own: Folder
    # None for a stack in an AWS account.
    local: Stack | None
    run: str
    made: list[str] = field(default_factory=list)

    @property
    def operations(self) -> Operations:
        return Operations(self.stack.target)

    def request(self, name: str, **more: Any) -> dict[str, Any]:
        """The body of an add of this run."""
        ticket = {"title": "Test by bridge smoke: please close", "details": f"Run {self.run}, {name}."}
        return {
            "operation": "add",
            "request_id": f"{self.run}/{name}",
            "source": self.run,
            "ticket": ticket,
            **more,
        }

    def send(self, bodies: Iterable[dict[str, Any]]) -> None:
        for body in bodies:
            self.stack.target.sqs.send_message(
                QueueUrl=self.stack.target.requests_queue_url, MessageBody=json.dumps(body)
            )

    def tickets(self, names: Iterable[str], seconds: float) -> list[str]:
        """The tickets of these requests, once all have succeeded."""
        ledger = Ledger(self.stack.target.table, lease_s=0, keep_days=28)
        waiting, tickets = [f"{self.run}/{name}" for name in names], {}

        def all_ended() -> bool:
            for request_id in [request_id for request_id in waiting if request_id not in tickets]:
                receipt = ledger.receipt(request_id)
                if receipt and receipt.ended and receipt.outcome:
                    if receipt.outcome.ticket_id is None:
                        raise FailedCheckError(f"{request_id} ended as {receipt.outcome.kind}")
                    tickets[request_id] = receipt.outcome.ticket_id
            return len(tickets) == len(waiting)

        until(all_ended, seconds, lambda: f"{len(waiting) - len(tickets)} of {len(waiting)} have not ended")
        self.made += [f"ticket {ticket}" for ticket in tickets.values()]
        return list(tickets.values())

    def parameters(self) -> dict[str, str]:
        return deployment.running_parameters(self._formation, self.stack.target.name) or {}

    def deploy(self, name: str, value: str) -> None:
        """Deploy what is deployed, with one other value."""
        stack = self.stack.target.name
        change_set = self._formation.create_change_set(
            StackName=stack,
            ChangeSetName=f"{self.run}-{secrets.token_hex(4)}",
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value},
                *(
                    {"ParameterKey": other, "UsePreviousValue": True}
                    for other in self.parameters()
                    if other != name
                ),
            ],
        )["Id"]
        until(lambda: self._is_made(change_set), _TICKET_S, lambda: "the change set is not made")
        region = self.stack.target.session.region_name
        site = Site(stack, region, "", endpoint_url=self.stack.target.endpoint_url)
        deployment.execute(self._formation, site, Plan(is_new=False, change_set=change_set))
        if self.local:
            emulator_gaps.fill(emulator.Clients(self.local.endpoint_url), stack)

    def _is_made(self, change_set: str) -> bool:
        status = self._formation.describe_change_set(ChangeSetName=change_set)
        if status["Status"] == "FAILED":
            raise FailedCheckError(f"the change set failed: {status.get('StatusReason')}")
        return bool(status["Status"] == "CREATE_COMPLETE")

    @property
    def _formation(self) -> Any:
        return self.stack.target.cloudformation


def until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Returns once the condition holds. Raises FailedCheckError where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FailedCheckError(f"after {seconds:.0f} s {otherwise()}")
        time.sleep(1)


def bus(smoke: Smoke) -> str:
    """An event on the bus becomes a ticket."""
    answer = smoke.stack.target.events.put_events(
        Entries=[
            {
                "EventBusName": f"{smoke.stack.target.name}-requests",
                "Source": "smoke",
                "DetailType": "Ticket Requested",
                "Detail": json.dumps(smoke.request("bus")),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        raise FailedCheckError(str(answer["Entries"][0].get("ErrorMessage")))
    return f"ticket {smoke.tickets(['bus'], _TICKET_S)[0]}"


def budget(smoke: Smoke) -> str:
    """Another budget is deployed: the running functions have it, and every other parameter its value."""
    helpdesk = smoke.stack.target.helpdesks[0]
    name, variable = f"{helpdesk.capitalize()}Budget", f"{helpdesk.upper()}_BUDGET"
    before = smoke.parameters()
    other = str(int(before[name]) + 1)
    try:
        smoke.deploy(name, other)
        shown = _variable_of_all(smoke, variable)
        after = smoke.parameters()
    finally:
        if smoke.parameters()[name] != before[name]:
            smoke.deploy(name, before[name])
    if set(shown.values()) != {other}:
        raise FailedCheckError(f"{variable} is {shown}")
    if after != before | {name: other} or smoke.parameters() != before:
        raise FailedCheckError("other parameters have changed")
    return f"{len(shown)} functions had {name} {other}; it is {before[name]} again"


def _variable_of_all(smoke: Smoke, variable: str) -> dict[str, str]:
    target = smoke.stack.target
    names = [f"{target.name}-{function}" for function in FUNCTIONS]
    settings = [target.lambda_.get_function_configuration(FunctionName=name) for name in names]
    values = [setting["Environment"]["Variables"][variable] for setting in settings]
    return dict(zip(names, values, strict=True))


def refusals(smoke: Smoke) -> str:
    """No key, a wrong path, a wrong method and 7 MB are refused, each as problem+json."""
    url, key = smoke.stack.target.api_url, {"x-api-key": smoke.stack.api_key}
    as_json = {"Content-Type": "application/json"}
    calls: tuple[tuple[str, str, dict[str, str], bytes | None, int], ...] = (
        ("GET", f"{url}/tickets/1", {}, None, 403),
        ("GET", f"{url}/nothing", key, None, 404),
        ("PUT", f"{url}/tickets", key | as_json, b"{}", 405),
        ("POST", f"{url}/tickets", key | as_json, b'{"x": "' + b"x" * _TOO_MUCH + b'"}', 413),
    )
    for method, address, headers, data, status in calls:
        response = smoke.stack.send(method, address, headers, data)
        kind = response.headers.get("content-type", "").partition(";")[0]
        if (response.status_code, kind) != (status, "application/problem+json"):
            raise FailedCheckError(f"{method}: {response.status_code} {kind}, and not {status}")
    return "403, 404, 405 and 413 as problem+json"


def waiting(smoke: Smoke) -> str:
    """`Prefer: wait=20` answers in time, `Location` leads to the receipt, and an id may hold a slash."""
    began = time.monotonic()
    headers = {
        "x-api-key": smoke.stack.api_key,
        "Content-Type": "application/json",
        "Prefer": "wait=20",
    }
    body = {key: value for key, value in smoke.request("with/slash").items() if key != "operation"}
    address = f"{smoke.stack.target.api_url}/tickets"
    response = smoke.stack.send("POST", address, headers, json.dumps(body).encode())
    seconds = time.monotonic() - began
    if response.status_code not in (201, 202) or seconds > 29:
        raise FailedCheckError(f"{response.status_code} after {seconds:.1f} s: {response.text[:200]}")
    (ticket,) = smoke.tickets(["with/slash"], _TICKET_S)
    # The emulator takes the quotes of a path away before it gives it to the function, and AWS does not.
    quoted = quote(body["request_id"], safe="")
    receipt = f"{smoke.stack.target.api_url}/requests/{quote(quoted) if smoke.local else quoted}"
    statuses = [
        smoke.stack.send("GET", shown, headers).status_code
        for shown in (urljoin(address, response.headers.get("location", "")), receipt)
    ]
    if statuses != [200, 200]:
        raise FailedCheckError(f"Location and the receipt of an id with a slash: {statuses}")
    return f"{response.status_code} in {seconds:.1f} s, ticket {ticket}"


def forms(smoke: Smoke) -> str:
    """Every form of the folder takes its samples, signed with the form's secret."""
    sent, multipart, foreign = 0, False, False
    for path in sorted(smoke.own.samples.glob("*.json")):
        sample = samples.read(path)
        if not isinstance(sample.send, FormSend) or sample.becomes is None or sample.needs:
            continue
        form = form_files.read(form_files.file_of(smoke.own.forms, sample.send.form))
        known = str(sample.becomes.get("request_id", "")).partition(":")[2]
        text = sample.send.body
        text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        raw = (with_new_id(text, known) if known and known in text else text).encode()
        secret = _secret_of(smoke, form.name) if needs_secret(form) else ""
        signed = sign(form, secret, raw)
        headers = {"content-type": sample.send.content_type, **signed.headers}
        response = smoke.stack.send("POST", smoke.stack.target.api_url + signed.path, headers, raw)
        if response.status_code >= 400:
            raise FailedCheckError(f"{sample.name}: {response.status_code} {response.text[:200]}")
        smoke.made.append(f"a ticket of the form {form.name}")
        sent += 1
        multipart |= sample.send.content_type.startswith("multipart/")
        foreign |= not raw.isascii() and bool(signed.headers)
    if not sent:
        raise SkippedCheckError("the folder has no sample of a form")
    missing = [name for name, has in (("multipart", multipart), ("signed non-ASCII", foreign)) if not has]
    return f"{sent} submissions" + (f"; none of your samples is {' or '.join(missing)}" if missing else "")


def _secret_of(smoke: Smoke, form: str) -> str:
    if smoke.local:
        return Triggers(smoke.local).form_secret(form)
    name = f"{smoke.stack.target.name}/forms/{form}"
    text = smoke.stack.target.secretsmanager.get_secret_value(SecretId=name)["SecretString"]
    return str(json.loads(text)["secrets"][0])


def figures(smoke: Smoke) -> str:
    """Within five minutes the figures exist, and no alarm is raised."""
    names: set[str] = set()
    raised: list[str] = []

    def all_there() -> bool:
        nonlocal raised
        pages = smoke.stack.target.cloudwatch.get_paginator("list_metrics").paginate(
            Namespace="TicketBridge",
            Dimensions=[{"Name": "service", "Value": smoke.stack.target.name}],
        )
        names.update(pages.search("Metrics[].MetricName"))
        raised = [alarm.name for alarm in alarms(smoke.stack.target) if alarm.is_raised]
        return names >= _FIGURES and not raised

    until(all_there, _FIGURES_S, lambda: f"missing: {sorted(_FIGURES - names)}, raised: {raised}")
    return f"{len(names)} figures, no alarm"


def dashboard(smoke: Smoke) -> str:
    """The queries of the dashboard complete."""
    region = smoke.stack.target.session.region_name
    cloudwatch = smoke.stack.target.cloudwatch
    body = json.loads(
        cloudwatch.get_dashboard(DashboardName=f"{smoke.stack.target.name}-{region}")["DashboardBody"]
    )
    now, count = datetime.now(UTC), 0
    for widget in body["widgets"]:
        properties = widget["properties"]
        if widget["type"] == "metric":
            queries: Any = [_query(place, row, properties) for place, row in enumerate(properties["metrics"])]
            cloudwatch.get_metric_data(
                MetricDataQueries=queries, StartTime=now - timedelta(hours=1), EndTime=now
            )
            count += 1
        elif widget["type"] == "log":
            _run_log_query(smoke, properties["query"], now)
            count += 1
    return f"{count} queries"


def _query(place: int, row: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    options = row[-1] if isinstance(row[-1], dict) else {}
    names = [part for part in row if isinstance(part, str)]
    query = {"Id": options.get("id", f"m{place}"), "ReturnData": options.get("visible", True)}
    period = int(options.get("period", properties.get("period", 300)))
    if "expression" in options:
        return query | {"Expression": options["expression"], "Period": period}
    dimensions = [
        {"Name": name, "Value": value} for name, value in zip(names[2::2], names[3::2], strict=True)
    ]
    metric = {"Namespace": names[0], "MetricName": names[1], "Dimensions": dimensions}
    stat = options.get("stat", properties.get("stat", "Average"))
    return query | {"MetricStat": {"Metric": metric, "Period": period, "Stat": stat}}


def _run_log_query(smoke: Smoke, query: str, now: datetime) -> None:
    source, _, rest = query.partition(" | ")
    logs = smoke.stack.target.logs
    started = logs.start_query(
        logGroupName=source.split("'")[1],
        startTime=int((now - timedelta(hours=1)).timestamp()),
        endTime=int(now.timestamp()),
        queryString=rest,
    )["queryId"]
    until(
        lambda: logs.get_query_results(queryId=started)["status"] == "Complete",
        _TICKET_S,
        lambda: "the log query is not complete",
    )


def pause(smoke: Smoke) -> str:
    """50 requests that come while the helpdesk is paused all end after it, one ticket each."""
    gate = smoke.operations.gate(smoke.stack.target.helpdesks[0])
    names = [f"paused-{number}" for number in range(MANY)]
    state = gate.read()
    if state.paused or state.closed:
        raise SkippedCheckError("the helpdesk is paused or closed already, and stays so")
    gate.pause()
    try:
        smoke.send(smoke.request(name) for name in names)
        # Each has been received, and given back.
        until(lambda: _visible(smoke) == 0, _TICKET_S, lambda: "the queue still shows requests")
    finally:
        gate.resume()
    tickets = smoke.tickets(names, _ALL_S)
    if len(set(tickets)) != MANY:
        raise FailedCheckError(f"{MANY} requests have {len(set(tickets))} tickets")
    return f"{MANY} requests, {MANY} tickets"


def _visible(smoke: Smoke) -> int:
    name: Any = "ApproximateNumberOfMessages"
    attributes = smoke.stack.target.sqs.get_queue_attributes(
        QueueUrl=smoke.stack.target.requests_queue_url, AttributeNames=[name]
    )["Attributes"]
    return int(attributes[name])


def parked(smoke: Smoke) -> str:
    """50 invalid requests are listed whole three times running, redriven, and dropped."""
    mine = Selection(source=smoke.run)

    def listed() -> int:
        return sum(mine.has(copy) for copy in smoke.operations.parked().copies)

    def all_parked() -> bool:
        return listed() == MANY

    try:
        smoke.send(smoke.request(f"invalid-{number}", ticket={}) for number in range(MANY))
        until(all_parked, _TICKET_S * 2, lambda: f"{listed()} of {MANY} are parked")
        if (three := [listed() for _ in range(3)]) != [MANY] * 3:
            raise FailedCheckError(f"they were listed as {three}")
        sent: list[Any] = []
        smoke.operations.redrive(mine, report=sent.append, dry_run=False)
        if len(sent) != MANY:
            raise FailedCheckError(f"{len(sent)} of {MANY} were redriven")
        until(all_parked, _TICKET_S * 2, lambda: f"{listed()} of {MANY} came back")
    finally:
        dropped: list[Any] = []
        smoke.operations.drop(mine, "bridge smoke", report=dropped.append, dry_run=False)
    if len(dropped) != MANY:
        raise FailedCheckError(f"{len(dropped)} of {MANY} were dropped")
    return f"{MANY} listed three times, redriven, and dropped"


def schedule(smoke: Smoke) -> str:
    """The id of a one-time schedule's request holds its time."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5 if smoke.local else 90)
    tick = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    name = f"{smoke.run}-once"
    text = json.dumps(smoke.request(f"once-{SCHEDULED_TIME}"))
    resource = smoke.stack.target.cloudformation.describe_stack_resource(
        StackName=smoke.stack.target.name, LogicalResourceId="ScheduleRole"
    )["StackResourceDetail"]["PhysicalResourceId"]
    arn = smoke.stack.queue["QueueArn"]
    partition, account = arn.split(":")[1], arn.split(":")[4]
    smoke.stack.target.scheduler.create_schedule(
        Name=name,
        ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        # It leaves nothing behind.
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": arn,
            "RoleArn": f"arn:{partition}:iam::{account}:role/{resource}",
            # The emulator leaves these words as they are.
            "Input": text.replace(SCHEDULED_TIME, tick) if smoke.local else text,
        },
    )
    (ticket,) = smoke.tickets([f"once-{tick}"], _TICKET_S * 3)
    return f"ticket {ticket}"


def subscription(smoke: Smoke) -> str:
    """A subscription that filters by source gets its outcome, and no other."""
    target, wanted = smoke.stack.target, f"{smoke.run}-filtered"
    policy = {"source": [wanted]}
    with TopicQueue(target, target.outcomes_topic_arn, smoke.run, policy) as queue:
        smoke.send([smoke.request("unfiltered"), smoke.request("filtered", source=wanted)])
        smoke.tickets(["unfiltered", "filtered"], _TICKET_S)
        got: list[str] = []

        def came() -> bool:
            got.extend(json.loads(body)["data"]["request_id"] for body in queue.take(2))
            return bool(got)

        until(came, _TICKET_S, lambda: "no outcome has come")
    if got != [f"{smoke.run}/filtered"]:
        raise FailedCheckError(f"it got {got}")
    return "one outcome"


CHECKS: dict[str, Callable[[Smoke], str]] = {
    "bus": bus,
    "budget": budget,
    "refusals": refusals,
    "waiting": waiting,
    "forms": forms,
    "figures": figures,
    "dashboard": dashboard,
    "pause": pause,
    "parked": parked,
    "schedule": schedule,
    "subscription": subscription,
}


@dataclass(frozen=True)
class Result:
    """How one check ended: passed, failed or skipped."""

    check: str
    about: str
    state: str
    said: str
    seconds: float
    made: tuple[str, ...]


def run(smoke: Smoke, name: str) -> Result:
    """One check; whatever goes wrong is its result."""
    check, began, before = CHECKS[name], time.monotonic(), len(smoke.made)
    try:
        state, said = "passed", check(smoke)
    except SkippedCheckError as error:
        state, said = "skipped", str(error)
    except requests.RequestException as error:
        # Its text may hold an address, and an address a form's secret.
        state, said = "failed", f"no response: {type(error).__name__}"
    except (KeyError, ValueError) as error:
        state, said = "failed", f"something is missing or malformed: {type(error).__name__}"
    except (FailedCheckError, BridgeError, BotoCoreError, ClientError, OSError) as error:
        state, said = "failed", str(error)
    seconds = round(time.monotonic() - began, 1)
    return Result(name, (check.__doc__ or "").strip(), state, said, seconds, tuple(smoke.made[before:]))
