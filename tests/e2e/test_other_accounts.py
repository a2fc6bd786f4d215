"""Senders of another account: who gets through to the queue, and what the bus's policy lets in.

The emulator judges calls to the queue as AWS does. It takes no events from another account, so the policy of
the bus is judged by the emulator's own evaluator of policies.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from ministack.core import iam_evaluator  # type: ignore[import-untyped]  # it has no types

from bridge.local import emulator
from bridge.local.emulator import Clients
from bridge.local.state import PROJECT, StateFolder
from tests.unit.test_template import TEMPLATE, deployed

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS, LISTED, UNLISTED = "000000000000", "444455556666", "777788889999"
# What the page gives a sender, with the names of a stack put in.
PAGE = (PROJECT / "docs" / "producers.md").read_text()
QUEUE_AND_WHAT_IT_NAMES = ("RequestsQueue", "DeadLetterQueue", "RequestsBus", "TicketRequestedRule")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """An emulator that checks what callers may do."""
    state = StateFolder(tmp_path_factory.mktemp("accounts"))
    try:
        yield Clients(emulator.start_ready(state, enforce_iam=True))
    finally:
        state.stop_all()


@pytest.fixture(scope="module")
def queue_url(aws: Clients) -> str:
    """The template's queue and bus with their policies, deployed by one account for senders of another."""
    names = (*QUEUE_AND_WHAT_IT_NAMES, "RequestsQueuePolicy")
    template = {
        **{part: TEMPLATE[part] for part in ("Parameters", "Conditions")},
        "Resources": {name: TEMPLATE["Resources"][name] for name in names},
        "Outputs": {"Url": {"Value": {"Ref": "RequestsQueue"}}},
    }
    aws.cloudformation.create_stack(
        StackName="tickets",
        TemplateBody=json.dumps(template),
        Parameters=[
            {"ParameterKey": "SenderAccounts", "ParameterValue": LISTED},
            {"ParameterKey": "KaptureUrl", "ParameterValue": "https://acme.kapturecrm.com"},
        ],
    )
    aws.cloudformation.get_waiter("stack_create_complete").wait(StackName="tickets")
    (stack,) = aws.cloudformation.describe_stacks(StackName="tickets")["Stacks"]
    return stack["Outputs"][0]["OutputValue"]


def _policy(queue_arn: str, bus_arn: str) -> dict[str, Any]:
    """What the page says that a sender needs in its own account."""
    shown = re.search(
        r"put-role-policy --role-name webshop .*?--policy-document '(\{.*?\})'\n", PAGE, re.DOTALL
    )
    assert shown
    text = shown[1].replace("'\"$REQUESTS_QUEUE_ARN\"'", queue_arn).replace("'\"$EVENT_BUS_ARN\"'", bus_arn)
    policy: dict[str, Any] = json.loads(text)
    return policy


def _sender(aws: Clients, account: str, policy: dict[str, Any] | None) -> Any:
    """SQS for a user of an account; the emulator takes an account's number for its root's access key."""
    iam = boto3.client(
        "iam",
        endpoint_url=aws.endpoint_url,
        region_name=aws.session.region_name,
        aws_access_key_id=account,
        aws_secret_access_key="test",
    )
    name = "webshop" if policy else "nobody"
    iam.create_user(UserName=name)
    if policy:
        iam.put_user_policy(UserName=name, PolicyName="ticket-bridge", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.client(
        "sqs",
        endpoint_url=aws.endpoint_url,
        region_name=aws.session.region_name,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def test_a_sender_of_a_listed_account_gets_through_and_nobody_else(aws: Clients, queue_url: str) -> None:
    queue = aws.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    policy = _policy(queue["QueueArn"], "arn:aws:events:us-east-1:000000000000:event-bus/tickets-requests")
    answers = []
    for account, own_policy in ((LISTED, policy), (LISTED, None), (UNLISTED, policy)):
        sender = _sender(aws, account, own_policy)
        try:
            sender.send_message(QueueUrl=queue_url, MessageBody=account, MessageGroupId="webshop")
        except ClientError as error:
            answers.append(error.response["Error"]["Code"])
        else:
            answers.append("sent")
            with pytest.raises(ClientError, match="AccessDenied"):
                sender.receive_message(QueueUrl=queue_url)

    assert answers == ["sent", "AccessDenied", "AccessDenied"]
    (message,) = aws.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)["Messages"]
    assert message["Body"] == LISTED
    # A key of KMS would need a policy for each account.
    assert (queue["SqsManagedSseEnabled"], queue.get("KmsMasterKeyId")) == ("true", None)


@pytest.mark.parametrize(
    ("account", "may_put", "decision"),
    [
        (LISTED, True, "Allow"),
        (LISTED, False, "ImplicitDeny"),
        (UNLISTED, True, "ImplicitDeny"),
    ],
)
def test_the_bus_lets_in_what_a_listed_account_lets_out(account: str, may_put: bool, decision: str) -> None:
    bus = deployed("tickets", SenderAccounts=LISTED)["RequestsBus"]["Properties"]
    (statement,) = json.loads(json.dumps(bus["Policy"]["Statement"]).replace("${AWS::AccountId}", OURS))
    comma, listed = statement["Principal"]["AWS"]["Fn::Split"]
    statement["Principal"]["AWS"] = listed.split(comma)
    arn = f"arn:aws:events:eu-west-1:{OURS}:event-bus/tickets-requests"
    assert statement["Resource"] == arn
    asked = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/webshop/session",
        principal_type="AssumedRole",
        principal_account=account,
        action="events:PutEvents",
        resource_arn=arn,
        region="eu-west-1",
    )
    own = [iam_evaluator.parse_policy_document(_policy("arn:aws:sqs:eu-west-1:1:q", arn))] if may_put else []

    result = iam_evaluator.combine_resource_policy(
        iam_evaluator.evaluate(asked, own), asked, {"Statement": [statement]}, OURS
    )

    assert result.decision == decision
