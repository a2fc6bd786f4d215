"""Deploys a stack in two steps: a change set that is told in people's words, and its execution."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from samtranslator import yaml_helper  # type: ignore[import-untyped]  # it has no types

from bridge.errors import BridgeError
from bridge.generate import releases
from bridge.local import processes, sam
from bridge.local.state import write_json
from bridge.stacks.target import is_elsewhere, outputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackResourceSummaryTypeDef

    from bridge.local.sam import Site
    from bridge.local.state import StateFolder

# What holds requests, what became of them, or what an operator has put there.
_PRECIOUS = {
    "AWS::SQS::Queue": "queue",
    "AWS::DynamoDB::Table": "table",
    "AWS::SecretsManager::Secret": "secret",
}
# A change of these writes another value over the one that somebody has put there.
_VALUE_OF = {"AWS::SecretsManager::Secret": {"GenerateSecretString", "SecretString"}}
_FUNCTION = "AWS::Lambda::Function"
_IN_PROGRESS = "_IN_PROGRESS"
# CloudFormation changes such a stack no more.
_ONLY_TO_REMOVE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
# The field e_machine of ELF's header, 18 bytes from its beginning.
_MACHINES = {0xB7: "arm64", 0x3E: "x86_64"}
# A first deployment takes about four minutes, and a roll-back as long again.
_EXECUTION_S = 1800.0


@dataclass(frozen=True)
class Change:
    """One resource that a deployment makes, changes, replaces or removes."""

    name: str
    type: str
    # add, modify, replace, may replace, or remove.
    action: str
    # Whether the resource outlives its place in the stack.
    kept: bool = False
    # The properties that change.
    properties: tuple[str, ...] = ()
    # Whether it only refers to what changes: CloudFormation looks at it, and mostly finds the same value.
    follows: bool = False

    @property
    def overwrites(self) -> bool:
        """Whether CloudFormation would put another value into a secret that stays."""
        return self.action == "modify" and _VALUE_OF.get(self.type, set()) & {*self.properties} != set()

    @property
    def precious(self) -> str:
        """Queue, table or secret where the change would lose one, or what it holds; else empty."""
        loses = self.overwrites or self.action in ("replace", "may replace", "remove")
        return _PRECIOUS.get(self.type, "") if loses else ""


@dataclass(frozen=True)
class Plan:
    """What a deployment would do."""

    is_new: bool
    change_set: str | None
    changes: tuple[Change, ...] = ()
    # The values that change, by parameter: before (None where there is none) and after.
    parameters: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.change_set is None

    @property
    def changes_code(self) -> bool:
        """Whether the functions get other code, and form files with it."""
        return any("Code" in change.properties for change in self.changes)

    def losses(self, allowed: Sequence[str] = ()) -> list[Change]:
        """Queues, tables and secrets that it would replace or remove, but those that are named."""
        return [change for change in self.changes if change.precious and change.name not in allowed]

    def lines(self) -> Iterator[str]:
        """It in people's words, the gravest first."""
        for change in self.changes:
            if change.overwrites or change.action in ("remove", "replace", "may replace"):
                verb = "overwritten" if change.overwrites else _VERBS[change.action]
                yield f"{verb:10}  {change.name} ({kind_of(change.type)}){_fate(change)}"
        for name, (before, after) in self.parameters.items():
            if not (self.is_new or before is None):
                yield f"setting     {name}: {before or '(empty)'} -> {after or '(empty)'}"
            elif before is None and not self.is_new:
                yield f"setting     {name}: {after or '(empty)'} (new)"
        functions = [change for change in self.changes if change.type == _FUNCTION]
        modified = [change for change in functions if change.action == "modify"]
        if modified:
            properties = sorted({name for change in modified for name in change.properties})
            what = modified[0].name if len(modified) == 1 else f"{len(modified)} functions"
            yield f"{_VERBS['modify']:10}  {what}: {', '.join(map(_property, properties))}"
        for action in ("add", "modify"):
            others = [
                change
                for change in self.changes
                if change.action == action
                and change not in modified
                and not (change.follows or change.overwrites)
            ]
            if self.is_new and others:
                yield _counted(others)
            else:
                yield from (
                    f"{_VERBS[action]:10}  {change.name} ({kind_of(change.type)})" for change in others
                )


_VERBS = {
    "add": "new",
    "modify": "changed",
    "replace": "replaced",
    "may replace": "may be replaced",
    "remove": "removed",
}


