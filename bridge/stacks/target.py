"""Which stack a command is about: the local one, or one deployed into an AWS account."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import requests
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from bridge.aws import AwsClients, refuse_web_pages
from bridge.errors import BridgeError
from bridge.local import emulator, folder
from bridge.local.sam import STACK_NAME
from helpdesk.store.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_cloudformation.client import CloudFormationClient

    from bridge.local.folder import Stage
    from bridge.local.state import Stack

# Stands for --stack.
STACK_VARIABLE = "BRIDGE_STACK"
FUNCTIONS = (
    "ticket-queue",
    "ticket-api",
    "form-intake",
    "callbacks",
    "resolve-doubts",
    "watch",
    "daily-audit",
)


@dataclass(frozen=True)
class Target(AwsClients):
    """Names and clients of one stack."""

    session: boto3.Session
    endpoint_url: str | None
    name: str
    requests_queue_url: str
    dead_letter_queue_url: str
    ledger_table: str
    # Those that are served, the default first.
    helpdesks: tuple[str, ...]
    api_url: str = ""
    # Of the stack's own API key.
    api_key_id: str = ""
    # The state folder of a local stack.
    state_folder: str = ""

    @property
    def where(self) -> str:
        """Which stack this is, for the head of what a command prints."""
        at = f" ({self.state_folder})" if self.endpoint_url else ""
        return (
            f"{'Local stack' if self.endpoint_url else 'Stack'} {self.name} in {self.session.region_name}{at}"
        )

    def command(self, words: str) -> str:
        """A command of ours that works on this stack wherever it is pasted."""
        name, dashes, argument = words.partition(" -- ")
        if dashes and " " not in name:
            # What follows the dashes is no option, so ours stands before them.
            return f"bridge {name} {self._option}".rstrip() + dashes + argument
        return f"bridge {words} {self._option}".rstrip()

    def aws(self, words: str) -> str:
        """A command of the AWS CLI that works on this stack."""
        return f'eval "$({self.command("env")})"; aws {words}' if self.endpoint_url else f"aws {words}"

    @property
    def deploy(self) -> str:
        """The command that deploys the folder onto it."""
        return self.command("deploy local") if self.endpoint_url else "bridge deploy"

    def as_here(self, words: str) -> str:
        """Words of the template, which name the stack as a deployed one, with what names this one."""
        return words.replace(f" --stack {self.name}", f" {self._option}".rstrip())

    @property
    def _option(self) -> str:
        if not self.endpoint_url:
            return f"--stack {self.name}"
        is_usual = self.state_folder in ("", str(folder.default_state().absolute())) and not os.environ.get(
            STACK_VARIABLE
        )
        return "" if is_usual else f"--state-dir {shlex.quote(self.state_folder)}"

    @cached_property
    def environment(self) -> dict[str, str]:
        """The settings of the function that carries requests out."""
        configuration = self.lambda_.get_function_configuration(FunctionName=f"{self.name}-ticket-queue")
        return dict(configuration["Environment"]["Variables"])

    @property
    def outcomes_topic_arn(self) -> str:
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
    def table(self) -> Table:
        return Table(self.dynamodb, self.ledger_table)

    def schedule(self, name: str) -> tuple[str, str, str] | None:
        """State, expression and zone of a schedule in the account; None where there is none."""
        try:
            schedule = self.scheduler.get_schedule(Name=name)
        except self.scheduler.exceptions.ResourceNotFoundException:
            return None
        zone = schedule.get("ScheduleExpressionTimezone", "UTC")
        return schedule["State"], schedule["ScheduleExpression"], zone


def local(stack: Stack, state: Path | None = None) -> Target:
    """The local stack that runs, of a state folder."""
    return Target(
        session=emulator.session(),
        endpoint_url=stack.endpoint_url,
        name=STACK_NAME,
        requests_queue_url=stack.requests_queue_url,
        dead_letter_queue_url=stack.dead_letter_queue_url,
        ledger_table=stack.ledger_table,
        helpdesks=tuple(stack.helpdesks.split(",")),
        api_url=stack.api_url,
        state_folder=str(state.absolute()) if state else "",
    )


def account(stage: str, described: Stage, endpoint: str | None = None) -> boto3.Session:
    """The session of a stage's account; at another address than the account's only where `endpoint` names it.

    Raises BridgeError.
    """
    session = refuse_web_pages(boto3.Session(profile_name=described.profile, region_name=described.region))
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


def outputs_of(formation: CloudFormationClient, name: str) -> dict[str, str]:
    """The outputs of a stack. Raises what botocore raises."""
    (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def is_elsewhere(address: str) -> bool:
    """Whether an address of CloudFormation is none of AWS."""
    return "amazonaws." not in address


def deployed(name: str, session: boto3.Session | None = None) -> Target:
    """A stack in the AWS account of a session; by default of the usual credentials.

    Raises:
        BridgeError: there is no such stack, or the credentials do not reach it.
    """
    region = None
    try:
        # boto3 itself reads AWS_DEFAULT_REGION only; other SDKs, and people, set this one.
        session = session or refuse_web_pages(boto3.Session(region_name=os.environ.get("AWS_REGION") or None))
        region = session.region_name
        outputs = outputs_of(session.client("cloudformation"), name)
    except (BotoCoreError, ClientError, ValueError) as error:
        if "does not exist" in str(error):
            words = f"No stack {name} in {region}. Check --stack, AWS_REGION, AWS_PROFILE."
            raise BridgeError(words) from error
        # An empty region is a ValueError.
        raise BridgeError(f"The stack {name} cannot be read. {words_of(error)}") from error
    try:
        return Target(
            session=session,
            endpoint_url=None,
            name=name,
            requests_queue_url=outputs["RequestsQueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            ledger_table=outputs["LedgerTableName"],
            helpdesks=tuple(outputs["Helpdesks"].split(",")),
            api_url=outputs["ApiUrl"],
            api_key_id=outputs["ApiKeyId"],
        )
    except KeyError as error:
        raise BridgeError(f"{name} is no stack of Ticket Bridge: it has no output {error}") from error


_NOT_ALLOWED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_KEYS = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"}
_ACTION = re.compile(r"to perform: ([\w-]+:\w+)")


def words_of(error: BaseException) -> str:
    """Why AWS has not done what it was asked to do, in a line for people."""
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return "There are no AWS credentials. Check AWS_PROFILE, or log in."
        case ProfileNotFound():
            return f"{error}. Check AWS_PROFILE."
        case NoRegionError():
            return "No AWS region is known. Set AWS_REGION."
        case SSOError() | TokenRetrievalError():
            return "The login to AWS has ended. Log in again: aws sso login"
        case requests.RequestException():
            host = urlsplit(str(error.request.url)).hostname if error.request else None
            return f"{host or 'The API'} does not answer ({type(error).__name__})."
        case EndpointConnectionError():
            return f"{error}. Check AWS_REGION, and the network."
        case ClientError():
            return _words_of_refusal(error)
    if isinstance(error.__cause__, BotoCoreError | ClientError):
        return words_of(error.__cause__)
    return str(error)


def _words_of_refusal(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _NOT_ALLOWED:
        action = _ACTION.search(str(error))
        return f"These credentials may not do {action[1] if action else error.operation_name}."
    if code in _EXPIRED:
        return "These AWS credentials have expired. Log in again."
    if code in _UNKNOWN_KEYS:
        return "AWS does not know these credentials. Check AWS_PROFILE."
    return str(error)
