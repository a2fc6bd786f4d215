"""Checks a running stack for what is broken or risky; each check yields its findings."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import requests
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator import yaml_helper  # type: ignore[import-untyped]  # it has no types

from bridge.generate import sources
from bridge.local import folder
from bridge.local.helpdesks import HELPDESKS
from bridge.operating import words
from bridge.operating.log_lines import cause_of
from bridge.operating.words import PAUSED, Outage, near_time, outage_in
from bridge.stacks import deployment
from bridge.stacks.alarms import Alarm, alarms
from bridge.stacks.queues import OWN_QUEUES, count
from bridge.stacks.queues import subscriptions as subscribed
from helpdesk.errors import HelpdeskError
from helpdesk.settings import Settings, load_settings
from helpdesk.store.gate import ASKED_TO_WAIT, KEY_MISSING, OUTAGE, TOKEN_REFUSED, Budget, Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.stacks.target import Target
    from helpdesk.store.gate import GateState, RefusedKey

# As many records of a batch are carried out at a time (BatchSize and THREADS).
_BATCH = 25
# Lambda takes no fewer.
_LEAST_CONCURRENCY = 2
# One run each of the API, forms, callbacks and of what runs by the clock, while the queue takes its share.
_BESIDE_THE_QUEUE = 5
# Where no figure says how long a call takes.
_USUAL_CALL_S = 1.0
_DRIFT_S = 120.0
_DEAD_LETTERS = "dead-letters"
# Of an alarm about gates: why a helpdesk is not called while it holds.
_OF_GATES = {"paused": {PAUSED}, "helpdesk-down": {OUTAGE, ASKED_TO_WAIT}, "token-refused": {TOKEN_REFUSED}}
_OLDEST = "oldest-request"
# A request that waits is tried again within this time.
_USUAL_WAIT_S = 900.0
_ACCEPTED = {200, 400, 404, 422}
# What `sam deploy` puts in place of local paths.
_PACKAGED = {"CodeUri", "ContentUri"}


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters, and what to change."""

    what: str
    why: str
    change: str


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any


class Examined:
    """A stack, and what is read of it, once."""

    def __init__(self, target: Target, api_key: str | None = None) -> None:
        self.target = target
        self._api_key = api_key

    @cached_property
    def api_key(self) -> str:
        """What callers of the API show."""
        if self._api_key is not None:
            return self._api_key
        key = self.target.apigateway.get_api_key(apiKey=self.target.api_key_id, includeValue=True)
        return str(key["value"])

    @cached_property
    def consumer(self) -> Mapping[str, Any]:
        """The configuration of the function that carries requests out."""
        name = f"{self.target.name}-ticket-queue"
        return self.target.lambda_.get_function_configuration(FunctionName=name)

    @cached_property
    def settings(self) -> Settings:
        """The settings of that function. Raises SettingsError."""
        return load_settings(self.consumer["Environment"]["Variables"])

    @cached_property
    def queue(self) -> Mapping[str, str]:
        return self._attributes(self.target.requests_queue_url)

    @cached_property
    def dead_letter_queue(self) -> Mapping[str, str]:
        return self._attributes(self.target.dead_letter_queue_url)

    @cached_property
    def alarms(self) -> list[Alarm]:
        return alarms(self.target)

    @cached_property
    def mapping(self) -> Mapping[str, Any]:
        """How the queue is read."""
        return self.target.lambda_.list_event_source_mappings(
            EventSourceArn=self.queue["QueueArn"], FunctionName=self.consumer["FunctionName"]
        )["EventSourceMappings"][0]

    @property
    def concurrency(self) -> int:
        """How many batches may run at a time."""
        return int(self.mapping["ScalingConfig"]["MaximumConcurrency"])

    def call_s(self, helpdesk: str) -> float:
        """How long a request takes on the average of the last day, in seconds."""
        average = self._figure("RequestMilliseconds", "Average", 86400, helpdesk=helpdesk)
        return _USUAL_CALL_S if average is None else max(average / 1000, 0.001)

    def oldest_s(self) -> float:
        """How long the oldest request waits, as it was seen within the last 20 minutes."""
        return self._figure("OldestSeconds", "Maximum", 1200) or 0.0

    def _figure(
        self, name: str, statistic: Literal["Average", "Maximum"], period_s: int, **more: str
    ) -> float | None:
        """A figure of the stack over the last seconds; None where there is none."""
        now = datetime.now(UTC)
        dimensions = {"service": self.target.name, **more}
        points = self.target.cloudwatch.get_metric_statistics(
            Namespace="TicketBridge",
            MetricName=name,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=now - timedelta(seconds=period_s),
            EndTime=now,
            Period=period_s,
            Statistics=[statistic],
        )["Datapoints"]
        return max((point[statistic] for point in points), default=None)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> requests.Response:
        """One HTTP call as it is, without the API's key."""
        with requests.Session() as session:
            # No proxy stands between us and loopback.
            session.trust_env = self.target.endpoint_url is None
            return session.request(
                method, url, data=data, headers=dict(headers), timeout=35, allow_redirects=False
            )

    def call(self, path: str) -> Reply:
        """One read of the stack's own API."""
        response = self.send("GET", self.target.api_url + path, {"x-api-key": self.api_key})
        try:
            return Reply(response.status_code, response.json())
        except ValueError:
            return Reply(response.status_code, {})

    def _attributes(self, url: str) -> Mapping[str, str]:
        response: Any = self.target.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return cast("Mapping[str, str]", response["Attributes"])


