"""What becomes of requests as it happens: read from the functions' logs, and locally from the topic as well.

The logs hold every step of every request and take no more than the right to read them: on a deployed stack
nothing is made, subscribed or left behind. The ledger could not be listed cheaply, for it has no order.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bridge.stacks.subscriptions import OWN_QUEUES, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.local.emulator import Clients
    from bridge.stacks.target import Target

# What was before the first look, and how much later than others a line may come.
_FIRST_LOOK_S = 900.0
_LATE_S = 30.0
_PAGES = 3
_ROUNDS = 20
_KEPT = 100
_PATTERN = " || ".join(
    f'$.message = "{words}"'
    for words in (
        "request accepted",
        "submission accepted",
        "request waits",
        "request ended",
        "doubt looked up",
    )
)
_FINAL = ("succeeded", "rejected", "parked")
# Between the log's line and the event of one end; a redrive takes longer, for it goes through the queue.
_SAME_END_S = 1.0
_SETTLED = {"found": "succeeded", "absent": "waits", "parked": "parked"}


@dataclass(frozen=True)
class News:
    """One step of a request: `at` is in seconds since the epoch, `state` what the request is since then."""

    at: float
    request_id: str
    state: str
    helpdesk: str | None = None
    operation: str | None = None
    source: str | None = None
    ticket_id: str | None = None
    ticket_url: str | None = None
    code: str | None = None
    message: str | None = None


class LogNews:
    """Reads what the functions' logs have told since the last look."""

    def __init__(self) -> None:
        self._since = time.time() - _FIRST_LOOK_S

    def read(self, target: Target) -> list[News]:
        """New steps, and some that were read before. Raises what botocore raises."""
        began = time.time()
        found = [news for group in target.log_groups for news in self._of(target, group)]
        self._since = began - _LATE_S
        return found

    def _of(self, target: Target, group: str) -> Iterator[News]:
        asked: dict[str, Any] = {
            "logGroupName": group,
            "startTime": int(self._since * 1000),
            "filterPattern": f"{{ {_PATTERN} }}",
        }
        # A very busy stack is shown in part rather than late.
        for _ in range(_PAGES):
            try:
                page: Any = target.logs.filter_log_events(**asked)
            except target.logs.exceptions.ResourceNotFoundException:
                # A function that never ran has no log yet.
                return
            for event in page["events"]:
                yield from _logged(event)
            if not page.get("nextToken"):
                return
            asked["nextToken"] = page["nextToken"]


class TopicNews:
    """Reads the outcomes that a local stack publishes, from a queue that only this console reads."""

    def __init__(self, aws: Clients, topic_arn: str) -> None:
        self._sqs = aws.sqs
        self._url = aws.sqs.create_queue(
            QueueName=f"{OWN_QUEUES}console-{secrets.token_hex(4)}",
            Attributes={"MessageRetentionPeriod": "3600"},
        )["QueueUrl"]
        subscribe(aws, queue_url=self._url, topic_arn=topic_arn, raw=True)

    def read(self) -> Iterator[News]:
        """Outcomes since the last look. Raises what botocore raises."""
        for _ in range(_ROUNDS):
            messages = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get(
                "Messages", []
            )
            if not messages:
                return
            self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                    for place, message in enumerate(messages)
                ],
            )
            for message in messages:
                yield from published(message["Body"])

    def close(self) -> None:
        """Removes the queue."""
        self._sqs.delete_queue(QueueUrl=self._url)


class Requests:
    """The latest requests, each as its latest step has left it. Taking a step twice changes nothing."""

    def __init__(self) -> None:
        self._known: dict[str, News] = {}
        self._taking = threading.Lock()

    def take(self, news: Iterable[News]) -> None:
        """Take in steps, in any order."""
        steps = list(news)
        with self._taking:
            known = dict(self._known)
            for one in steps:
                before = known.get(one.request_id)
                known[one.request_id] = _joined(before, one) if before else one
            latest = sorted(known.values(), key=lambda one: -one.at)[:_KEPT]
            self._known = {one.request_id: one for one in latest}

    def as_json(self) -> list[dict[str, Any]]:
        """The latest first."""
        return [asdict(one) for one in self._known.values()]


def _joined(known: News, one: News) -> News:
    older, newer = sorted((known, one), key=lambda news: (news.at, news.state in _FINAL))
    if older.state == newer.state:
        # The log and the topic tell the same end with different details, and its first moment stands. What
        # ends so once more, after a redrive, is news.
        told = {
            field.name: getattr(newer, field.name)
            if getattr(newer, field.name) is not None
            else getattr(older, field.name)
            for field in fields(News)
        }
        is_same_end = newer.state in _FINAL and newer.at - older.at < _SAME_END_S
        return News(**told | {"at": older.at if is_same_end else newer.at})
    return replace(
        newer,
        helpdesk=newer.helpdesk or older.helpdesk,
        operation=newer.operation or older.operation,
        source=newer.source or older.source,
        ticket_id=newer.ticket_id or older.ticket_id,
        ticket_url=newer.ticket_url or older.ticket_url,
    )


def _logged(event: Any) -> Iterator[News]:
    try:
        line = json.loads(event["message"])
    except ValueError:
        return
    if not isinstance(line, dict) or not isinstance(line.get("request_id"), str):
        return
    state = {
        "request accepted": "accepted",
        "submission accepted": "accepted",
        "request waits": "waits",
        "request ended": line.get("outcome"),
        "doubt looked up": _SETTLED.get(str(line.get("settled"))),
    }.get(str(line.get("message")))
    if state is None:
        return
    told = {name: line.get(name) for name in ("helpdesk", "operation", "source", "ticket_id", "code")}
    yield News(_at(line.get("timestamp"), event), line["request_id"], state, **told)


def published(body: str) -> Iterator[News]:
    """The news in what was published to the topic, if it is an outcome."""
    try:
        event = json.loads(body)
        content = event["data"]
        at, request_id = datetime.fromisoformat(event["time"]).timestamp(), content["request_id"]
    except (ValueError, KeyError, TypeError):
        # Something else that somebody has published.
        return
    changed = event.get("type") == "ticket.changed"
    errors = [f"{one.get('field')}: {one.get('problem')}" for one in content.get("errors", [])]
    message = "; ".join(filter(None, (content.get("message"), *errors)))
    names = ("helpdesk", "operation", "source", "ticket_id", "ticket_url", "code")
    yield News(
        at,
        request_id,
        "changed" if changed else content.get("outcome", ""),
        **{name: content.get(name) for name in names},
        message=message or None,
    )


def _at(timestamp: Any, event: Any) -> float:
    # The line's own time: the log's is when the line was taken in.
    try:
        return datetime.strptime(timestamp, "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
    except (TypeError, ValueError):
        return float(event.get("timestamp", 0)) / 1000
