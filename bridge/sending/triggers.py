"""Sends requests in all the ways in which they reach Ticket Bridge."""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.calls import call
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.generate.schedules import SCHEDULED_TIME
from bridge.local import sam
from bridge.local.emulator import Clients
from bridge.local.folder import Folder
from bridge.local.helpdesks import HELPDESKS
from bridge.sending.form_signing import needs_secret, sign
from bridge.sending.samples import (
    ApiSend,
    BusSend,
    CallbackSend,
    FormSend,
    QueueSend,
    ScheduleSend,
    TopicSend,
)
from bridge.stacks.queues import subscribe

if TYPE_CHECKING:
    from bridge.local.state import Stack
    from bridge.sending.samples import Json, Send

TOPIC = "bridge-requests"
API_SECONDS = 60.0
# The emulator asks for a role but checks none.
_ANY_ROLE = "arn:aws:iam::000000000000:role/bridge-schedule"


@dataclass(frozen=True)
class Sent:
    """What the sender knows at once: the request_id, and the API's answer where it was called."""

    request_id: str | None
    status: int | None = None
    answer: str = ""


class Triggers:
    """The triggers of one local stack. May be used by several threads."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._aws = Clients(stack.endpoint_url)
        self._forms = Folder(Path(stack.bridge_folder)).forms
        # Subscribed twice, a topic would deliver twice.
        self._subscribing = threading.Lock()
        self._making_secrets = threading.Lock()

    def send(self, send: Send) -> Sent:
        """Send one request through its trigger. Raises BridgeError when the trigger does not take it."""
        try:
            match send:
                case QueueSend():
                    return self._to_queue(send)
                case ApiSend():
                    return self._to_api(send)
                case BusSend():
                    return self._to_bus(send)
                case ScheduleSend():
                    return self._to_schedule(send)
                case TopicSend():
                    return self._to_topic(send)
                case FormSend():
                    return self._to_form(send)
                case CallbackSend():
                    return self._to_callback(send)
        except (BotoCoreError, ClientError, requests.RequestException) as error:
            raise BridgeError(f"the {send.trigger} does not take it: {error}") from error

    def _to_queue(self, send: QueueSend) -> Sent:
        message: dict[str, Any] = {
            "QueueUrl": self._stack.requests_queue_url,
            "MessageBody": _text(send.body),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in send.attributes.items()
            },
        }
        if send.group is not None:
            message["MessageGroupId"] = send.group
        message_id = self._aws.sqs.send_message(**message)["MessageId"]
        return Sent(_request_id(send.body) or message_id)

    def _to_api(self, send: ApiSend) -> Sent:
        headers = {**self._stack.api_headers, "x-api-key": self._stack.api_key, **send.headers}
        if send.body is not None and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = "application/json"
        data = None if send.body is None else _text(send.body).encode()
        response = self._call(send.method, send.path, headers, data)
        known = {name.lower(): value for name, value in send.headers.items()}
        request_id = _request_id(send.body) or known.get("idempotency-key") or _request_id_of(response)
        return Sent(request_id, response.status_code, response.text)

    def _to_form(self, send: FormSend) -> Sent:
        file = form_files.file_of(self._forms, send.form)
        if not file.exists():
            raise BridgeError(f"There is no form {send.form}: {file} is missing")
        form = form_files.read(file)
        secret = self.form_secret(send.form) if needs_secret(form) else ""
        signed = sign(form, secret, send.raw)
        headers = {**self._stack.api_headers, "content-type": send.content_type, **signed.headers}
        headers |= {name.lower(): value for name, value in send.headers.items()}
        response = self._call("POST", signed.path, headers, send.raw)
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise BridgeError(f"The form {send.form} is not deployed as {file} has it: bridge up deploys it")
        # A redirect has no body.
        request_id = response.headers.get("request-id") or _request_id_of(response)
        return Sent(request_id, response.status_code, response.text or response.headers.get("location", ""))

    def _to_callback(self, send: CallbackSend) -> Sent:
        desk = next(desk for desk in HELPDESKS if desk.name == send.helpdesk)
        secret = self._callback_secret(desk.callback_secret)
        headers = {**self._stack.api_headers, "content-type": "application/json"}
        headers |= {name.lower(): value for name, value in send.headers.items()}
        # A sample that brings a secret of its own is a forged one.
        is_forged = "x-callback-secret" in headers
        path = f"/callbacks/{send.helpdesk}" + ("" if is_forged else f"/{secret}")
        if send.challenge is not None:
            query = urlencode({"challenge": send.challenge, "verifyToken": secret})
            response = self._call("GET", f"{path}?{query}", headers, None)
        else:
            response = self._call("POST", path, headers, _text(send.body).encode())
        return Sent(_request_id_of(response), response.status_code, response.text)

    def _call(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> requests.Response:
        return call(method, f"{self._stack.api_url}{path}", headers=headers, data=data, timeout=API_SECONDS)

    def form_secret(self, form: str) -> str:
        """The form's newest secret; one is made where it has none, as its operator does."""
        name = f"{sam.STACK_NAME}/forms/{form}"
        with self._making_secrets:
            try:
                text = self._aws.secretsmanager.get_secret_value(SecretId=name)["SecretString"]
            except self._aws.secretsmanager.exceptions.ResourceNotFoundException:
                text = json.dumps({"secrets": [secrets.token_urlsafe(24)]})
                self._aws.secretsmanager.create_secret(Name=name, SecretString=text)
        return str(json.loads(text)["secrets"][0])

    def _callback_secret(self, name: str) -> str:
        secret = self._aws.cloudformation.describe_stack_resource(
            StackName=sam.STACK_NAME, LogicalResourceId=name
        )["StackResourceDetail"]["PhysicalResourceId"]
        text = self._aws.secretsmanager.get_secret_value(SecretId=secret)["SecretString"]
        return str(json.loads(text)["secret"])

    def _to_bus(self, send: BusSend) -> Sent:
        answer = self._aws.events.put_events(
            Entries=[
                {
                    "EventBusName": self._stack.event_bus_name,
                    "Source": send.source,
                    "DetailType": send.detail_type,
                    "Detail": json.dumps(send.detail),
                }
            ]
        )
        entry = answer["Entries"][0]
        if answer["FailedEntryCount"]:
            raise BridgeError(f"the bus does not take it: {entry.get('ErrorMessage')}")
        return Sent(_request_id(send.detail) or entry["EventId"])

    def _to_schedule(self, send: ScheduleSend) -> Sent:
        """Schedule it for the next second; the emulator looks every ten seconds for what is due."""
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        # AWS puts the scheduled time in place of these words; the emulator leaves them as they are.
        words = _text(send.input).replace(SCHEDULED_TIME, at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._aws.scheduler.create_schedule(
            Name=f"bridge-{uuid.uuid4().hex[:12]}",
            ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={"Arn": self._requests_queue_arn, "RoleArn": _ANY_ROLE, "Input": words},
        )
        return Sent(_request_id(json.loads(words)))

    def _to_topic(self, send: TopicSend) -> Sent:
        with self._subscribing:
            topic = self._topic_arn
        self._aws.sns.publish(TopicArn=topic, Message=_text(send.message))
        return Sent(_request_id(send.message))

    @cached_property
    def _requests_queue_arn(self) -> str:
        attributes = self._aws.sqs.get_queue_attributes(
            QueueUrl=self._stack.requests_queue_url, AttributeNames=["QueueArn"]
        )
        return attributes["Attributes"]["QueueArn"]

    @cached_property
    def _topic_arn(self) -> str:
        """A topic whose messages go to the requests queue in SNS's envelope."""
        arn = self._aws.sns.create_topic(Name=TOPIC)["TopicArn"]
        subscribe(self._aws, queue_url=self._stack.requests_queue_url, topic_arn=arn, raw=False)
        return arn


def _text(body: Json) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def _request_id(body: Json) -> str | None:
    """The request_id that a body carries, wrapped as a CloudEvent or not."""
    if not isinstance(body, dict):
        return None
    for candidate in (body, body.get("data")):
        if isinstance(candidate, dict) and isinstance(candidate.get("request_id"), str):
            return str(candidate["request_id"])
    return None


def _request_id_of(response: requests.Response) -> str | None:
    try:
        return _request_id(response.json())
    except ValueError:
        return None
