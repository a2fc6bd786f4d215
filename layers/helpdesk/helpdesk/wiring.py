"""Joins the parts. The only module that makes AWS clients."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import boto3
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from helpdesk import kapture_callback, socialboards_callback
from helpdesk.api import TicketApi
from helpdesk.callbacks import Callbacks, Reading, Sender
from helpdesk.changes import ChangeTeller
from helpdesk.consumer import QueueConsumer
from helpdesk.edge_settings import load_callback_settings, load_form_settings
from helpdesk.form_intake import FormIntake
from helpdesk.gate import Budget, Gate
from helpdesk.intake.forms import load_forms
from helpdesk.intake.shared_secrets import SharedSecrets
from helpdesk.kapture import Kapture
from helpdesk.ledger import Ledger
from helpdesk.marker import Markers
from helpdesk.outcomes import Topic
from helpdesk.reconcile import Reconciler
from helpdesk.service import Helpdesk, TicketService
from helpdesk.settings import KaptureSettings, Settings, SocialboardsSettings, load_settings
from helpdesk.socialboards import Minter, Socialboards
from helpdesk.tokens import MintedToken, Secret, refresh_credentials_in, token_in
from helpdesk.transport import Transport

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient

logger = Logger()
metrics = Metrics(namespace="TicketBridge")
# What every part takes for the time of day.
clock: Callable[[], float] = time.time

# What a batch needs after its last call: remembering, publishing, giving back.
_QUEUE_RESERVE_S = 5.0
_API_RESERVE_S = 1.5


class LambdaContext(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


def queue_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the calls of a batch must end."""
    return _deadline(context, _QUEUE_RESERVE_S)


def api_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the call behind an answer must end."""
    return _deadline(context, _API_RESERVE_S)


def reconcile_deadline(context: LambdaContext) -> float:
    """The moment of `time.monotonic()` by which the calls of a run must end."""
    return _deadline(context, _QUEUE_RESERVE_S)


def _deadline(context: LambdaContext, reserve_s: float) -> float:
    return time.monotonic() + context.get_remaining_time_in_millis() / 1000 - reserve_s


@cache
def queue_consumer() -> QueueConsumer:
    """The consumer of the queue, made at the first invocation."""
    clients = _clients()
    return QueueConsumer(
        _service(),
        Topic(clients.sns, _settings().outcomes_topic_arn),
        clients.sqs,
        _settings(),
        logger,
        metrics,
        clock,
    )


@cache
def ticket_api(document: Path) -> TicketApi:
    """The HTTP API, made at the first invocation; it describes itself by the document."""
    return TicketApi(_service(), _ledger(), _clients().sqs, _settings(), logger, metrics, document)


@cache
def reconciler() -> Reconciler:
    """What settles doubts, made at the first invocation."""
    settings = _settings()
    return Reconciler(
        _helpdesks(),
        _service(),
        _ledger(),
        _markers(),
        settle_after_s=settings.settle_after_s,
        give_up_s=settings.give_up_after_s,
        most_calls=settings.reconcile_calls,
        logger=logger,
        metrics=metrics,
        clock=clock,
    )


@cache
def form_intake() -> FormIntake:
    """What takes form submissions, made at the first invocation."""
    edge = load_form_settings()
    return FormIntake(
        load_forms(Path(edge.forms_file).read_text()),
        SharedSecrets(_clients().secretsmanager, clock),
        edge.secret_folder,
        _clients().sqs,
        _settings().requests_queue_url,
        _settings().default_helpdesk,
        logger,
        metrics,
        clock,
    )


@cache
def callbacks() -> Callbacks:
    """What takes the helpdesks' callbacks, made at the first invocation."""
    settings = _settings()
    topic = Topic(_clients().sns, settings.outcomes_topic_arn)
    readings: dict[str, Reading] = {"kapture": kapture_callback, "socialboards": socialboards_callback}
    secret_ids = load_callback_settings(settings.helpdesks).secret_ids
    return Callbacks(
        _service(),
        ChangeTeller(
            _clients().dynamodb, settings.ledger_table, topic, keep_days=settings.ledger_days, clock=clock
        ),
        SharedSecrets(_clients().secretsmanager, clock),
        {name: Sender(readings[name], secret_id) for name, secret_id in secret_ids.items()},
        logger,
        metrics,
        clock,
    )


@cache
def _settings() -> Settings:
    return load_settings()


class _Clients:
    """AWS clients of one session: a session of its own for each would load its models again."""

    def __init__(self, threads: int) -> None:
        session = boto3.Session()
        config = Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=threads,
            tcp_keepalive=True,
        )
        self.dynamodb: DynamoDBClient = session.client("dynamodb", config=config)
        self.secretsmanager: SecretsManagerClient = session.client("secretsmanager", config=config)
        self.sns: SNSClient = session.client("sns", config=config)
        self.sqs: SQSClient = session.client("sqs", config=config)


@cache
def _clients() -> _Clients:
    return _Clients(_settings().threads)


@cache
def _ledger() -> Ledger:
    settings = _settings()
    return Ledger(
        _clients().dynamodb,
        settings.ledger_table,
        lease_s=settings.lease_s,
        keep_days=settings.ledger_days,
        clock=clock,
    )


@cache
def _helpdesks() -> dict[str, Helpdesk]:
    settings = _settings()
    secrets = _clients().secretsmanager
    helpdesks: list[Helpdesk] = []
    if settings.kapture:
        token = Secret(secrets, settings.kapture.secret_arn, token_in)
        helpdesks.append(Kapture(_transport(settings.kapture.url), token, settings.kapture))
    if settings.socialboards:
        transport = _transport(settings.socialboards.url)
        minted = MintedToken(
            Secret(secrets, settings.socialboards.secret_arn, refresh_credentials_in),
            Minter(transport, settings.socialboards.token_path).mint,
            lambda: logger.warning("another refresh token has come: put it into the secret"),
        )
        helpdesks.append(Socialboards(transport, minted, settings.socialboards))
    return {helpdesk.name: helpdesk for helpdesk in helpdesks}


def _transport(url: str) -> Transport:
    settings = _settings()
    return Transport(
        url,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        connections=settings.threads,
    )


def _gate(name: str, chosen: KaptureSettings | SocialboardsSettings) -> Gate:
    settings = _settings()
    budget = Budget(chosen.budget, chosen.budget_period_s)
    return Gate(_clients().dynamodb, settings.ledger_table, name, budget, clock, settings.lease_s)


@cache
def _markers() -> Markers:
    return Markers(_settings().ledger_table)


@cache
def _service() -> TicketService:
    settings = _settings()
    chosen = {"kapture": settings.kapture, "socialboards": settings.socialboards}
    gates = {name: _gate(name, of_it) for name, of_it in chosen.items() if of_it}
    return TicketService(
        _helpdesks(), gates, _ledger(), _markers(), doubt_s=settings.doubt_s, threads=settings.threads
    )
