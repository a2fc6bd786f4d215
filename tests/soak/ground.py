"""The ground of a soak: queues, topic and table at the emulator, simulated helpdesks, functions to kill."""

from __future__ import annotations

import json
import queue
import random
import sys
import threading
import time
import uuid
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local import emulator, processes
from bridge.local.emulator import CREDENTIALS, REGION
from bridge.local.helpdesks import HELPDESKS
from bridge.local.state import PROJECT
from bridge.stacks.samples import ApiSend, BusSend, QueueSend, TopicSend
from tests.soak.load import REJECTED, SUCCEEDED, Told, told_in
from tests.soak.workers import DiedError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bridge.local.helpdesks import LocalHelpdesk
    from bridge.local.state import StateFolder
    from bridge.stacks.samples import Send
    from tests.soak.load import Asked

READ_TIMEOUT_S = 1.0
# The handlers keep five seconds of it for what follows their calls.
_QUEUE_TIMEOUT_S = 8
_API_TIMEOUT_S = 10
_RECONCILE_TIMEOUT_S = 60
_VISIBILITY_S = 12
_RECONCILE_EVERY_S = 5.0
_TOKEN_EVERY_S = 120.0
_SETTINGS = {
    "READ_TIMEOUT_S": str(READ_TIMEOUT_S),
    "CONNECT_TIMEOUT_S": "1",
    "LEASE_S": str(_QUEUE_TIMEOUT_S + 1),
    # Longer than the slowest fault takes to make a ticket, and than a pull takes to read them all.
    "SETTLE_AFTER_S": "10",
    "DOUBT_S": "8",
    "MAX_DELAY_S": "3",
    "RECONCILE_CALLS": "20",
    # All of a day's tickets in one answer would be more than the client reads.
    "KAPTURE_PULL_LIMIT": "2000",
}
_TABLE = "soak-ledger"


class Kills(NamedTuple):
    """What is done to the functions: shares of the invocations."""

    killed: float
    doubled: float
    seed: int


class _Batch(NamedTuple):
    records: list[dict[str, Any]]
    # Set when another worker has it as well.
    taken: threading.Event | None = None


