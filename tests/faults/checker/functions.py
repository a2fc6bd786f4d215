"""Joins the layer's true parts into functions, as its wiring does; the only place that knows how."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from helpdesk.clients.kapture import callback as kapture_callback
from helpdesk.clients.kapture.client import Kapture
from helpdesk.clients.markers import Markers
from helpdesk.clients.port import COMMENT
from helpdesk.clients.secrets import MintedToken, Secret, marker_keys_in, refresh_credentials_in, token_in
from helpdesk.clients.socialboards import callback as socialboards_callback
from helpdesk.clients.socialboards.client import Minter, Socialboards
from helpdesk.http.callbacks import Callbacks, Sender
from helpdesk.http.shared_secrets import SharedSecrets
from helpdesk.runtime.invocation import LambdaContext, api_deadline, queue_deadline, schedule_deadline
from helpdesk.runtime.topic import Topic
from helpdesk.settings import KaptureSettings, SocialboardsSettings, load_settings
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger
from helpdesk.store.watchlist import Watchlist, watched_under
from helpdesk.work.batch import QueueConsumer
from helpdesk.work.changes import ChangeTeller
from helpdesk.work.doubts import Reconciler
from helpdesk.work.helpdesks import Desks, Helpdesk
from helpdesk.work.service import TicketService
from helpdesk.work.watch import Watch
from tests.faults.checker.line import Line

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

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


_metrics = cast("Metrics", _NoMetrics())


@dataclass(frozen=True)
class Surroundings:
    """What a function finds: its clients, its lines to the helpdesks, its clock."""

    dynamodb: Any
    sns: Any
    sqs: Any
    secrets: Any
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


class Functions:
    """One process with its environment: what a warm function keeps is kept until it is killed."""

    def __init__(self, around: Surroundings, variables: Mapping[str, str]) -> None:
        self._around = around
        self._settings = load_settings({**ENVIRONMENT, **variables})
        self._logger = cast("Logger", _Log(around.fault))

    # ── what starts them ─────────────────────────────────────────────────────────────────────────────────

    def consume(self, records: list[dict[str, Any]], ends_at: float) -> list[str]:
        """Gives a batch to the queue's function; the ids of the messages that come back."""
        answer = self._consumer.run(records, queue_deadline(self._context(ends_at)))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def reconcile(self, ends_at: float) -> None:
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
        answer = self._callbacks.answer(event, api_deadline(self._context(ends_at)))
        status: int = answer["statusCode"]
        return status

    def know_markers(self, helpdesks: Iterable[str]) -> None:
        """Puts down that these helpdesks' markers have come back before."""
        for name in helpdesks:
            self._ledger.note_marker(name, self._helpdesks[name].marker_field)
            self._ledger.note_marker(name, COMMENT)

    def pause(self, helpdesk: str) -> None:
        """An operator closes the gate."""
        self._desks.gate(helpdesk).pause()

    def resume(self, helpdesk: str) -> None:
        """An operator takes that back."""
        self._desks.gate(helpdesk).resume()

    def _context(self, ends_at: float) -> LambdaContext:
        return _Context(ends_at, self._around.clock)

    # ── their parts ──────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _consumer(self) -> QueueConsumer:
        chosen = self._settings
        return QueueConsumer(
            TicketService(
                self._desks,
                self._ledger,
                self._markers,
                doubt_s=chosen.doubt_s,
                threads=chosen.threads,
                clock=self._around.clock,
            ),
            Topic(self._around.sns, chosen.outcomes_topic_arn),
            lambda: self._around.sqs,
            chosen,
            self._logger,
            _metrics,
            self._around.clock,
        )

    @cached_property
    def _reconciler(self) -> Reconciler:
        chosen = self._settings
        return Reconciler(
            self._helpdesks,
            self._desks,
            self._ledger,
            self._markers,
            settle_after_s=chosen.settle_after_s,
            give_up_s=chosen.give_up_after_s,
            most_calls=chosen.reconcile_calls,
            logger=self._logger,
            metrics=_metrics,
            clock=self._around.clock,
        )

    @cached_property
    def _watch(self) -> Watch:
        chosen = self._settings
        assert self._watchlist
        return Watch(
            self._helpdesks,
            self._desks,
            self._watchlist,
            self._teller,
            each_s=chosen.watch_each_s,
            days=chosen.ledger_days,
            most_calls=chosen.watch_calls,
            logger=self._logger,
            metrics=_metrics,
            clock=self._around.clock,
        )

    @cached_property
    def _callbacks(self) -> Callbacks:
        readings: Any = {"kapture": kapture_callback, "socialboards": socialboards_callback}
        return Callbacks(
            self._desks,
            self._teller,
            SharedSecrets(self._around.secrets, self._around.clock),
            {name: Sender(reading, f"{name}-callback") for name, reading in readings.items()},
            self._logger,
            _metrics,
            self._around.clock,
        )

    @cached_property
    def _teller(self) -> ChangeTeller:
        chosen = self._settings
        return ChangeTeller(
            self._around.dynamodb,
            chosen.ledger_table,
            Topic(self._around.sns, chosen.outcomes_topic_arn),
            keep_days=2 * chosen.ledger_days,
            clock=self._around.clock,
        )

    @cached_property
    def _watchlist(self) -> Watchlist | None:
        chosen = self._settings
        if not chosen.watch_each_s:
            return None
        return Watchlist(
            self._around.dynamodb, chosen.ledger_table, keep_days=chosen.ledger_days, clock=self._around.clock
        )

    @cached_property
    def _ledger(self) -> Ledger:
        chosen = self._settings
        return Ledger(
            self._around.dynamodb,
            chosen.ledger_table,
            lease_s=chosen.lease_s,
            keep_days=chosen.ledger_days,
            clock=self._around.clock,
            watched_under=watched_under if chosen.watch_each_s else None,
        )

    @cached_property
    def _markers(self) -> Markers:
        chosen = self._settings
        secret = Secret(self._around.secrets, chosen.marker_key_secret_arn, marker_keys_in)
        return Markers(secret.current, chosen.ledger_table, partial(secret.version, fresh=True))

    @cached_property
    def _desks(self) -> Desks:
        of_each = {"kapture": self._settings.kapture, "socialboards": self._settings.socialboards}
        gates = {name: self._gate(name, of_it) for name, of_it in of_each.items() if of_it}
        return Desks(self._helpdesks, gates, self._watchlist)

    @cached_property
    def _helpdesks(self) -> dict[str, Helpdesk]:
        chosen, secrets = self._settings, self._around.secrets
        made: list[Helpdesk] = []
        if chosen.kapture:
            token = Secret(secrets, chosen.kapture.secret_arn, token_in)
            made.append(Kapture(cast("Any", self._around.lines["kapture"]), token, chosen.kapture))
        if chosen.socialboards:
            line = cast("Any", self._around.lines["socialboards"])
            minted = MintedToken(
                Secret(secrets, chosen.socialboards.secret_arn, refresh_credentials_in),
                Minter(line, chosen.socialboards.token_path).mint,
                lambda: None,
                self._around.clock,
            )
            made.append(Socialboards(line, minted, chosen.socialboards))
        return {helpdesk.name: helpdesk for helpdesk in made}

    def _gate(self, name: str, chosen: KaptureSettings | SocialboardsSettings) -> Gate:
        budget = Budget(chosen.budget, chosen.budget_period_s)
        return Gate(
            self._around.dynamodb,
            self._settings.ledger_table,
            name,
            budget,
            self._around.clock,
            self._settings.lease_s,
        )
