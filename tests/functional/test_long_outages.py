"""Outages of hours, on a clock of their own: nothing is lost or used up, and work resumes by itself."""

import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import boto3
import pytest
from aws_lambda_powertools import Logger, Metrics
from moto import mock_aws
from pydantic import JsonValue

from helpdesk.clients.markers import Markers
from helpdesk.clients.port import Progress
from helpdesk.errors import UnauthorizedError, UnavailableError
from helpdesk.models import Changes, NewTicket, Request, Ticket, TicketLink
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger
from helpdesk.store.table import Table
from helpdesk.work.batch import QueueConsumer
from helpdesk.work.helpdesks import Helpdesks
from helpdesk.work.service import TicketService
from tests.faults.checker.dynamodb import Table as TableInMemory

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from helpdesk.runtime.aws import Clients

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
# What the queue shows between two polls is received together.
POLL_S = 10.0
REDRIVE_AFTER = 1000
TICKETS_A_DAY = 200
# More than a batch's worth many times over.
REFUSED = 200


class Clock:
    """A time that passes only when a test puts it forward."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Message:
    """One message in the queue; it can be received from `shows_at` on."""

    message_id: str
    body: str
    sent_at: float
    shows_at: float
    receives: int = 0


class Queue:
    """A queue whose visibility time-outs run on the clock. Looks to the consumer like the SQS client."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._messages: dict[str, Message] = {}
        self._numbers = itertools.count()
        # Moments and ids; an entry that its message does not know any more is passed over.
        self._shows: list[tuple[float, str]] = []
        self.dead_letters: list[str] = []
        self.most_receives = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, request: Mapping[str, Any]) -> None:
        message = Message(f"m-{next(self._numbers)}", json.dumps(request), self._clock(), self._clock())
        self._messages[message.message_id] = message
        self._hide(message, 0)

    def receive(self) -> list[dict[str, Any]]:
        """Up to ten records, as Lambda gives them to the handler."""
        records: list[dict[str, Any]] = []
        while len(records) < 10 and self._shows and self._shows[0][0] <= self._clock():
            at, message_id = heapq.heappop(self._shows)
            message = self._messages.get(message_id)
            if message is None or message.shows_at != at:
                continue
            message.receives += 1
            self.most_receives = max(self.most_receives, message.receives)
            self._hide(message, 180)
            attributes = {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": str(int(message.sent_at * 1000)),
            }
            names = {"messageId": message_id, "receiptHandle": message_id}
            records.append({**names, "body": message.body, "attributes": attributes})
        return records

    def delete(self, message_id: str) -> None:
        del self._messages[message_id]

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        for entry in arguments["Entries"]:
            self._hide(self._messages[entry["ReceiptHandle"]], entry["VisibilityTimeout"])
        return {}

    def send_message(self, **arguments: Any) -> dict[str, Any]:
        self.dead_letters.append(arguments["MessageBody"])
        return {}

    def _hide(self, message: Message, seconds: float) -> None:
        message.shows_at = self._clock() + seconds
        heapq.heappush(self._shows, (message.shows_at, message.message_id))


@dataclass
class ScriptedHelpdesk:
    """Takes tickets, unless it is down or does not know the token."""

    clock: Clock
    name: str = "kapture"
    get_limit: int = 50
    updates_in_steps: bool = False
    marks_comments: bool = False
    marker_field: str = "details"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Kolkata"))
    is_down: bool = False
    accepted: str = "v1"
    secret: str = "v1"
    spend: Callable[[], None] = lambda: None
    called_at: list[float] = field(default_factory=list)
    added_at: list[float] = field(default_factory=list)

    def check(self, request: Request) -> None:
        """Takes any request."""

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        self._answer()
        self.added_at.append(self.clock())
        return TicketLink(ticket_id=str(len(self.added_at)))

    def _answer(self) -> None:
        self.spend()
        self.called_at.append(self.clock())
        if self.is_down:
            raise UnavailableError("connect_refused", "no connection to the helpdesk")
        if self.secret != self.accepted:
            raise UnauthorizedError("token_refused", "Invalid Auth Key")

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        return ticket

    def update(self, ticket_id: str, changes: Changes, deadline: float, steps: Progress) -> TicketLink:
        raise NotImplementedError

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        raise NotImplementedError

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        raise NotImplementedError

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        raise NotImplementedError

    def probe(self, deadline: float) -> None:
        self._answer()

    def metered(self, spend: Callable[[], None]) -> "ScriptedHelpdesk":
        self.spend = spend
        return self

    def token_expires_on(self) -> date | None:
        raise NotImplementedError

    def is_closed(self, ticket: Ticket) -> bool:
        raise NotImplementedError

    def token_version(self, *, fresh: bool) -> str | None:
        return self.secret


