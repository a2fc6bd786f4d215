"""Clients of AWS, or of what stands in for it: each made when it is first used."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
