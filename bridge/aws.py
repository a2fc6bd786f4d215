"""Clients of AWS, or of what stands in for it: each made when it is first used."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# A client may be shared by threads, but a session makes one at a time.
_making = threading.Lock()


def _client(service: str) -> Any:
    return cached_property(lambda clients: clients.client(service))


class AwsClients:
    """The clients of a session, at AWS's own addresses or at one. May be used by several threads."""

    session: boto3.Session
    endpoint_url: str | None

    def __init__(self, session: boto3.Session, endpoint_url: str | None = None) -> None:
        self.session = session
        self.endpoint_url = endpoint_url

    def client(self, service: Any, **options: Any) -> Any:
        with _making:
            return self.session.client(service, endpoint_url=self.endpoint_url, **options)

    cloudformation: CloudFormationClient = _client("cloudformation")
    cloudwatch: CloudWatchClient = _client("cloudwatch")
    dynamodb: DynamoDBClient = _client("dynamodb")
    events: EventBridgeClient = _client("events")
    lambda_: LambdaClient = _client("lambda")
    logs: CloudWatchLogsClient = _client("logs")
    scheduler: EventBridgeSchedulerClient = _client("scheduler")
    secretsmanager: SecretsManagerClient = _client("secretsmanager")
    sns: SNSClient = _client("sns")
    sqs: SQSClient = _client("sqs")
    # No type stubs are installed for these.
    apigateway: Any = _client("apigateway")
    iam: Any = _client("iam")
    s3: Any = _client("s3")


class NotAwsError(BotoCoreError):
    """Something else has answered in the place of AWS."""

    fmt = "What answered is not AWS: a proxy perhaps. Check HTTPS_PROXY, AWS_ENDPOINT_URL and the network."


def refuse_web_pages(session: boto3.Session) -> boto3.Session:
    """The session, whose clients raise NotAwsError where a web page answers them, as a proxy's login page.

    They would read it as an answer that holds nothing.
    """
    session.events.register("before-parse", _refuse_web_page)
    return session


def _refuse_web_page(response_dict: dict[str, Any], **_: object) -> None:
    content_type = response_dict["headers"].get("content-type", "")
    # A server error of AWS may be a page too; it is repeated as any other.
    if content_type.startswith("text/html") and response_dict["status_code"] < 500:
        raise NotAwsError
