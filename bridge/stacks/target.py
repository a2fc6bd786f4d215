"""Which stack a command is about: the local one, or one deployed into an AWS account."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local import emulator, folder
from bridge.local.sam import STACK_NAME
from helpdesk.store.table import Table

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_logs.client import CloudWatchLogsClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient

    from bridge.local.folder import Stage
    from bridge.local.state import Stack

_FUNCTIONS = (
    "ticket-queue",
    "ticket-api",
    "form-intake",
    "callbacks",
    "resolve-doubts",
    "watch",
    "daily-audit",
)


@dataclass(frozen=True)
class Target:
    """Names and clients of one stack."""

    session: boto3.Session
    endpoint_url: str | None
    name: str
    requests_queue_url: str
    dead_letter_queue_url: str
    ledger_table: str
    # Those that are served, the default first.
    helpdesks: tuple[str, ...]

    @cached_property
    def sqs(self) -> SQSClient:
        return self.session.client("sqs", endpoint_url=self.endpoint_url)

    @cached_property
    def sns(self) -> SNSClient:
        return self.session.client("sns", endpoint_url=self.endpoint_url)

    @cached_property
    def secretsmanager(self) -> SecretsManagerClient:
        return self.session.client("secretsmanager", endpoint_url=self.endpoint_url)

    @cached_property
    def environment(self) -> dict[str, str]:
        """The settings of the function that carries requests out."""
        functions = self.session.client("lambda", endpoint_url=self.endpoint_url)
        configuration = functions.get_function_configuration(FunctionName=f"{self.name}-ticket-queue")
        return dict(configuration["Environment"]["Variables"])

    @property
    def outcomes_topic_arn(self) -> str:
        """The topic to which outcomes are published."""
        return self.environment["OUTCOMES_TOPIC_ARN"]

    @cached_property
    def operator(self) -> str:
        """Who uses the tools: the name of the AWS identity; on the local stack that of the user."""
        if self.endpoint_url is None:
            arn = self.session.client("sts").get_caller_identity()["Arn"]
            return arn.rpartition(":")[2]
        try:
            return getpass.getuser()
        except OSError:
            # In a container the user may have no name.
            return f"user {os.getuid()}"

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return self.session.client("dynamodb", endpoint_url=self.endpoint_url)

    @cached_property
    def table(self) -> Table:
        return Table(self.dynamodb, self.ledger_table)

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self.session.client("cloudwatch", endpoint_url=self.endpoint_url)

    def schedule(self, name: str) -> tuple[str, str, str] | None:
        """State, expression and zone of a schedule in the account; None where there is none."""
        scheduler = self.session.client("scheduler", endpoint_url=self.endpoint_url)
        try:
            schedule = scheduler.get_schedule(Name=name)
        except scheduler.exceptions.ResourceNotFoundException:
            return None
        zone = schedule.get("ScheduleExpressionTimezone", "UTC")
        return schedule["State"], schedule["ScheduleExpression"], zone

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self.session.client("logs", endpoint_url=self.endpoint_url)

    @property
    def log_groups(self) -> list[str]:
        """The log groups of the functions."""
        return [f"/aws/lambda/{self.name}-{function}" for function in _FUNCTIONS]


def local(stack: Stack) -> Target:
    """The local stack that runs."""
    return Target(
        session=emulator.session(),
        endpoint_url=stack.endpoint_url,
        name=STACK_NAME,
        requests_queue_url=stack.requests_queue_url,
        dead_letter_queue_url=stack.dead_letter_queue_url,
        ledger_table=stack.ledger_table,
        helpdesks=tuple(stack.helpdesks.split(",")),
    )


def account(stage: str, described: Stage, endpoint: str | None = None) -> boto3.Session:
    """The session of a stage's account; at another address than the account's only where `endpoint` names it.

    Raises BridgeError.
    """
    session = boto3.Session(profile_name=described.profile, region_name=described.region)
    if session.region_name is None:
        raise BridgeError(f"No region is known: say it in {folder.NAME}, as region of the stage {stage}")
    address = session.client("cloudformation").meta.endpoint_url
    if is_elsewhere(address) and address != endpoint:
        raise BridgeError(
            f"Refused: AWS_ENDPOINT_URL, or your AWS set-up, leads to {address} and not into the account of"
            f" the stage {stage}. `bridge env` sets the variable, and credentials with it: use another shell."
            f" If that address is meant: --allow-endpoint {address}"
        )
    return session


def is_elsewhere(address: str) -> bool:
    """Whether an address of CloudFormation is none of AWS."""
    return "amazonaws." not in address


def deployed(name: str, session: boto3.Session | None = None) -> Target:
    """A stack in the AWS account of a session; by default of the usual credentials.

    Raises:
        BridgeError: there is no such stack, or the credentials do not reach it.
    """
    try:
        session = session or boto3.Session()
        formation: CloudFormationClient = session.client("cloudformation")
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
    except (BotoCoreError, ClientError, ValueError) as error:
        # An empty region is a ValueError.
        raise BridgeError(f"The stack {name} cannot be read: {error}") from error
    outputs: dict[str, Any] = {
        output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])
    }
    try:
        return Target(
            session=session,
            endpoint_url=None,
            name=name,
            requests_queue_url=outputs["RequestsQueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            ledger_table=outputs["LedgerTableName"],
            helpdesks=tuple(outputs["Helpdesks"].split(",")),
        )
    except KeyError as error:
        raise BridgeError(f"{name} is no stack of Ticket Bridge: it has no output {error}") from error
