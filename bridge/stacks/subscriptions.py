"""Subscribes queues to topics, as it is done on AWS: the queue's policy has to let the topic in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.local.emulator import Clients

# Queues of the local tools, which are no part of the stack, begin so.
OWN_QUEUES = "bridge-"


def subscribe(aws: Clients, *, queue_url: str, topic_arn: str, raw: bool) -> None:
    """Let the queue hear the topic; `raw` leaves SNS's envelope away. Doing it again changes nothing."""
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