def raised_alarms(stack: Examined) -> Iterator[Finding]:
    """The alarms, in their own words."""
    for alarm in stack.alarms:
        if alarm.is_raised:
            meaning, _, first = alarm.description.partition(" First: ")
            what = f"The alarm {alarm.name} has been raised since {near_time(alarm.since)}."
            if alarm.name == _DEAD_LETTERS:
                parked = count(stack.target.sqs, stack.target.dead_letter_queue_url)
                what += f" Requests parked: {parked}."
            change = first.removesuffix(".")
            if _is_over(stack, alarm):
                meaning = "What it was raised for is over. An alarm follows figures of the last minutes."
                change = "Nothing to do: it clears by itself"
            elif first.startswith("bridge doctor"):
                change = f"docs/operate.md, {alarm.name}; what is found below may say more"
            yield Finding(what, meaning, change)


def _is_over(stack: Examined, alarm: Alarm) -> bool:
    """Whether what an alarm was raised for is gone; False where nobody can see that at once."""
    if alarm.name == _DEAD_LETTERS:
        return not count(stack.target.sqs, stack.target.dead_letter_queue_url)
    if alarm.name not in _OF_GATES:
        return False
    with suppress(HelpdeskError):
        # Without the right to read gates the alarm is told as it is.
        gates = {name: _gate(stack, name) for name in stack.target.helpdesks}
        closed = (outage_in(name, gate) for name, gate in gates.items())
        reasons = {outage.reason for outage in closed if outage}
        reasons |= {TOKEN_REFUSED for gate in gates.values() if gate.refused}
        # A pause hides what else holds.
        return not reasons & {PAUSED, *_OF_GATES[alarm.name]}
    return False


def queues(stack: Examined) -> Iterator[Finding]:
    """What is parked and what waits for long, where no alarm says it."""
    raised = {alarm.name for alarm in stack.alarms if alarm.is_raised}
    parked = count(stack.target.sqs, stack.target.dead_letter_queue_url)
    if parked and _DEAD_LETTERS not in raised:
        yield Finding(
            f"Requests parked: {parked}.",
            "They were rejected, or given up. Each waits for a person, for 14 days at most.",
            stack.target.command("parked"),
        )
    oldest_s = stack.oldest_s()
    if oldest_s > _USUAL_WAIT_S and _OLDEST not in raised:
        waiting = count(stack.target.sqs, stack.target.requests_queue_url)
        yield Finding(
            f"A request has waited for {oldest_s / 60:.0f} minutes. Requests in the queue: {waiting}.",
            "Each is tried again within 15 minutes, so something lasts, or it ended just now."
            " What lasts may be among what is found here.",
            stack.target.command("requests --state waiting"),
        )


