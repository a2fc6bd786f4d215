"""What the tools do with queues: subscribe them to topics, take messages off them, count what they hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

    from bridge.local.emulator import Clients

# Queues of the local tools, which are no part of the stack, begin so.
OWN_QUEUES = "bridge-"


def subscribe(aws: Clients, *, queue_url: str, topic_arn: str, raw: bool) -> None:
    """Subscribe the queue to the topic, and let the topic in by the queue's policy, as AWS needs it.

    `raw` leaves SNS's envelope away. Doing it again changes nothing.
    """
    queue = aws.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn", "Policy"])[
        "Attributes"
    ]
    _allow(aws, queue_url, queue, topic_arn)
    aws.sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=queue["QueueArn"],
        Attributes={"RawMessageDelivery": "true"} if raw else {},
    )


def _allow(aws: Clients, queue_url: str, queue: dict[Any, str], topic_arn: str) -> None:
    policy = json.loads(queue.get("Policy") or '{"Version": "2012-10-17", "Statement": []}')
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    if statement not in policy["Statement"]:
        policy["Statement"].append(statement)
        aws.sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": json.dumps(policy)})


def take(sqs: SQSClient, queue_url: str, wait_s: int = 0) -> list[str]:
    """The bodies of up to ten messages, which are deleted; waits that long for the first."""
    messages = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s).get(
        "Messages", []
    )
    if messages:
        sqs.delete_message_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ],
        )
    return [message["Body"] for message in messages]


def count(sqs: SQSClient, queue_url: str) -> int:
    """About how many messages are in the queue, hidden and delayed ones too."""
    attributes: Any = sqs.get_queue_attributes(
        QueueUrl=queue_url,
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ],
    )["Attributes"]
    return sum(map(int, attributes.values()))
