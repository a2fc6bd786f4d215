"""A deployment of the handlers on mocked AWS: what the template sets up, as far as the handlers see it."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.client import BaseClient

import callbacks
import daily_audit
import form_intake
import resolve_doubts
import ticket_api
import ticket_queue
import watch
from bridge.generate.form_files import compile_all
from bridge.operating.operations import Operations
from bridge.sending.form_signing import sign
from bridge.stacks.target import Target
from helpdesk.http.forms.form_file import Form, load_forms
from helpdesk.parts import Parts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient

FUNCTIONS: Any = (callbacks, daily_audit, form_intake, resolve_doubts, ticket_api, ticket_queue, watch)

# From where each call of API Gateway comes: an address that is kept for documentation.
CALLER = "192.0.2.77"


# The ledger's table, as the template makes it.
LEDGER: Any = {
    "TableName": "ledger",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "attention", "AttributeType": "S"},
        {"AttributeName": "attention_at", "AttributeType": "N"},
    ],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "attention",
            "KeySchema": [
                {"AttributeName": "attention", "KeyType": "HASH"},
                {"AttributeName": "attention_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}


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


class Clock:
    """The time of day, and what a test lets pass on top of it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time.time() + self.passed

    def let_pass(self, seconds: float) -> None:
        """For the handlers' own parts; the ages of messages are counted from here as well."""
        self.passed += seconds

    def pass_until_noon(self, zone: tzinfo) -> None:
        """Until the next noon of the zone: no day begins during a test."""
        now = datetime.fromtimestamp(self(), zone)
        self.let_pass((now.replace(hour=12, minute=0) - now).total_seconds() % 86400)


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


@cache
def _client(service: Any, endpoint: str | None) -> Any:
    """The tests' own client: unlike the functions' clients, one for all tests of a process."""
    return boto3.client(service, endpoint_url=endpoint)