def times(stack: Examined) -> Iterator[Finding]:
    """Time-outs against visibility and lease."""
    timeout = stack.consumer["Timeout"]
    visible_s = int(stack.queue["VisibilityTimeout"])
    settings = stack.settings
    if visible_s < 6 * timeout:
        yield Finding(
            f"A message stays hidden for {visible_s} s, and the function may run for {timeout} s.",
            "A batch that takes long is delivered again while it runs. AWS asks for six times the time-out.",
            f"template.yaml: RequestsQueue, VisibilityTimeout: {6 * timeout}",
        )
    call_s = settings.connect_timeout_s + settings.read_timeout_s
    if call_s >= timeout - 5:
        yield Finding(
            f"A call may take {call_s:g} s, and the function ends after {timeout} s.",
            "A slow call is cut off in the middle, and becomes a doubt.",
            f"template.yaml: Globals, READ_TIMEOUT_S below {timeout - 5 - settings.connect_timeout_s:g}",
        )
    if not timeout < settings.lease_s < visible_s:
        yield Finding(
            f"A claim holds for {settings.lease_s} s; it must lie between {timeout} and {visible_s}.",
            "Shorter, and a call that still runs counts as crashed; longer, and a crash is noticed late.",
            f"template.yaml: Globals, LEASE_S: {timeout + 10}",
        )


def memory(stack: Examined) -> Iterator[Finding]:
    """How long the ledger remembers, against how long a request can come back."""
    settings = stack.settings
    kept_s = int(stack.queue["MessageRetentionPeriod"])
    dead_s = int(stack.dead_letter_queue["MessageRetentionPeriod"])
    days = math.ceil((kept_s + dead_s) / 86400)
    if settings.ledger_days < days:
        yield Finding(
            f"The ledger forgets after {settings.ledger_days} days, and a request can come back for {days}.",
            "One that is redriven after that is taken for new, and makes a second ticket.",
            f"template.yaml: Globals, LEDGER_DAYS: {days}",
        )
    if settings.give_up_after_s + settings.max_delay_s >= kept_s:
        yield Finding(
            f"Requests are given up after {settings.give_up_after_s / 3600:g} h;"
            f" the queue forgets them after {kept_s / 3600:g} h.",
            "What the queue forgets is lost without an outcome.",
            f"GiveUpAfterHours={kept_s // 3600 - 24} in bridge.toml",
        )
    life = stack.target.dynamodb.describe_time_to_live(TableName=stack.target.ledger_table)
    if life["TimeToLiveDescription"].get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        yield Finding(
            "Items of the ledger do not expire.",
            "The table grows for ever, and so does its price.",
            f"template.yaml: LedgerTable, TimeToLiveSpecification on expires_at; then {stack.target.deploy}",
        )


def reading(stack: Examined) -> Iterator[Finding]:
    """Whether the queue is read, and whether the account has room for what reads it."""
    if stack.mapping["State"] in ("Disabled", "Disabling"):
        yield Finding(
            "Nobody reads the queue of requests: its event source mapping is disabled.",
            "Requests are accepted and wait.",
            f"aws lambda update-event-source-mapping --uuid {stack.mapping['UUID']} --enabled",
        )
    limit = stack.target.lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    if stack.concurrency + _BESIDE_THE_QUEUE > limit:
        yield Finding(
            f"The queue may take {stack.concurrency} of the {limit} runs at a time that this account has.",
            "While it does, forms and the API are refused and runs by the clock fall out.",
            f"QueueConcurrency={max(_LEAST_CONCURRENCY, limit - _BESIDE_THE_QUEUE)} in bridge.toml,"
            " or ask AWS for a higher quota of Lambda's concurrent executions",
        )


def load(stack: Examined) -> Iterator[Finding]:
    """Concurrency and latency against the budgets."""
    settings = stack.settings
    for name, helpdesk in settings.accounts.items():
        if not helpdesk.budget:
            continue
        call_s = stack.call_s(name)
        batches = helpdesk.budget / helpdesk.budget_period_s * call_s / _BATCH
        needed = max(_LEAST_CONCURRENCY, math.ceil(batches))
        figures = (
            f"{stack.concurrency} batches at a time, {call_s:.1f} s a call,"
            f" {helpdesk.budget} calls in {helpdesk.budget_period_s:g} s for {name}"
        )
        if stack.concurrency < batches:
            yield Finding(
                f"The budget cannot be used: {figures}.",
                "Requests wait although the helpdesk would take them.",
                f"QueueConcurrency={needed} in bridge.toml",
            )
        elif stack.concurrency > 2 * needed:
            yield Finding(
                f"More runs at a time than the budget feeds: {figures}.",
                "Batches find the budget drawn: they cost invocations, and requests go to and fro.",
                f"QueueConcurrency={needed} in bridge.toml",
            )


