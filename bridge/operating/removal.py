"""Removes a stack from an account, after saying what goes, what stays, and what requests it holds."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.operating.operations import Operations
from bridge.stacks import deployment, queues

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mypy_boto3_cloudformation.client import CloudFormationClient

    from bridge.stacks.target import Target

# What each stack of ours has, whatever its release.
_OURS = {"RequestsQueue", "DeadLetterQueue", "LedgerTable"}
# More doubts are not counted.
_MOST_DOUBTS = 500
# What one costs that stays, and how it is deleted by hand.
_KEPT = {
    "AWS::SQS::Queue": (
        "costs nothing; each message expires 14 days after it came",
        "aws sqs delete-queue --queue-url",
    ),
    "AWS::DynamoDB::Table": (
        "costs its storage and its backups, some cents for each GB and month",
        "aws dynamodb delete-table --table-name",
    ),
    "AWS::SecretsManager::Secret": (
        "costs $0.40 a month",
        "aws secretsmanager delete-secret --secret-id",
    ),
}
_NOUNS = {
    "AWS::Lambda::Function": "function",
    "AWS::Logs::LogGroup": "log group",
    "AWS::ApiGateway::RestApi": "API",
    "AWS::SNS::Topic": "topic",
    "AWS::Events::EventBus": "event bus",
    "AWS::Scheduler::Schedule": "schedule",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::CloudWatch::Dashboard": "dashboard",
    "AWS::IAM::Role": "role",
}


@dataclass(frozen=True)
class Resource:
    """One resource of a stack; `id` is what AWS calls it."""

    name: str
    type: str
    id: str


@dataclass(frozen=True)
class Contents:
    """The requests that a stack holds. Those in doubt wait in the queue as well."""

    waiting: int
    in_doubt: int
    parked: int

    def lines(self) -> Iterator[str]:
        yield (
            f"holds    {self.waiting} requests in the queue, {self.in_doubt} of them in doubt,"
            f" and {self.parked} parked copies"
        )
        if self.waiting:
            yield "         Nobody will carry those in the queue out: better let it run empty before."


@dataclass(frozen=True)
class Removal:
    """What the removal of a stack would do."""

    stack: str
    # A deleted stack is known by its id alone.
    stack_id: str
    goes: tuple[Resource, ...]
    stays: tuple[Resource, ...]
    # False for a stack whose first deployment failed: it never held anything.
    was_deployed: bool = True

    def lines(self, options: str) -> Iterator[str]:
        """It in people's words; `options` stand in each command by which something is deleted by hand."""
        yield f"goes     {_counted(self.goes)}"
        yield "         With them go the API's address and key, the subscriptions to outcomes, and the logs."
        for resource in self.stays:
            cost, command = _KEPT[resource.type]
            yield f"stays    {resource.name} ({deployment.kind_of(resource.type)}): {cost}"
            yield f"           {command} {resource.id} {options}"
        yield f"stays    secrets of forms that you have made ({self.stack}/forms/...): $0.40 a month each"


def read(formation: CloudFormationClient, stack: str) -> Removal:
    """What the removal of a stack would do, by its own template. Raises BridgeError where it is not ours."""
    (described,) = formation.describe_stacks(StackName=stack)["Stacks"]
    template = deployment.template_of(formation, stack)
    if not template["Resources"].keys() >= _OURS:
        raise BridgeError(f"{stack} is no stack of Ticket Bridge")
    resources = [
        Resource(summary["LogicalResourceId"], summary["ResourceType"], summary["PhysicalResourceId"])
        for summary in deployment.resources(formation, stack)
    ]
    goes, stays = sorted_out(template, resources)
    return Removal(stack, described["StackId"], goes, stays, was_deployed=bool(described.get("Outputs")))


def sorted_out(
    template: Mapping[str, Any], resources: Sequence[Resource]
) -> tuple[tuple[Resource, ...], tuple[Resource, ...]]:
    """What goes with a stack and what stays, by the deletion policies of its template."""
    stays = [each for each in resources if deployment.is_kept(template["Resources"].get(each.name, {}))]
    return tuple(each for each in resources if each not in stays), tuple(stays)


def contents(target: Target) -> Contents:
    """The requests that a stack holds at the moment."""
    operations = Operations(target)
    doubts = sum(len(operations.doubts(helpdesk, _MOST_DOUBTS)) for helpdesk in target.helpdesks)
    return Contents(
        queues.count(target.sqs, target.requests_queue_url),
        doubts,
        queues.count(target.sqs, target.dead_letter_queue_url),
    )


def execute(formation: CloudFormationClient, removal: Removal) -> None:
    """Delete the stack, and wait for its end. Raises BridgeError with what could not be deleted."""
    began = time.time()
    formation.delete_stack(StackName=removal.stack_id)
    status = deployment.wait(
        formation, removal.stack_id, lambda status: status in ("DELETE_COMPLETE", "DELETE_FAILED")
    )
    if status == "DELETE_FAILED":
        reasons = deployment.failures(formation, removal.stack_id, began)
        raise BridgeError(f"{removal.stack} could not be removed whole:\n{reasons}")


def _counted(resources: Sequence[Resource]) -> str:
    known = Counter(_NOUNS[resource.type] for resource in resources if resource.type in _NOUNS)
    parts = [f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in known.most_common()]
    return ", ".join([*parts, f"{len(resources) - known.total()} others"])