class LocalGround:
    """Everything that a soak needs, on loopback. Use it in a `with` of `local_ground`."""

    def __init__(
        self,
        state: StateFolder,
        endpoint_url: str,
        helpdesk_urls: Mapping[str, str],
        workers: int,
        kills: Kills,
    ) -> None:
        self.helpdesk_urls: Mapping[str, str] = helpdesk_urls
        self.counts: Counter[str] = Counter()
        self._kills = kills
        self._random = random.Random(kills.seed)  # a repeatable soak, not cryptography
        self._clients = _Clients(endpoint_url)
        self._token_number = 0
        self._make_resources(endpoint_url)
        self._stopping = threading.Event()
        self._answers: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._calls: queue.Queue[tuple[str, ApiSend]] = queue.Queue()
        self._handed_over: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        # Sent again later, by a producer that has not heard anything: a countdown and the message.
        self._again: deque[tuple[int, str]] = deque()
        self._typical_s = 0.3
        log = state.log("functions")

        def worker(function: str, timeout_s: float) -> Worker:
            return Worker(function, timeout_s, self._environment, log)

        self._workers = [worker("ticket_queue", _QUEUE_TIMEOUT_S) for _ in range(workers)]
        api, settling = worker("ticket_api", _API_TIMEOUT_S), worker("reconcile", _RECONCILE_TIMEOUT_S)
        loops: list[Callable[[], None]] = [
            *[lambda one=one: self._poll(one) for one in self._workers],
            lambda: self._serve_api(api),
            lambda: self._reconcile(settling),
            self._operate,
        ]
        self._workers += [api, settling]
        self._threads = [threading.Thread(target=self._kept_up, args=(loop,), daemon=True) for loop in loops]

    def start(self) -> None:
        """Lets the functions run."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the functions."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_RECONCILE_TIMEOUT_S)
        for worker in self._workers:
            worker.stop()

    # ── what producers and subscribers see ───────────────────────────────────────────────────────────────

    def send(self, asked: Sequence[Asked]) -> list[str]:
        """Sends each request in all its ways, and returns the requests' ids."""
        ids: list[str] = []
        messages: list[tuple[int, str]] = []
        for number, one in enumerate(asked):
            ids.append(one.request_id or "")
            for place, send in enumerate(one.sends):
                if isinstance(send, ApiSend):
                    self._calls.put((one.request_id or "", send))
                elif place and self._random.random() < 0.5:
                    self._again.append((len(self._again) + self._random.randrange(2, 40), _message(send)))
                else:
                    messages.append((number, _message(send)))
            self.counts["sent twice"] += len(one.sends) - 1
        due = [message for left, message in self._again if left <= 0]
        self._again = deque((left - len(asked), message) for left, message in self._again if left > 0)
        messages += [(-1, message) for message in due]
        for start in range(0, len(messages), 10):
            ten = messages[start : start + 10]
            for (number, _), message_id in zip(ten, self._send_ten([text for _, text in ten]), strict=True):
                if number >= 0 and not ids[number]:
                    ids[number] = message_id
        return ids

    def send_the_rest(self) -> None:
        """Sends what was put off."""
        rest = [message for _, message in self._again]
        self._again.clear()
        for start in range(0, len(rest), 10):
            self._send_ten(rest[start : start + 10])

    def hear(self) -> list[Told]:
        """What was told since the last time."""
        told: list[Told] = []
        while not self._answers.empty():
            told.append(self._answers.get())
        return told + [
            told_in(json.loads(message["Body"])) for message in self._drained(self._outcomes_queue)
        ]

    def waiting(self) -> int:
        """Messages in the queue of requests, hidden ones too, and calls of the API that are not answered."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes: Mapping[Any, str] = self._clients.sqs.get_queue_attributes(
            QueueUrl=self._requests_queue, AttributeNames=["All"]
        )["Attributes"]
        return sum(int(attributes[name]) for name in names) + self._calls.unfinished_tasks

    def doubts(self) -> int:
        """Requests that the ledger still holds for unknown."""
        found = [
            self._clients.dynamodb.query(
                TableName=_TABLE,
                IndexName="attention",
                KeyConditionExpression="attention = :helpdesk",
                ExpressionAttributeValues={":helpdesk": {"S": name}},
                Select="COUNT",
            )
            for name in self.helpdesk_urls
        ]
        return sum(int(one["Count"]) for one in found)

    def dead_letters(self) -> Counter[str]:
        """The copies in the dead-letter queue, by their codes."""
        codes: Counter[str] = Counter()
        while messages := self._drained(self._dead_letter_queue, rounds=100):
            for message in messages:
                code = message.get("MessageAttributes", {}).get("code", {"StringValue": "undelivered"})
                codes[code["StringValue"]] += 1
        return codes

    # ── the functions' triggers ──────────────────────────────────────────────────────────────────────────

    def _kept_up(self, loop: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                loop()
            except (BotoCoreError, ClientError, requests.RequestException) as error:
                self.counts[f"emulator: {type(error).__name__}"] += 1
                time.sleep(0.5)

    def _poll(self, worker: Worker) -> None:
        batch = self._next_batch()
        if not batch.records:
            return
        if batch.taken:
            batch.taken.set()
        began = time.monotonic()
        try:
            answer = worker.invoke({"Records": batch.records}, self._death())
        except DiedError as death:
            # The messages show again when their time-out is over.
            self._note(death)
            return
        self._typical_s += (time.monotonic() - began - self._typical_s) / 20
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        done = [record for record in batch.records if record["messageId"] not in failed]
        if done:
            self._clients.sqs.delete_message_batch(
                QueueUrl=self._requests_queue,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": record["receiptHandle"]}
                    for place, record in enumerate(done)
                ],
            )

    def _next_batch(self) -> _Batch:
        try:
            return self._handed_over.get_nowait()
        except queue.Empty:
            pass
        messages = self._clients.sqs.receive_message(
            QueueUrl=self._requests_queue, MaxNumberOfMessages=10, AttributeNames=["All"]
        ).get("Messages", [])
        if not messages:
            time.sleep(0.1)
        records = [_record(message) for message in messages]
        if records and self._random.random() < self._kills.doubled:
            self.counts["batches delivered twice"] += 1
            taken = threading.Event()
            self._handed_over.put(_Batch(records, taken))
            # Both are to run at the same time; nobody may be free in time.
            taken.wait(0.5)
        return _Batch(records)

    def _serve_api(self, worker: Worker) -> None:
        try:
            request_id, send = self._calls.get(timeout=0.2)
        except queue.Empty:
            return
        try:
            while not self._answered(worker, request_id, send) and not self._stopping.is_set():
                # A caller that got no answer, or was asked to repeat, does so.
                time.sleep(0.2)
        finally:
            self._calls.task_done()

    def _answered(self, worker: Worker, request_id: str, send: ApiSend) -> bool:
        self.counts["API calls"] += 1
        try:
            answer = worker.invoke(_gateway_event(send), self._death())
        except DiedError as death:
            self._note(death)
            return False
        status = answer["statusCode"]
        if status >= 500:
            return False
        if send.method == "GET" or status >= 400:
            code = json.loads(answer["body"]).get("code")
            self._answers.put(Told(request_id, SUCCEEDED if status == 200 else REJECTED, code))
        return True

    def _reconcile(self, worker: Worker) -> None:
        if self._stopping.wait(_RECONCILE_EVERY_S):
            return
        self.counts["reconcile runs"] += 1
        try:
            settled = worker.invoke({}, self._death())
        except DiedError as death:
            self._note(death)
            return
        for name in ("found", "absent", "parked"):
            self.counts[f"doubts {name}"] += settled[name]

    def _operate(self) -> None:
        """Changes the tokens now and then, and puts a secret anew when its helpdesk seems to refuse it."""
        next_change = time.monotonic() + _TOKEN_EVERY_S
        while not self._stopping.wait(1.0):
            for desk in HELPDESKS:
                key = {"pk": {"S": f"gate#{desk.name}"}}
                gate = self._clients.dynamodb.get_item(TableName=_TABLE, Key=key)
                if gate.get("Item", {}).get("reason", {}).get("S") == "token_refused":
                    self.counts["gate closed for the token"] += 1
                    self._put_secret(desk)
            if time.monotonic() > next_change:
                self.counts["tokens changed"] += 1
                self._token_number += 1
                for desk in HELPDESKS:
                    self._change_token(desk)
                time.sleep(1.0)
                for desk in HELPDESKS:
                    self._put_secret(desk)
                next_change = time.monotonic() + _TOKEN_EVERY_S

    def _change_token(self, desk: LocalHelpdesk) -> None:
        control = f"{self.helpdesk_urls[desk.name]}/_control"
        requests.put(f"{control}/token", json={"token": self._token}, timeout=10).raise_for_status()
        # Where tokens are minted from it, those that were go with it.
        ended = requests.post(f"{control}/expire", timeout=10)
        if ended.status_code != requests.codes.not_found:
            ended.raise_for_status()

    def _death(self) -> float | None:
        self.counts["invocations"] += 1
        # Some answer before they can be killed, so the share is that of those who did die.
        if self.counts["workers killed"] >= self._kills.killed * self.counts["invocations"]:
            return None
        return self._random.uniform(0.0, self._typical_s)

    def _note(self, death: DiedError) -> None:
        self.counts[f"workers {death.how}"] += 1

    # ── AWS ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _token(self) -> str:
        return _token(self._token_number)

    def _put_secret(self, desk: LocalHelpdesk) -> None:
        self._clients.secretsmanager.put_secret_value(
            SecretId=self._secrets[desk.name], SecretString=json.dumps(_credentials(desk, self._token))
        )

    def _send_ten(self, bodies: Sequence[str]) -> list[str]:
        answer = self._clients.sqs.send_message_batch(
            QueueUrl=self._requests_queue,
            Entries=[{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)],
        )
        if answer.get("Failed"):
            raise BridgeError(f"the queue does not take messages: {answer['Failed'][0]}")
        return [one["MessageId"] for one in sorted(answer["Successful"], key=lambda one: int(one["Id"]))]

    def _drained(self, queue_url: str, rounds: int = 5) -> list[Any]:
        taken: list[Any] = []
        for _ in range(rounds):
            messages = self._clients.sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages", [])
            if not messages:
                break
            self._clients.sqs.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                    for place, message in enumerate(messages)
                ],
            )
            taken += messages
        return taken

    def _make_resources(self, endpoint_url: str) -> None:
        sqs, sns = self._clients.sqs, self._clients.sns
        self._dead_letter_queue = sqs.create_queue(QueueName="soak-dead-letters")["QueueUrl"]
        self._outcomes_queue = sqs.create_queue(QueueName="soak-outcomes")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self._arn_of(self._dead_letter_queue), "maxReceiveCount": "1000"}
        self._requests_queue = sqs.create_queue(
            QueueName="soak-requests",
            Attributes={"VisibilityTimeout": str(_VISIBILITY_S), "RedrivePolicy": json.dumps(redrive)},
        )["QueueUrl"]
        topic = sns.create_topic(Name="soak-outcomes")["TopicArn"]
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=self._arn_of(self._outcomes_queue),
            Attributes={"RawMessageDelivery": "true"},
        )
        self._secrets = {
            desk.name: self._clients.secretsmanager.create_secret(
                Name=f"soak-{desk.name}", SecretString=json.dumps(_credentials(desk, self._token))
            )["ARN"]
            for desk in HELPDESKS
        }
        marker_key = self._clients.secretsmanager.create_secret(
            Name="soak-marker-key", SecretString=json.dumps({"key": uuid.uuid4().hex})
        )["ARN"]
        keys: list[tuple[str, Any]] = [("pk", "S"), ("attention", "S"), ("attention_at", "N")]
        self._clients.dynamodb.create_table(
            TableName=_TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in keys],
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
        self._environment = {
            **emulator.client_environment(endpoint_url),
            **_SETTINGS,
            "HELPDESKS": ",".join(self.helpdesk_urls),
            **{f"{name.upper()}_URL": url for name, url in self.helpdesk_urls.items()},
            **{f"{name.upper()}_SECRET_ARN": arn for name, arn in self._secrets.items()},
            "REQUESTS_QUEUE_URL": self._requests_queue,
            "DEAD_LETTER_QUEUE_URL": self._dead_letter_queue,
            "OUTCOMES_TOPIC_ARN": topic,
            "LEDGER_TABLE": _TABLE,
            "MARKER_KEY_SECRET_ARN": marker_key,
        }

    def _arn_of(self, queue_url: str) -> str:
        attributes = self._clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        return attributes["Attributes"]["QueueArn"]


class _Clients:
    """Clients for many threads: those of `emulator.Clients` keep ten connections."""

    def __init__(self, endpoint_url: str) -> None:
        session = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        config = Config(
            proxies={}, max_pool_connections=50, retries={"mode": "standard", "total_max_attempts": 5}
        )
        self.sqs = session.client("sqs", endpoint_url=endpoint_url, config=config)
        self.sns = session.client("sns", endpoint_url=endpoint_url, config=config)
        self.dynamodb = session.client("dynamodb", endpoint_url=endpoint_url, config=config)
        self.secretsmanager = session.client("secretsmanager", endpoint_url=endpoint_url, config=config)


def _token(number: int) -> str:
    return f"soak-token-{number}"


@contextmanager
def local_ground(state: StateFolder, workers: int, kills: Kills) -> Iterator[LocalGround]:
    """Starts everything, and stops it again however the block ends."""
    with state.locked():
        state.stop_all()
        try:
            helpdesk_urls = {desk.name: _start_simulator(state, desk) for desk in HELPDESKS}
            endpoint_url = emulator.start_ready(state)
            ground = LocalGround(state, endpoint_url, helpdesk_urls, workers, kills)
            try:
                yield ground
            finally:
                ground.stop()
        finally:
            with processes.stop_signals_wait():
                state.stop_all()


def _credentials(desk: LocalHelpdesk, token: str) -> dict[str, str]:
    """What the helpdesk's secret holds; the first of it is what changes."""
    return {**desk.credentials, next(iter(desk.credentials)): token}