def subscriptions(stack: Examined) -> Iterator[Finding]:
    """Who gets outcomes, and whether they chose which."""
    for subscription in subscribed(stack.target, stack.settings.outcomes_topic_arn):
        endpoint, arn = subscription["Endpoint"], subscription["SubscriptionArn"]
        if endpoint.rpartition(":")[2].startswith(OWN_QUEUES):
            # The local stack's own, which get everything on purpose.
            continue
        if not arn.startswith("arn:"):
            yield Finding(
                f"{endpoint} has not confirmed its subscription.",
                "It gets no outcome.",
                "Let it answer the confirmation that SNS has sent, or subscribe it again",
            )
        elif not _filter_of(stack.target.sns, arn):
            yield Finding(
                f"{endpoint} gets every outcome.",
                "It gets those of other sources too, and each kind of event that is added one day.",
                f"aws sns set-subscription-attributes --subscription-arn {arn}"
                ' --attribute-name FilterPolicy --attribute-value \'{"source": ["..."]}\'',
            )


def _filter_of(sns: Any, subscription: str) -> Any:
    attributes = sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]
    return json.loads(attributes.get("FilterPolicy") or "{}")


def template(stack: Examined) -> Iterator[Finding]:
    """Whether what is deployed is this version's template, with this folder's schedules, and as deployed."""
    formation = stack.target.cloudformation
    deployed = deployment.template_of(formation, stack.target.name)
    here = yaml_helper.yaml_parse(sources.template(folder.found()))
    other = [
        f"{part}.{name}"
        for part in ("Parameters", "Resources", "Outputs")
        for name in sorted({*here[part], *deployed.get(part, {})})
        if _comparable(here[part].get(name)) != _comparable(deployed.get(part, {}).get(name))
    ]
    if other:
        yield Finding(
            f"The deployed template is not the one of this version and folder: {', '.join(other[:10])}"
            + (f" and {len(other) - 10} more." if len(other) > 10 else "."),
            "Docs, alarms and checks speak of what is here.",
            f"{stack.target.deploy}, or install the version that is deployed",
        )
    if stack.target.endpoint_url is None:
        yield from _drift(formation, stack.target.name)


def _comparable(part: Any) -> Any:
    """A part of a template without the properties that a deployment changes."""
    if not isinstance(part, dict):
        return part
    properties = {name: value for name, value in part.get("Properties", {}).items() if name not in _PACKAGED}
    rest = {name: value for name, value in part.items() if name not in ("Properties", "Metadata")}
    return json.loads(json.dumps(rest | {"Properties": properties}, default=str))


def _drift(formation: Any, stack: str) -> Iterator[Finding]:
    detection = formation.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
    deadline = time.monotonic() + _DRIFT_S
    while True:
        status = formation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if status["DetectionStatus"] != "DETECTION_IN_PROGRESS" or time.monotonic() > deadline:
            break
        time.sleep(2)
    drifts = formation.describe_stack_resource_drifts(
        StackName=stack, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"]
    )["StackResourceDrifts"]
    for drift in drifts:
        changed = ", ".join(change["PropertyPath"] for change in drift.get("PropertyDifferences", []))
        yield Finding(
            f"{drift['LogicalResourceId']} has been changed by hand: {changed or 'it is gone'}.",
            "The next deployment may undo it, and nobody else knows of it.",
            f"template.yaml: {drift['LogicalResourceId']}, or bridge deploy to undo it",
        )


def tokens(stack: Examined) -> Iterator[Finding]:
    """Whether each helpdesk can be asked, by one harmless call, where the gate's checks do not say it."""
    for name in stack.settings.helpdesks:
        # Whether there is such a ticket does not matter.
        reply = stack.call(f"/tickets/1?helpdesk={name}")
        gate = _gate(stack, name)
        if reply.status in _ACCEPTED or "get" in gate.refused or outage_in(name, gate):
            continue
        code = reply.body.get("code", f"HTTP {reply.status}")
        yield Finding(
            f"{name} cannot be asked: {code}.",
            "Requests for it wait until it can.",
            _put_secret(stack, name)
            if code in _OF_THE_SECRET
            else _REMEDIES.get(code, "docs/operate.md, When a gate closes"),
        )