class Deployment:
    """Queues, topic, secret and table, and the true handlers on them. Needs an active AWS mock."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        kapture_url: str,
        token: str,
        *,
        clock: Callable[[], float] = time.time,
        **variables: str,
    ) -> None:
        self._monkeypatch = monkeypatch
        self.clock = clock
        # Every call of every client goes through this method, which botocore's types leave out.
        call = BaseClient._make_api_call  # type: ignore[attr-defined]
        monkeypatch.setattr(BaseClient, "_make_api_call", _one_at_a_time(call))
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        self.sqs: SQSClient = _client("sqs", endpoint)
        self.sns: SNSClient = _client("sns", endpoint)
        self.secrets: SecretsManagerClient = _client("secretsmanager", endpoint)
        self.dynamodb: DynamoDBClient = _client("dynamodb", endpoint)
        self.hidden: list[str] = []
        self.forms: dict[str, Form] = {}
        self.requests = self.sqs.create_queue(QueueName="requests")["QueueUrl"]
        self.dead_letter_queue = self.sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
        self.outcomes_queue = self._queue_arn_and_url("outcomes")[1]
        self.topic = self.sns.create_topic(Name="outcomes")["TopicArn"]
        self.subscribe("outcomes", {})
        self.secret = self.secrets.create_secret(Name="token", SecretString=json.dumps({"token": token}))[
            "ARN"
        ]
        self.marker_key = self.secrets.create_secret(
            Name="marker-key", SecretString=json.dumps({"key": "marker-key-of-the-tests-" + 16 * "k"})
        )["ARN"]
        self.dynamodb.create_table(**LEDGER)
        self.set(
            KAPTURE_URL=kapture_url,
            KAPTURE_SECRET_ARN=self.secret,
            REQUESTS_QUEUE_URL=self.requests,
            DEAD_LETTER_QUEUE_URL=self.dead_letter_queue,
            OUTCOMES_TOPIC_ARN=self.topic,
            LEDGER_TABLE="ledger",
            MARKER_KEY_SECRET_ARN=self.marker_key,
            FORM_SECRET_FOLDER="ticket-bridge/forms",
            **variables,
        )

    def set(self, **variables: str) -> None:
        """Changes the functions' environment, and starts them anew."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        self.restart()

    def restart(self) -> None:
        """Forgets what warm functions keep."""
        self.parts = Parts(os.environ, self.clock)
        for function in FUNCTIONS:
            function.handler.use(self.parts)

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
            QueueUrl=self.requests,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            VisibilityTimeout=180,
        ).get("Messages", [])
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
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
        return self.let_go(records, ticket_queue.handler({"Records": records}, context or Context()))

    def let_go(self, records: list[dict[str, Any]], answer: Mapping[str, Any]) -> list[str]:
        """Takes the records of a batch out of the queue that its answer does not give back, and returns the
        ids of the rest."""
        failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        for record in records:
            if record["messageId"] in failed:
                self.hidden.append(record["receiptHandle"])
            else:
                self.sqs.delete_message(QueueUrl=self.requests, ReceiptHandle=record["receiptHandle"])
        return failed

    def resolve_doubts(self, context: Context | None = None) -> dict[str, int]:
        """Runs the schedule's handler once."""
        counts: dict[str, int] = resolve_doubts.handler({}, context or Context())
        return counts

    def watch(self, context: Context | None = None) -> dict[str, int]:
        """Runs the watch's handler once."""
        counts: dict[str, int] = watch.handler({}, context or Context())
        return counts

    def audit(self, context: Context | None = None) -> dict[str, Any]:
        """Runs the audit's handler once."""
        counts: dict[str, Any] = daily_audit.handler({}, context or Context())
        return counts

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
        """Gives one call to the API's handler."""
        event = self.api_event(method, path, body, headers, query, base_path)
        answer = ticket_api.handler(event, context or Context(29_000))
        received = {name.lower(): value for name, value in answer["headers"].items()}
        return Answer(answer["statusCode"], received, json.loads(answer["body"]))

    # ── forms and callbacks ──────────────────────────────────────────────────────────────────────────────

    def deploy_forms(self, folder: Path, output: Path) -> None:
        """Builds the form files of a folder, as `sam build` does."""
        output.write_text(compile_all(folder))
        self.forms = load_forms(output.read_text())
        self.set(FORMS_FILE=str(output))

    def put_form_secret(self, form: str, *secrets: str) -> None:
        """Puts the live secrets of a form, the newest first."""
        self._put_secret(f"ticket-bridge/forms/{form}", json.dumps({"secrets": secrets}))

    def put_callback_secret(self, helpdesk: str, secret: str) -> None:
        """Puts the secret of a helpdesk's callbacks, as the template makes it."""
        name = f"{helpdesk}-callback"
        self._put_secret(name, json.dumps({"secret": secret}))
        self._monkeypatch.setenv(f"{helpdesk.upper()}_CALLBACK_SECRET_ARN", name)

    def form(
        self,
        name: str,
        body: Any,
        *,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        path_secret: str | None = None,
        base64_body: bool = False,
    ) -> Answer:
        """Gives one submission to the handler, with the report of its sender if there is a secret.

        A body that is no text and no bytes goes as JSON.
        """
        raw = (
            body
            if isinstance(body, bytes)
            else (body if isinstance(body, str) else json.dumps(body)).encode()
        )
        shown = sign(self.forms[name], secret, raw, self.clock()) if secret else None
        if shown and shown.path.count("/") == 3:
            path_secret = shown.path.rpartition("/")[2]
        sent = {"Content-Type": content_type, **(shown.headers if shown else {}), **(headers or {})}
        parameters = {"form": name, **({} if path_secret is None else {"secret": path_secret})}
        return self._edge(form_intake.handler, parameters, raw, sent, base64_body=base64_body)

    def callback(
        self,
        helpdesk: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        path_secret: str | None = None,
        context: Context | None = None,
    ) -> Answer:
        """Gives one callback of a helpdesk to the handler."""
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        parameters = {"helpdesk": helpdesk, **({} if path_secret is None else {"secret": path_secret})}
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._edge(callbacks.handler, parameters, raw, sent, context=context)

    def address_check(
        self, helpdesk: str, query: Mapping[str, str], path_secret: str | None = None
    ) -> Answer:
        """Gives the check of the address to which a helpdesk is to call back."""
        parameters = {"helpdesk": helpdesk, **({} if path_secret is None else {"secret": path_secret})}
        return self._edge(callbacks.handler, parameters, b"", {}, query=query)

    def _edge(
        self,
        handler: Callable[[dict[str, Any], Any], dict[str, Any]],
        parameters: Mapping[str, str],
        raw: bytes,
        headers: Mapping[str, str],
        *,
        base64_body: bool = False,
        query: Mapping[str, str] | None = None,
        context: Context | None = None,
    ) -> Answer:
        event = {
            "httpMethod": "POST" if query is None else "GET",
            "queryStringParameters": dict(query) if query else None,
            "headers": dict(headers),
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "pathParameters": dict(parameters),
            "requestContext": {
                "stage": "v1",
                "requestId": "gateway-request",
                "identity": {"sourceIp": CALLER},
            },
            "body": base64.b64encode(raw).decode() if base64_body else raw.decode(errors="replace"),
            "isBase64Encoded": base64_body,
        }
        answer = handler(event, context or Context(29_000))
        received = {name.lower(): value for name, value in answer["headers"].items()}
        is_json = received.get("content-type", "").endswith("json")
        body = json.loads(answer["body"]) if is_json else answer["body"] or None
        return Answer(answer["statusCode"], received, body)

    def _put_secret(self, name: str, text: str) -> None:
        try:
            self.secrets.put_secret_value(SecretId=name, SecretString=text)
        except self.secrets.exceptions.ResourceNotFoundException:
            self.secrets.create_secret(Name=name, SecretString=text)

    @staticmethod
    def api_event(
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | list[str]] | None = None,
        query: Mapping[str, str] | None = None,
        base_path: str = "",
    ) -> dict[str, Any]:
        """A call in the form of API Gateway's proxy integration.

        A body of bytes arrives in base64; `base_path` is that of a custom domain, which has no stage.
        """
        sent = {name: [value] if isinstance(value, str) else value for name, value in (headers or {}).items()}
        binary = isinstance(body, bytes)
        if binary:
            body = base64.b64encode(body).decode()
        return {
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
                "identity": {"sourceIp": CALLER},
            },
            "body": body if body is None or isinstance(body, str) else json.dumps(body),
            "isBase64Encoded": binary,
        }


def operations_on(deployment: Deployment) -> Operations:
    """What an operator does, on this deployment."""
    target = Target(
        session=boto3.Session(),
        endpoint_url=None,
        name="ticket-bridge",
        requests_queue_url=deployment.requests,
        dead_letter_queue_url=deployment.dead_letter_queue,
        ledger_table="ledger",
        helpdesks=("kapture",),
    )
    # The functions of these tests have no configuration in AWS.
    target.__dict__["environment"] = deployment.parts.environment
    # The queue of these tests has one server.
    return Operations(target, wait_s=0)