def _start_simulator(state: StateFolder, desk: LocalHelpdesk) -> str:
    ready_file = state.temporary / f"soak-{desk.simulator}.json"
    options = ["--port", "0", "--ready-file", str(ready_file)]
    options += desk.arguments(_credentials(desk, _token(0)))
    command = [sys.executable, "-m", desk.module, *options]
    group = state.start(desk.simulator, command, env=emulator.bare_environment(state), cwd=PROJECT)
    deadline = time.monotonic() + 20
    while processes.members(group) and time.monotonic() < deadline:
        try:
            url: str = json.loads(ready_file.read_text())["url"]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
        else:
            return url
    raise BridgeError(f"The {desk.title} simulator did not start. Its log is {state.log(desk.simulator)}")


def _message(send: Send) -> str:
    """The text of the queue's message, as the trigger makes it."""
    match send:
        case QueueSend(body=body):
            return body if isinstance(body, str) else json.dumps(body)
        case TopicSend(message=message):
            return json.dumps(
                {
                    "Type": "Notification",
                    "MessageId": "soak",
                    "TopicArn": "soak",
                    "Message": json.dumps(message),
                }
            )
        case BusSend(source=source, detail_type=detail_type, detail=detail):
            return json.dumps({"id": "soak", "source": source, "detail-type": detail_type, "detail": detail})
        case _:
            raise BridgeError(f"a soak sends nothing through {send.trigger}")


def _record(message: Any) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def _gateway_event(send: ApiSend) -> dict[str, Any]:
    path, query = urlsplit(send.path).path, dict(parse_qsl(urlsplit(send.path).query))
    headers = {"Content-Type": "application/json", **send.headers}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": send.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "requestContext": {"path": f"/v1{path}", "stage": "v1", "requestId": "soak", "identity": {}},
        "body": None if send.body is None else json.dumps(send.body),
        "isBase64Encoded": False,
    }
