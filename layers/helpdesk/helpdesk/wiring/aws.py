"""The settings of this function, and its AWS clients. The only module that makes such clients."""

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from helpdesk.settings import Settings, load_settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient


class Clients:
    """AWS clients of one session, each made when it is first asked for; making one connects to nothing."""

    def __init__(self, threads: int) -> None:
        # Not boto3's session: resources and transfers cost a fifth of a cold start, and nothing uses them.
        self._session = botocore.session.get_session()
        self._config = Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=threads,
            tcp_keepalive=True,
        )

    def _made(self, service: str) -> Any:
        return self._session.create_client(service, config=self._config)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The ledger's and the gates' table."""
        client: DynamoDBClient = self._made("dynamodb")
        return client

    @cached_property
    def secretsmanager(self) -> "SecretsManagerClient":
        """Tokens, and secrets shared with senders."""
        client: SecretsManagerClient = self._made("secretsmanager")
        return client

    @cached_property
    def sns(self) -> "SNSClient":
        """The topic of outcomes."""
        client: SNSClient = self._made("sns")
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """The queue of requests, and the dead-letter queue."""
        client: SQSClient = self._made("sqs")
        return client


@cache
def settings() -> Settings:
    """The settings, read once. Raises SettingsError."""
    return load_settings()


@cache
def clients() -> Clients:
    """The clients of this function."""
    return Clients(settings().threads)
