"""What the tools do with queues: subscribe them to topics, take messages off them, count what they hold."""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_sns.type_defs import SubscriptionTypeDef
    from mypy_boto3_sqs.client import SQSClient

    from bridge.aws import AwsClients

# Queues of the tools, which are no part of the stack, begin so.
OWN_QUEUES = "bridge-"
# A queue is alive as long as its tool says so this often; what is older was left by a tool that was killed.
_ALIVE_EACH_S = 300.0
_STALE_S = 1800.0
_ALIVE = "alive_at"
_MADE_AT = re.compile(r"-(\d{10,})-[0-9a-f]{8}$")


class TopicQueue:
    """A queue of a tool's own that listens to the topic; closed, it is gone with its subscription.

    `filter_policy` selects by the message attributes of outcomes. Raises what botocore raises.
    """

    def __init__(
        self,
        aws: AwsClients,
        topic_arn: str,
        name: str,
        filter_policy: Mapping[str, Sequence[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sqs, self._sns = aws.sqs, aws.sns
        self._clock = clock
        self._said_at = clock()
        self._url = aws.sqs.create_queue(
            QueueName=f"{OWN_QUEUES}{name}-{int(self._said_at)}-{secrets.token_hex(4)}",
            # What nobody has read by then nobody will.
            Attributes={"MessageRetentionPeriod": "3600"},
            tags={_ALIVE: str(self._said_at)},
        )["QueueUrl"]
        self._subscription = ""
        try:
            self._subscription = subscribe(
                aws, queue_url=self._url, topic_arn=topic_arn, raw=True, filter_policy=filter_policy
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, wait_s: int = 0) -> list[str]:
        """Up to ten messages, which are deleted; waits that long for the first."""
        if self._clock() - self._said_at > _ALIVE_EACH_S:
            self._said_at = self._clock()
            self._sqs.tag_queue(QueueUrl=self._url, Tags={_ALIVE: str(self._said_at)})
        return take(self._sqs, self._url, wait_s)

    def close(self) -> None:
        """Removes the subscription and the queue."""
        if self._subscription:
            self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._url)


def remove_left_behind(aws: AwsClients, topic_arn: str, name: str) -> int:
    """Removes the queues and subscriptions of tools that were killed; returns how many queues."""
    # First: each of these queues that is alive is listed afterwards.
    subscribed = {
        subscription["Endpoint"].rpartition(":")[2]: subscription["SubscriptionArn"]
        for subscription in subscriptions(aws, topic_arn)
        if subscription["Protocol"] == "sqs"
    }
    stale = time.time() - _STALE_S
    alive, dead = set(), []
    pages = aws.sqs.get_paginator("list_queues").paginate(QueueNamePrefix=f"{OWN_QUEUES}{name}-")
    # A page without queues has no list of them.
    for url in filter(None, pages.search("QueueUrls[]")):
        said_at = float(aws.sqs.list_queue_tags(QueueUrl=url).get("Tags", {}).get(_ALIVE, 0))
        if said_at < stale:
            dead.append(url)
        else:
            alive.add(url.rpartition("/")[2])
    for queue, arn in subscribed.items():
        made = _MADE_AT.search(queue)
        is_of_tool = queue.startswith(f"{OWN_QUEUES}{name}-") and made is not None
        if made and is_of_tool and queue not in alive and int(made[1]) < stale:
            aws.sns.unsubscribe(SubscriptionArn=arn)
    for url in dead:
        aws.sqs.delete_queue(QueueUrl=url)
    return len(dead)


def subscriptions(aws: AwsClients, topic_arn: str) -> Iterator[SubscriptionTypeDef]:
    pages = aws.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn)
    return pages.search("Subscriptions[]")


def subscribe(
    aws: AwsClients,
    *,
    queue_url: str,
    topic_arn: str,
    raw: bool,
    filter_policy: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Subscribe the queue to the topic, and let the topic in by the queue's policy, as AWS needs it.

    `raw` leaves SNS's envelope away. Doing it again changes nothing. Returns the ARN of the subscription.
    """
    queue = aws.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn", "Policy"])[
        "Attributes"
    ]
    _allow(aws, queue_url, queue, topic_arn)
    attributes = {"RawMessageDelivery": "true"} if raw else {}
    if filter_policy:
        attributes["FilterPolicy"] = json.dumps(filter_policy)
    return aws.sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=queue["QueueArn"],
        Attributes=attributes,
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]


def _allow(aws: AwsClients, queue_url: str, queue: dict[Any, str], topic_arn: str) -> None:
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
    answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s)
    messages = answer.get("Messages", [])
    if messages:
        handles = [message["ReceiptHandle"] for message in messages]
        entries: Any = [{"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(handles)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return [message["Body"] for message in messages]


def count(sqs: SQSClient, queue_url: str) -> int:
    """About how many messages are in the queue, hidden and delayed ones too."""
    names: Any = [f"ApproximateNumberOfMessages{which}" for which in ("", "NotVisible", "Delayed")]
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return sum(map(int, answer["Attributes"].values()))
