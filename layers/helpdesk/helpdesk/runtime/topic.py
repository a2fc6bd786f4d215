"""Publishes how requests ended."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.models import Outcome

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef, PublishBatchRequestEntryTypeDef

# SNS takes 256 KiB in one call, message attributes included, and ten messages.
MAX_BYTES = 262_144
_ATTRIBUTES_BYTES = 1024
_MAX_ENTRIES = 10


class Message(NamedTuple):
    """An event that is not a request's outcome, and the attributes by which filter policies select it."""

    event: Mapping[str, Any]
    attributes: Mapping[str, str]


class Topic:
    """The topic of outcomes. Delivery is at least once; repeats have the same event id."""

    def __init__(self, client: "SNSClient", topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Publishes all in as few calls as possible, and returns those that SNS did not take."""
        groups = list(_groups([(outcome, _body(outcome)) for outcome in outcomes]))
        if len(groups) < 2:
            return [refused for group in groups for refused in self._publish_group(group)]
        with ThreadPoolExecutor(len(groups)) as side_by_side:
            return [each for refused in side_by_side.map(self._publish_group, groups) for each in refused]

    def publish_event(self, message: Message) -> bool:
        """Publishes an event that is not a request's outcome. Whether SNS has taken it."""
        attributes: dict[str, MessageAttributeValueTypeDef] = {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        }
        try:
            self._client.publish(
                TopicArn=self._topic_arn,
                Message=json.dumps(message.event, separators=(",", ":")),
                MessageAttributes=attributes,
            )
        except (ClientError, BotoCoreError):
            return False
        return True

    def _publish_group(self, group: Sequence[tuple[Outcome, str]]) -> list[Outcome]:
        entries: list[PublishBatchRequestEntryTypeDef] = [
            {"Id": str(place), "Message": body, "MessageAttributes": _attributes(outcome)}
            for place, (outcome, body) in enumerate(group)
        ]
        try:
            answer = self._client.publish_batch(TopicArn=self._topic_arn, PublishBatchRequestEntries=entries)
        except (ClientError, BotoCoreError):
            return [outcome for outcome, _ in group]
        return [group[int(failed["Id"])][0] for failed in answer.get("Failed", [])]


def _body(outcome: Outcome) -> str:
    body = json.dumps(outcome.event(), separators=(",", ":"))
    if len(body.encode()) + _ATTRIBUTES_BYTES <= MAX_BYTES:
        return body
    shorter = outcome.model_copy(update={"tickets": (), "truncated": True})
    return json.dumps(shorter.event(), separators=(",", ":"))


def _groups(messages: Sequence[tuple[Outcome, str]]) -> Iterator[list[tuple[Outcome, str]]]:
    for ten in batched(messages, _MAX_ENTRIES, strict=False):
        group: list[tuple[Outcome, str]] = []
        size = 0
        for message in ten:
            weight = len(message[1].encode()) + _ATTRIBUTES_BYTES
            if group and size + weight > MAX_BYTES:
                yield group
                group, size = [], 0
            group.append(message)
            size += weight
        yield group


def _attributes(outcome: Outcome) -> dict[str, Any]:
    """What filter policies can select by."""
    identity = outcome.identity
    attributes = {
        "type": outcome.type,
        "operation": identity.operation,
        "outcome": outcome.kind,
        "helpdesk": identity.helpdesk,
        "source": identity.source,
    }
    return {
        name: {"DataType": "String", "StringValue": str(value)} for name, value in attributes.items() if value
    }
