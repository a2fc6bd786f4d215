"""Joins the layer's true parts into functions on the checker's doubles; the only place that knows how."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from callbacks import callbacks
from helpdesk.clients.port import COMMENT
from helpdesk.clients.transport import Transport
from helpdesk.http.callbacks import Callbacks
from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, api_deadline, queue_deadline, schedule_deadline
from helpdesk.work.batch import QueueConsumer
from helpdesk.work.doubts import DoubtResolver
from helpdesk.work.watch import Watch
from resolve_doubts import doubt_resolver
from tests.faults.checker.line import Line
from ticket_queue import queue_consumer
from watch import watch

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from helpdesk.runtime.aws import Clients

CALLBACK_SECRET = "a secret between two"
ENVIRONMENT = {
    "HELPDESKS": "kapture,socialboards",
    "REQUESTS_QUEUE_URL": "requests",
    "DEAD_LETTER_QUEUE_URL": "dead-letters",
    "OUTCOMES_TOPIC_ARN": "outcomes",
    "LEDGER_TABLE": "ledger",
    "MARKER_KEY_SECRET_ARN": "marker-key",
    "KAPTURE_URL": "https://acme.kapturecrm.com",
    "KAPTURE_SECRET_ARN": "kapture",
    "SOCIALBOARDS_SECRET_ARN": "socialboards",
    "KAPTURE_CALLBACK_SECRET_ARN": "kapture-callback",
    "SOCIALBOARDS_CALLBACK_SECRET_ARN": "socialboards-callback",
}


class _NoMetrics:
    """Counts nothing: the true class writes a line whenever it is full."""

    def add_metric(self, **_: object) -> None:
        """Lets it go."""


class _Log:
    """Hears of faults of our own only; the layer's log lines are not the checker's."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def info(self, *_: object, **__: object) -> None:
        """Lets it go."""

    warning = info

    def error(self, _: str, *, extra: Mapping[str, Any]) -> None:
        """Tells where something was raised that nobody expected."""
        if "fault" in extra:
            self._told(f"a fault of our own: {extra['fault']}")


@dataclass(frozen=True)
class Surroundings:
    """What a function finds: its clients, its lines to the helpdesks, its clock."""

    dynamodb: Any
    sns: Any
    sqs: Any
    secretsmanager: Any
    lines: Mapping[str, Line]
    clock: Callable[[], float]
    # Told of faults of our own.
    fault: Callable[[str], None]


@dataclass
class _Context:
    ends_at: float
    clock: Callable[[], float]

    def get_remaining_time_in_millis(self) -> int:
        return int((self.ends_at - self.clock()) * 1000)


class _Parts(Parts):
    """The layer's own parts, on what the function finds."""

    def __init__(self, around: Surroundings, variables: Mapping[str, str]) -> None:
        super().__init__({**ENVIRONMENT, **variables}, around.clock)
        self._around = around
        self.clients = cast("Clients", around)
        self.monotonic = around.clock
        self.logger = cast("Logger", _Log(around.fault))
        self.metrics = cast("Metrics", _NoMetrics())

    def transport(self, helpdesk: str, _url: str) -> Transport:
        """The line to the helpdesk."""
        return cast("Transport", self._around.lines[helpdesk])


class Functions:
    """One process with its environment: what a warm function keeps is kept until it is killed."""

    def __init__(self, around: Surroundings, variables: Mapping[str, str]) -> None:
        self._around = around
        self._parts = _Parts(around, variables)

    # ── what starts them ─────────────────────────────────────────────────────────────────────────────────

    def consume(self, records: list[dict[str, Any]], ends_at: float) -> list[str]:
        """Gives a batch to the queue's function; the ids of the messages that come back."""
        answer = self._consumer.run(records, queue_deadline(self._context(ends_at)))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def resolve_doubts(self, ends_at: float) -> None:
        """Runs the schedule's function."""
        self._reconciler.run(schedule_deadline(self._context(ends_at)))

    def watch(self, ends_at: float) -> None:
        """Runs the watch's function."""
        self._watch.run(schedule_deadline(self._context(ends_at)))

    def call_back(self, helpdesk: str, body: str, ends_at: float) -> int:
        """Gives a callback to its function; the HTTP status of the answer."""
        event = {
            "httpMethod": "POST",
            "pathParameters": {"helpdesk": helpdesk},
            "requestContext": {"identity": {}},
            "headers": {"Content-Type": "application/json", "X-Callback-Secret": CALLBACK_SECRET},
            "body": body,
        }
        answer = self._callbacks.respond(event, api_deadline(self._context(ends_at)))
        status: int = answer["statusCode"]
        return status

    def know_markers(self, helpdesks: Iterable[str]) -> None:
        """Puts down that these helpdesks' markers have come back before."""
        for name in helpdesks:
            self._parts.ledger.note_marker(name, self._parts.helpdesks[name].marker_field)
            self._parts.ledger.note_marker(name, COMMENT)

    def pause(self, helpdesk: str) -> None:
        """An operator closes the gate."""
        self._parts.helpdesks.gate(helpdesk).pause()

    def resume(self, helpdesk: str) -> None:
        """An operator takes that back."""
        self._parts.helpdesks.gate(helpdesk).resume()

    def _context(self, ends_at: float) -> LambdaContext:
        return _Context(ends_at, self._around.clock)

    # ── their parts ──────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _consumer(self) -> QueueConsumer:
        return queue_consumer(self._parts)

    @cached_property
    def _reconciler(self) -> DoubtResolver:
        return doubt_resolver(self._parts)

    @cached_property
    def _watch(self) -> Watch:
        made = watch(self._parts)
        assert made
        return made

    @cached_property
    def _callbacks(self) -> Callbacks:
        return callbacks(self._parts)