def refused_keys(stack: Examined) -> Iterator[Finding]:
    """The keys that a helpdesk refuses, as its gate knows them; after the call of `tokens`."""
    for name in stack.target.helpdesks:
        refused = _gate(stack, name).refused
        if not refused:
            continue
        waiting = count(stack.target.sqs, stack.target.requests_queue_url)
        without = [_WITHOUT[operation] for operation in sorted(refused)]
        if len(refused) < len(_WITHOUT):
            without.append("Other operations go on.")
        yield Finding(
            " ".join([*words.refused_keys(name, refused), f"Requests in the queue: {waiting}."]),
            " ".join(without),
            # All in one secret: who puts one key after the other loses the first.
            _put_secret(stack, name, refused),
        )


def _gate(stack: Examined, helpdesk: str) -> GateState:
    return Gate(stack.target.table, helpdesk, Budget()).read()


_WITHOUT = {
    "add": "Adds wait.",
    "update": "Updates wait.",
    "get": "Gets, the watch and callbacks wait.",
    "pull": "A lost answer cannot be looked up, so its request is parked for a person in the end."
    " The daily audit is off.",
}


def outages(stack: Examined) -> Iterator[Finding]:
    """Whether each helpdesk is called; after the call of `tokens`, which may close or open a gate."""
    for name in stack.target.helpdesks:
        outage = outage_in(name, _gate(stack, name))
        if outage is None:
            continue
        outage = replace(outage, cause=cause_of(stack.target, outage))
        waiting = count(stack.target.sqs, stack.target.requests_queue_url)
        why = "Requests are accepted; none is lost."
        if outage.cause:
            why = f"{words.capital(words.reason(outage.cause, name))}. {why}"
        is_only = len(stack.target.helpdesks) == 1
        yield Finding(outage.sentence(waiting, is_only=is_only), why, _against(stack, outage))


def _against(stack: Examined, outage: Outage) -> str:
    """What there is to do about an outage."""
    if outage.reason == PAUSED:
        return stack.target.command(f"resume --helpdesk {outage.helpdesk}")
    if outage.reason == TOKEN_REFUSED:
        return _put_secret(stack, outage.helpdesk)
    if outage.cause == words.RATE_LIMITED:
        parameter = f"{words.title(outage.helpdesk)}Budget"
        settings = stack.settings.accounts[outage.helpdesk]
        allowed = (
            f"{settings.budget} calls in {settings.budget_period_s:g} s" if settings.budget else "no limit"
        )
        return (
            f"Nothing to do now. If it comes again: {parameter} in bridge.toml, below what"
            f" {words.title(outage.helpdesk)} allows (now {allowed}), then {stack.target.deploy}"
        )
    return f"Nothing to do. To follow it: {stack.target.command('logs ticket-queue')}"


def _put_secret(stack: Examined, helpdesk: str, refused: Mapping[str, RefusedKey] | None = None) -> str:
    refused = refused or {}
    arn = stack.settings.accounts[helpdesk].secret_arn
    shape = next(desk.credentials for desk in HELPDESKS if desk.name == helpdesk)
    names = _names_in(stack, arn)
    if not {*names} & {*shape, *_WITHOUT}:
        # These credentials may not read it, or nothing in it is a key.
        names = [*shape, *sorted(refused)]
    names += [operation for operation, key in sorted(refused.items()) if key.code == KEY_MISSING]
    text = json.dumps(dict.fromkeys(names, "..."))
    return stack.target.aws(f"secretsmanager put-secret-value --secret-id {arn} --secret-string '{text}'")


def _names_in(stack: Examined, arn: str) -> list[str]:
    """The names of what a secret holds: it is put as a whole, and who leaves out a name loses its key."""
    try:
        text = stack.target.secretsmanager.get_secret_value(SecretId=arn)["SecretString"]
        held = json.loads(text)
    except (BotoCoreError, ClientError, ValueError):
        return []
    return list(held) if isinstance(held, dict) else []


_OF_THE_SECRET = {"token_refused", "login_page", "secret_malformed"}
_REMEDIES = {
    "api_key_refused": "the key of output ApiKeyId belongs to no usage plan of this API: bridge deploy",
}


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    raised_alarms,
    queues,
    tokens,
    refused_keys,
    outages,
    times,
    memory,
    reading,
    load,
    subscriptions,
    template,
)
