"""AWS clients. The only module that makes them."""

import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import botocore
import botocore.session
from botocore.config import Config
from botocore.handlers import BUILTIN_HANDLERS, REGISTER_FIRST, REGISTER_LAST
from botocore.httpsession import URLLib3Session

from helpdesk.clients.tls import tls_context

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient


# To connect, and to wait for each part of a response.
_TIMEOUTS_S: Any = (2, 5)


class _Session(URLLib3Session):
    """Checks certificates with the context of the process; the SDK would read a bundle per connection."""

    def _get_ssl_context(self) -> ssl.SSLContext:
        return tls_context()

    def _setup_ssl_cert(self, conn: Any, *_: object) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


# The services called here, as the SDK's events name them.
_SERVICES = {"dynamodb", "secrets-manager", "sns", "sqs", "*", ""}


def _session() -> botocore.session.Session:
    """A session without the SDK's handlers for other services, and for documentation: 3 % of a start."""
    session = botocore.session.Session(include_builtin_handlers=False)
    events: Any = session.get_component("event_emitter")
    register = {REGISTER_FIRST: events.register_first, REGISTER_LAST: events.register_last}
    for name, handler, *when in BUILTIN_HANDLERS:
        event, service, *_ = f"{name}.".split(".")
        if event != "docs" and service in _SERVICES:
            register.get(when[0] if when else None, events.register)(name, handler)
    return session


def _encode_once(params: dict[str, Any], **_: object) -> None:
    # Otherwise the SDK encodes the form twice, to sign and to send it: a publish takes 1.43 times the work.
    params["body"] = urlencode(params["body"]).encode()


class Clients:
    """AWS clients of one session, each made when first used; making a client opens no connection."""

    def __init__(self, connections: int) -> None:
        # boto3's session would load resources and transfers: a fifth of a cold start, for nothing.
        self._session = _session()
        self._config = Config(
            connect_timeout=_TIMEOUTS_S[0],
            read_timeout=_TIMEOUTS_S[1],
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=connections,
            tcp_keepalive=True,
            # Our types have checked the parameters already: the SDK's check is 16 % of a call's work.
            parameter_validation=False,
            # Otherwise the SDK builds its own twice for each call: 14 % of the work.
            user_agent=f"ticket-bridge Botocore/{botocore.__version__}",
        )

    def _made(self, service: str) -> Any:
        client: Any = self._session.create_client(service, config=self._config)
        # No option sets a client's HTTP session. The layer pins the SDK, and a test covers this attribute.
        made = client._endpoint.http_session
        # The SDK handles an operator's own bundle.
        if made._verify is True:
            client._endpoint.http_session = _Session(
                proxies=made._proxy_config._proxies,
                timeout=_TIMEOUTS_S,
                max_pool_connections=made._max_pool_connections,
                socket_options=made._socket_options,
            )
        return client

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
        client.meta.events.register("before-call.sns", _encode_once)
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """The queue of requests, and the dead-letter queue."""
        client: SQSClient = self._made("sqs")
        return client