def removed(
    template: Mapping[str, Any],
    parameters: Mapping[str, str],
    running: Mapping[str, str],
    deployed: Mapping[str, Any],
) -> list[Change]:
    """Queues, tables and secrets that run (their types by name) and that the template would make no more.

    A second opinion: not every CloudFormation names in its change set what goes because a condition turns.
    What becomes of them says the template that is deployed.
    """

    def holds(condition: Any) -> bool:
        ((verb, of),) = condition.items()
        match verb:
            case "Condition":
                return holds(template["Conditions"][of])
            case "Fn::Not":
                return not holds(of[0])
            case "Fn::And":
                return all(map(holds, of))
            case "Fn::Or":
                return any(map(holds, of))
        first, second = (parameters.get(part["Ref"]) if isinstance(part, dict) else part for part in of)
        return str(first) == str(second)

    resources = template["Resources"]
    return [
        Change(name, type_, "remove", kept=is_kept(deployed["Resources"].get(name, {})))
        for name, type_ in running.items()
        if type_ in _PRECIOUS
        and (
            name not in resources
            or ("Condition" in resources[name] and not holds({"Condition": resources[name]["Condition"]}))
        )
    ]


def is_kept(resource: Mapping[str, Any]) -> bool:
    """Whether a template's resource outlives its place in the stack."""
    return str(resource.get("DeletionPolicy", "Delete")).startswith("Retain")


def build(state: StateFolder, site: Site, template: Path) -> None:
    """Build for the site's architecture. Raises BridgeError where that fails, or is for another machine."""
    sam.finish(state, sam.start_build(state, site, template))
    check_machines(sam.built(state, site) / "HelpdeskLayer", site.architecture)


def check_machines(layer: Path, architecture: str) -> None:
    """Raises BridgeError where a built library is for another machine than the functions will run on."""
    for library in layer.rglob("*.so*"):
        machine = int.from_bytes(library.read_bytes()[18:20], "little")
        if _MACHINES.get(machine) != architecture:
            raise BridgeError(f"{library.name} is not for {architecture}: remove the folder .bridge/*/sam")


def running_parameters(formation: CloudFormationClient, stack: str) -> dict[str, str] | None:
    """The values with which a stack runs; None without one. Raises what botocore raises."""
    try:
        (described,) = formation.describe_stacks(StackName=stack)["Stacks"]
    except formation.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    if described["StackStatus"] == "REVIEW_IN_PROGRESS":
        # A first change set that nobody has executed.
        return None
    return {
        parameter["ParameterKey"]: parameter["ParameterValue"]
        for parameter in described.get("Parameters", [])
    }


def check_can_change(formation: CloudFormationClient, site: Site) -> None:
    """Raises BridgeError where all that is there is what a failed first deployment has left."""
    if _status(formation, site.stack) in _ONLY_TO_REMOVE:
        raise BridgeError(_how_to_remove(site))


def _how_to_remove(site: Site) -> str:
    return (
        f"The first deployment of {site.stack} failed, and nothing of it runs. Remove what is left, then"
        f" deploy again:\n  aws cloudformation delete-stack {' '.join(site.place)} --stack-name {site.stack}"
    )


def template_of(formation: CloudFormationClient, stack: str) -> dict[str, Any]:
    """The template that is deployed, as it was sent."""
    body: Any = formation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    template: dict[str, Any] = yaml_helper.yaml_parse(body) if isinstance(body, str) else body
    return template


def running_release(formation: CloudFormationClient, stack: str) -> str | None:
    """The release that a stack says it is; the first one did not say it. None where nothing was deployed."""
    outputs = outputs_of(formation, stack)
    return outputs.get(releases.OUTPUT, releases.FIRST) if outputs else None


def plan(
    state: StateFolder, site: Site, formation: CloudFormationClient, parameters: Mapping[str, str]
) -> Plan:
    """Makes the change set of what was built, and executes nothing. Raises BridgeError."""
    before = running_parameters(formation, site.stack)
    path = sam.built(state, site) / "template.yaml"
    template = yaml_helper.yaml_parse(path.read_text())
    # JSON is YAML as well, and the SAM CLI parses the template seven times.
    write_json(path, template)
    made = sam.change_set(state, sam.start_change_set(state, site, parameters))
    if made is None:
        return Plan(before is None, None)
    pages = formation.get_paginator("describe_change_set").paginate(ChangeSetName=made, StackName=site.stack)
    description: Any = pages.build_full_result()
    after = {entry["ParameterKey"]: entry["ParameterValue"] for entry in description.get("Parameters", [])}
    changes = [_change(entry["ResourceChange"]) for entry in description["Changes"]]
    listed = {change.name: change for change in changes}
    gone = []
    if before is not None:
        running = {
            resource["LogicalResourceId"]: resource["ResourceType"]
            for resource in resources(formation, site.stack)
        }
        gone = removed(template, after, running, template_of(formation, site.stack))
    lost = [change for change in gone if change.name not in listed]
    return Plan(
        is_new=before is None,
        change_set=made,
        changes=(*lost, *listed.values()),
        parameters={
            name: ((before or {}).get(name), value)
            for name, value in after.items()
            if (before or {}).get(name) != value
        },
    )


