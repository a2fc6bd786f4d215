"""A deployment of the handlers on mocked AWS: what the template sets up, as far as the handlers see it."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

import reconcile
import ticket_api
import ticket_queue
from helpdesk import wiring

_CACHED = (
    wiring.queue_consumer,
    wiring.ticket_api,
    wiring._settings,
    wiring._clients,
    wiring._ledger,
    wiring._helpdesks,
    wiring._service,
    wiring.reconciler,
)


@dataclass
class Context:
    """As much of Lambda's context object as the handlers use."""

    milliseconds: int = 30_000
    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:test"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    body: Any


def _one_at_a_time(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same for mocked AWS, which shows half-written items to a thread that reads in the middle."""
    lock = threading.Lock()

    def locked(*arguments: Any) -> Any:
        with lock:
            return call(*arguments)

    return locked


class Deployment:
    """Queues, topic, secret and table, and the true handlers on them. Needs an active AWS mock."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, kapture_url: str, token: str, **variables: str
    ) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(BaseClient, "_make_api_call", _one_at_a_time(BaseClient._make_api_call))
        self.sqs = boto3.client("sqs")
        self.sns = boto3.client("sns")
        self.secrets = boto3.client("secretsmanager")
        self.dynamodb = boto3.client("dynamodb")
        self.hidden: list[str] = []
        self.requests = self.sqs.create_queue(QueueName="requests")["QueueUrl"]
        self.dead_letter_queue = self.sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
        self.outcomes_queue = self._queue_arn_and_url("outcomes")[1]
        self.topic = self.sns.create_topic(Name="outcomes")["TopicArn"]
        self.subscribe("outcomes", {})
        self.secret = self.secrets.create_secret(Name="token", SecretString=json.dumps({"token": token}))[
            "ARN"
        ]
        self.dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "attention", "AttributeType": "S"},
                {"AttributeName": "attention_at", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "attention",
                    "KeySchema": [
                        {"AttributeName": "attention", "KeyType": "HASH"},
                        {"AttributeName": "attention_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        self.set(
            KAPTURE_URL=kapture_url,
            KAPTURE_SECRET_ARN=self.secret,
            REQUESTS_QUEUE_URL=self.requests,
            DEAD_LETTER_QUEUE_URL=self.dead_letter_queue,
            OUTCOMES_TOPIC_ARN=self.topic,
            LEDGER_TABLE="ledger",
            **variables,
        )

    def set(self, **variables: str) -> None:
        """Changes the functions' environment, and starts them anew."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        self.restart()

    def restart(self) -> None:
        """Forgets what warm functions keep."""
        for cached in _CACHED:
            cached.cache_clear()

    # ── the queue ────────────────────────────────────────────────────────────────────────────────────────

    def send(self, *bodies: Mapping[str, Any] | list[Any] | str) -> list[str]:
        """Puts requests into the queue, and returns the messages' ids."""
        return [
            self.sqs.send_message(
                QueueUrl=self.requests, MessageBody=body if isinstance(body, str) else json.dumps(body)
            )["MessageId"]
            for body in bodies
        ]

    def receive(self) -> list[dict[str, Any]]:
        """Up to ten records, as Lambda gives them to the handler."""
        messages = self.sqs.receive_message(
            QueueUrl=self.requests, MaxNumberOfMessages=10, AttributeNames=["All"], VisibilityTimeout=180
        ).get("Messages", [])
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            }
            for message in messages
        ]

    def consume(
        self, records: list[dict[str, Any]] | None = None, context: Context | None = None
    ) -> list[str]:
        """Gives one batch to the handler, lets go of what it does not give back, and returns the ids of the
        rest."""
        records = self.receive() if records is None else records
        answer = ticket_queue.handler({"Records": records}, context or Context())
        failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        for record in records:
            if record["messageId"] in failed:
                self.hidden.append(record["receiptHandle"])
            else:
                self.sqs.delete_message(QueueUrl=self.requests, ReceiptHandle=record["receiptHandle"])
        return failed

    def reconcile(self, context: Context | None = None) -> dict[str, int]:
        """Runs the schedule's handler once."""
        return reconcile.handler({}, context or Context())

    def show_all(self) -> None:
        """Ends the delays of all waiting records: they can be received at once."""
        for message in self.hidden:
            self.sqs.change_message_visibility(
                QueueUrl=self.requests, ReceiptHandle=message, VisibilityTimeout=0
            )
        self.hidden.clear()

    def waiting(self) -> int:
        """Messages in the queue of requests, those that are hidden for now included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes: Mapping[Any, str] = self.sqs.get_queue_attributes(
            QueueUrl=self.requests, AttributeNames=["All"]
        )["Attributes"]
        return sum(int(attributes[name]) for name in names)

    # ── the topic and the dead-letter queue ──────────────────────────────────────────────────────────────

    def outcomes(self) -> list[dict[str, Any]]:
        """The events that were published since the last look."""
        return [json.loads(message["Body"]) for message in self.drain(self.outcomes_queue)]

    def dead_letters(self) -> list[dict[str, Any]]:
        """The copies in the dead-letter queue since the last look: body, and attributes as texts."""
        return [
            {
                "body": message["Body"],
                **{
                    name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()
                },
            }
            for message in self.drain(self.dead_letter_queue)
        ]

    def subscribe(self, name: str, filter_policy: Mapping[str, Any]) -> str:
        """A queue's URL that listens to the topic, with the filter policy."""
        arn, url = self._queue_arn_and_url(name)
        attributes = {"RawMessageDelivery": "true"}
        if filter_policy:
            attributes["FilterPolicy"] = json.dumps(filter_policy)
        self.sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    def drain(self, queue_url: str) -> list[dict[str, Any]]:
        """Every message of a queue, taken out of it."""
        taken: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", []):
            for message in messages:
                self.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
                taken.append(dict(message))
        return taken

    def _queue_arn_and_url(self, name: str) -> tuple[str, str]:
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return attributes["Attributes"]["QueueArn"], url

    # ── secret and API ───────────────────────────────────────────────────────────────────────────────────

    def put_token(self, token: str) -> None:
        """Puts another token into the secret."""
        self.secrets.put_secret_value(SecretId=self.secret, SecretString=json.dumps({"token": token}))

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | list[str]] | None = None,
        query: Mapping[str, str] | None = None,
        context: Context | None = None,
        base_path: str = "",
    ) -> Answer:
        """Gives one call to the API's handler, in the form of API Gateway's proxy integration.

        A body of bytes arrives in base64; `base_path` is that of a custom domain, which has no stage.
        """
        sent = {name: [value] if isinstance(value, str) else value for name, value in (headers or {}).items()}
        binary = isinstance(body, bytes)
        if binary:
            body = base64.b64encode(body).decode()
        event = {
            "resource": "/{proxy+}",
            "path": f"{base_path}{path}",
            "httpMethod": method,
            "headers": {name: values[-1] for name, values in sent.items()},
            "multiValueHeaders": sent,
            "queryStringParameters": dict(query) if query else None,
            "multiValueQueryStringParameters": {name: [value] for name, value in (query or {}).items()},
            "pathParameters": {"proxy": path.lstrip("/")},
            "requestContext": {
                "path": f"{base_path or '/v1'}{path}",
                "stage": "v1",
                "requestId": "gateway-request",
                "identity": {},
            },
            "body": body if body is None or isinstance(body, str) else json.dumps(body),
            "isBase64Encoded": binary,
        }
        answer = ticket_api.handler(event, context or Context(29_000))
        received = {name.lower(): ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
        return Answer(answer["statusCode"], received, json.loads(answer["body"]))