class _Parts(BaseParts):
    logger = Logger(service="test", level="CRITICAL")
    metrics = Metrics(namespace="test", service="test")


class Bridge:
    """The true consumer, service, ledger and gate on the clock, between the queue and the helpdesk."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.clock = Clock()
        self.queue = Queue(self.clock)
        self.helpdesk = ScriptedHelpdesk(self.clock)
        # Answers as moto does, and hundreds of times as fast.
        self._items = TableInMemory(self.clock)
        sns = boto3.client("sns")
        topic_arn = sns.create_topic(Name="outcomes")["TopicArn"]
        names = (
            "KAPTURE_SECRET_ARN",
            "MARKER_KEY_SECRET_ARN",
            "REQUESTS_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            "LEDGER_TABLE",
        )
        parts = _Parts(
            {
                "KAPTURE_URL": "http://127.0.0.1",
                "OUTCOMES_TOPIC_ARN": topic_arn,
                **dict.fromkeys(names, "named but not used"),
            },
            self.clock,
        )
        parts.clients = cast("Clients", SimpleNamespace(sns=sns, sqs=self.queue))
        table = Table(cast("DynamoDBClient", self._items), "ledger")
        self.ledger = Ledger(table, lease_s=40, keep_days=28, clock=self.clock)
        gate = Gate(table, "kapture", budget or Budget(), self.clock)
        service = TicketService(
            Helpdesks({"kapture": self.helpdesk}, {"kapture": gate}),
            self.ledger,
            Markers(lambda: (b"key",), "ledger"),
            doubt_s=75,
            threads=1,
            clock=self.clock,
        )
        self._consumer = QueueConsumer(parts, service)
        self.sent = 0

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            self.sent += 1
            self.queue.put({"operation": "add", "request_id": f"r-{self.sent}", "ticket": {"title": "long"}})

    def run(self, seconds: float, poll_s: float = POLL_S) -> None:
        """Lets the time pass; ends early when the queue is empty."""
        until = self.clock.now + seconds
        while self.clock.now < until and self.queue:
            self._poll()
            self.clock.now += poll_s

    def _poll(self) -> None:
        while records := self.queue.receive():
            answer = self._consumer.run(records, time.monotonic() + 30)
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
            for record in records:
                if record["messageId"] not in failed:
                    self.queue.delete(record["messageId"])

    def attempts(self) -> list[int]:
        """The attempts of every request that the ledger knows."""
        return [int(item["attempts"]["N"]) for item in self._items.items.values() if "attempts" in item]


@pytest.fixture(autouse=True)
def _aws() -> Iterator[None]:
    with mock_aws():
        yield


def test_a_token_that_is_refused_for_an_hour_costs_nothing_but_a_probe_a_minute() -> None:
    bridge = Bridge()
    bridge.helpdesk.accepted = "v2"
    bridge.send(REFUSED)

    bridge.run(HOUR)

    first = bridge.helpdesk.called_at[0]
    # Those of the first batch, and the probe that follows at once.
    probes = [moment - first for moment in bridge.helpdesk.called_at if moment > first + POLL_S]
    assert all(later - earlier >= MINUTE for earlier, later in itertools.pairwise([0.0, *probes]))
    # There is none while all records are hidden at once, which has jitter: 48 to 52 were seen.
    assert len(probes) >= 45
    assert set(bridge.attempts()) == {0}
    assert len(bridge.queue) == REFUSED

    bridge.helpdesk.secret = "v2"
    bridge.run(HOUR)

    assert len(bridge.queue) == 0
    assert len(bridge.helpdesk.added_at) == REFUSED
    assert bridge.attempts() == [1] * REFUSED
    assert bridge.queue.dead_letters == []


def test_a_helpdesk_that_is_down_for_a_day_loses_nothing_and_drains_at_the_budgets_rate() -> None:
    budget = Budget(limit=25, period_s=HOUR / 2)
    bridge = Bridge(budget)
    bridge.helpdesk.is_down = True

    for _ in range(TICKETS_A_DAY):
        bridge.send()
        bridge.run(DAY / TICKETS_A_DAY, poll_s=DAY / TICKETS_A_DAY)
    back_at = bridge.clock.now
    assert len(bridge.queue) == TICKETS_A_DAY
    assert bridge.helpdesk.added_at == []
    bridge.helpdesk.is_down = False
    bridge.run(DAY)

    assert len(bridge.helpdesk.added_at) == TICKETS_A_DAY
    assert bridge.queue.dead_letters == []
    assert bridge.queue.most_receives < REDRIVE_AFTER / 4
    # Delays have jitter: the last request may come minutes after its turn.
    expected = TICKETS_A_DAY * budget.period_s / budget.limit
    assert bridge.helpdesk.added_at[-1] - back_at == pytest.approx(expected, rel=0.1)
    assert set(bridge.attempts()) == {1}