def discard(formation: CloudFormationClient, site: Site, planned: Plan) -> None:
    """Remove a change set that is not to be executed, and the empty stack that a first one has made."""
    if planned.change_set:
        formation.delete_change_set(ChangeSetName=planned.change_set, StackName=site.stack)
        if planned.is_new:
            formation.delete_stack(StackName=site.stack)


def execute(formation: CloudFormationClient, site: Site, planned: Plan) -> None:
    """Carry the change set out, and wait for its end. Raises BridgeError with what has failed."""
    if planned.change_set is None:
        return
    began = time.time()
    formation.execute_change_set(ChangeSetName=planned.change_set, StackName=site.stack)
    status = wait(formation, site.stack, lambda status: not status.endswith(_IN_PROGRESS))
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        reasons = failures(formation, site.stack, began)
        message = f"The deployment of {site.stack} failed and was taken back ({status}):\n{reasons}"
        raise BridgeError(f"{message}\n{_how_to_remove(site)}" if status in _ONLY_TO_REMOVE else message)


def wait(formation: CloudFormationClient, stack: str, is_over: Callable[[str], bool]) -> str:
    """The status with which an operation is over. Raises BridgeError where that takes too long."""
    began = time.time()
    # An emulator answers at once, and nobody counts its calls.
    pause = 0.2 if is_elsewhere(formation.meta.endpoint_url) else 5.0
    while not is_over(status := _status(formation, stack)):
        processes.check_stop()
        if time.time() - began > _EXECUTION_S:
            raise BridgeError(f"{stack} is still {status}: look at it in CloudFormation's console")
        time.sleep(pause)
    return status


def resources(formation: CloudFormationClient, stack: str) -> list[StackResourceSummaryTypeDef]:
    pages = formation.get_paginator("list_stack_resources").paginate(StackName=stack)
    every = pages.search("StackResourceSummaries[]")
    return [resource for resource in every if resource["ResourceStatus"] != "DELETE_COMPLETE"]


def _status(formation: CloudFormationClient, stack: str) -> str:
    (described,) = formation.describe_stacks(StackName=stack)["Stacks"]
    return described["StackStatus"]


def failures(formation: CloudFormationClient, stack: str, since: float) -> str:
    """What has failed since a moment and why, one in a line."""
    events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    return "\n".join(
        f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason is given')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED") and event["Timestamp"].timestamp() >= since - 60
    )


def _change(change: Mapping[str, Any]) -> Change:
    action = {"Add": "add", "Modify": "modify", "Remove": "remove", "Import": "add"}.get(
        change["Action"], "may replace"
    )
    if action == "modify":
        replacement = change.get("Replacement", "False")
        action = {"True": "replace", "Conditional": "may replace"}.get(replacement, "modify")
        if action == "may replace" and change["ResourceType"] not in _PRECIOUS:
            # Nearly everything that refers to a resource which changes is called so.
            action = "modify"
    details = change.get("Details", [])
    targets = (detail["Target"] for detail in details)
    properties = dict.fromkeys(target.get("Name") or target["Attribute"] for target in targets)
    return Change(
        change["LogicalResourceId"],
        change["ResourceType"],
        action,
        kept=change.get("PolicyAction", "Delete") in ("Retain", "ReplaceAndRetain"),
        properties=tuple(properties),
        follows=bool(details) and all(detail["Evaluation"] == "Dynamic" for detail in details),
    )


def _fate(change: Change) -> str:
    if change.overwrites:
        return ": its value is lost"
    if change.kept:
        return ": the stack forgets it; it stays in the account with what it holds"
    return ": it is deleted, with what it holds" if change.precious else ""


def kind_of(type_: str) -> str:
    """A type of CloudFormation as people say it."""
    return _PRECIOUS.get(type_, type_.rpartition("::")[2].lower())


def _property(name: str) -> str:
    return {"Code": "code", "Environment": "settings", "Layers": "layer"}.get(name, name)


def _counted(changes: Sequence[Change]) -> str:
    kinds: dict[str, int] = {}
    for change in changes:
        kinds[kind_of(change.type)] = kinds.get(kind_of(change.type), 0) + 1
    return f"{'new':10}  " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
