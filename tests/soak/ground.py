"""Where a soak takes place: AWS at the emulator, simulated helpdesks, and functions that can be killed."""

import json
import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import batched
from typing import Any, NamedTuple

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local import emulator, helpdesks, processes
from bridge.local.helpdesks import LocalHelpdesk, Wish
from bridge.local.state import StateFolder
from bridge.stacks import local_stack
from tests.deployment import LEDGER, Deployment
from tests.soak.helpdesks import SOAK_HELPDESKS
from tests.soak.load import READ_TIMEOUT_S, REJECTED, SUCCEEDED, ApiCall, SoakRequest
from tests.soak.workers import Worker, WorkerDiedError

HELPDESKS = [desk for desk in helpdesks.HELPDESKS if desk.name in SOAK_HELPDESKS]
# The handlers keep five seconds of it for what follows their calls.
_QUEUE_TIMEOUT_S = 8
_API_TIMEOUT_S = 10
_DOUBTS_TIMEOUT_S = 60
_VISIBILITY_S = 12
_DOUBTS_EVERY_S = 5.0
_TOKEN_EVERY_S = 120.0
_SETTINGS = {
    "READ_TIMEOUT_S": str(READ_TIMEOUT_S),
    "CONNECT_TIMEOUT_S": "1",
    "LEASE_S": str(_QUEUE_TIMEOUT_S + 1),
    # Longer than the slowest fault takes to make a ticket, and than a pull takes to read them all.
    "SETTLE_AFTER_S": "10",
    "DOUBT_S": "8",
    "MAX_DELAY_S": "3",
    "DOUBT_CALLS": "20",
    # The client would refuse to read a whole day's tickets in one response.
    "KAPTURE_PULL_LIMIT": "2000",
}


class Outcome(NamedTuple):
    """What the topic published of a request, or what the API responded at once."""

    request_id: str
    kind: str
    code: str | None = None
    ticket_id: str | None = None
    attempts: int = 0
    message: str | None = None


class Trouble(NamedTuple):
    """The shares of the invocations that are to be killed, and of the batches that are delivered twice."""

    killed: float
    doubled: float
    seed: int


class Ground:
    """Everything that a soak needs, on loopback. Use it in a `with` of `running_ground`."""

    def __init__(
        self,
        state: StateFolder,
        endpoint_url: str,
        helpdesk_urls: Mapping[str, str],
        workers: int,
        trouble: Trouble,
    ) -> None:
        self.helpdesk_urls = helpdesk_urls
        self.counts: Counter[str] = Counter()
        self._trouble = trouble
        self._random = random.Random(trouble.seed)  # a repeatable soak, not cryptography
        self._clients = emulator.Clients(endpoint_url)
        self._environment = self._make_resources()
        self._calls: queue.Queue[tuple[str, ApiCall]] = queue.Queue()
        self._responses: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        # How long an invocation of the queue's consumer takes, as a moving mean.
        self._typical_s = 0.3
        self._stopping = threading.Event()

        def worker(function: str, timeout_s: float) -> Worker:
            return Worker(function, timeout_s, self._environment, state.log("functions"))

        consumers = [worker("ticket_queue", _QUEUE_TIMEOUT_S) for _ in range(workers)]
        api, settling = worker("ticket_api", _API_TIMEOUT_S), worker("resolve_doubts", _DOUBTS_TIMEOUT_S)
        self._workers = [*consumers, api, settling]
        steps = [partial(self._consume, consumer) for consumer in consumers]
        steps += [partial(self._serve_api, api), partial(self._resolve_doubts, settling)]
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), daemon=True)
            for step in (*steps, self._operate)
        ]

    def start(self) -> None:
        """Lets the functions run."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the functions."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_DOUBTS_TIMEOUT_S)
        for worker in self._workers:
            worker.stop()

    # ── what producers and subscribers see ───────────────────────────────────────────────────────────────

    def send(self, soaked: Sequence[SoakRequest]) -> list[str]:
        """Sends all that there is to send for each request, and returns the requests' ids."""
        ids = [request.request_id for request in soaked]
        messages = []
        for place, request in enumerate(soaked):
            for send in request.sends:
                if isinstance(send, ApiCall):
                    self._calls.put((request.request_id, send))
                else:
                    messages.append((place, send))
        for ten in batched(messages, 10, strict=False):
            response = self._clients.sqs.send_message_batch(
                QueueUrl=self._requests_queue,
                Entries=[
                    {"Id": str(number), "MessageBody": message.text, "DelaySeconds": message.delay_s}
                    for number, (_, message) in enumerate(ten)
                ],
            )
            if response.get("Failed"):
                raise BridgeError(f"the queue does not take messages: {response['Failed'][0]}")
            for sent in response["Successful"]:
                place, _ = ten[int(sent["Id"])]
                ids[place] = ids[place] or sent["MessageId"]
        return ids

    def receive(self) -> list[Outcome]:
        """The outcomes since the last time."""
        outcomes = [self._responses.get() for _ in range(self._responses.qsize())]
        for message in self._drain(self._outcomes_queue):
            data = json.loads(message["Body"])["data"]
            about = data.get("code"), data.get("ticket_id"), data["attempts"], data.get("message")
            outcomes.append(Outcome(data["request_id"], data["outcome"], *about))
        return outcomes

    def waiting(self) -> int:
        """Messages in the queue of requests, hidden ones too, and calls of the API without a response."""
        attributes = self._clients.sqs.get_queue_attributes(
            QueueUrl=self._requests_queue, AttributeNames=["All"]
        )["Attributes"]
        messages = sum(
            int(count) for name, count in attributes.items() if name.startswith("ApproximateNumberOfMessages")
        )
        return messages + self._calls.unfinished_tasks

    def doubts(self) -> int:
        """How many requests the ledger still holds for unknown."""
        return sum(
            self._clients.dynamodb.query(
                TableName=LEDGER["TableName"],
                IndexName="attention",
                KeyConditionExpression="attention = :helpdesk",
                ExpressionAttributeValues={":helpdesk": {"S": name}},
                Select="COUNT",
            )["Count"]
            for name in self.helpdesk_urls
        )

    def undelivered(self) -> int:
        """How many messages SQS itself put into the dead-letter queue: the functions' copies have a code."""
        letters = self._drain(self._dead_letter_queue)
        return sum("code" not in letter.get("MessageAttributes", {}) for letter in letters)

    # ── the functions' triggers ──────────────────────────────────────────────────────────────────────────

    def _repeat(self, step: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except (BotoCoreError, ClientError, requests.RequestException) as error:
                self.counts[f"emulator: {type(error).__name__}"] += 1
                self._stopping.wait(0.5)

    def _invoke(self, worker: Worker, event: Mapping[str, Any]) -> Any:
        """The handler's response, or None where the worker died."""
        self.counts["invocations"] += 1
        # Drawn anew each time: making up for those that respond first would kill every long invocation.
        is_killed = self._random.random() < self._trouble.killed
        try:
            return worker.invoke(event, self._random.uniform(0.0, self._typical_s) if is_killed else None)
        except WorkerDiedError as death:
            self.counts[f"workers {death}"] += 1
            return None

    def _consume(self, worker: Worker) -> None:
        is_doubled = self._random.random() < self._trouble.doubled
        messages = self._clients.sqs.receive_message(
            QueueUrl=self._requests_queue,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            # Messages that are not hidden go to the next worker too, while this one is at work on them.
            VisibilityTimeout=0 if is_doubled else _VISIBILITY_S,
        ).get("Messages", [])
        if not messages:
            self._stopping.wait(0.1)
            return
        self.counts["batches delivered twice"] += is_doubled
        began = time.monotonic()
        response = self._invoke(worker, {"Records": [_record(message) for message in messages]})
        if response is None:
            # The messages show again when their time-out is over.
            return
        self._typical_s += (time.monotonic() - began - self._typical_s) / 20
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        self._delete(
            self._requests_queue, [message for message in messages if message["MessageId"] not in failed]
        )

    def _serve_api(self, worker: Worker) -> None:
        try:
            request_id, call = self._calls.get(timeout=0.2)
        except queue.Empty:
            return
        self.counts["API calls"] += 1
        event = Deployment.api_event(call.method, call.path, call.body, query=call.query)
        response = self._invoke(worker, event)
        if response is None or response["statusCode"] >= 500:
            # A caller that got no response, or was asked to repeat, does so.
            self._stopping.wait(0.2)
            self._calls.put((request_id, call))
        elif call.method == "GET" or response["statusCode"] >= 400:
            kind = SUCCEEDED if response["statusCode"] == 200 else REJECTED
            self._responses.put(Outcome(request_id, kind, json.loads(response["body"]).get("code")))
        self._calls.task_done()

    def _resolve_doubts(self, worker: Worker) -> None:
        if self._stopping.wait(_DOUBTS_EVERY_S):
            return
        self.counts["resolve_doubts runs"] += 1
        response = self._invoke(worker, {}) or {}
        for name in response.keys() & {"found", "absent", "parked"}:
            self.counts[f"doubts {name}"] += response[name]

    def _operate(self) -> None:
        """Changes the tokens now and then, and puts a secret again when its helpdesk seems to refuse it."""
        ends_at = time.monotonic() + _TOKEN_EVERY_S
        while time.monotonic() < ends_at:
            if self._stopping.wait(1.0):
                return
            for desk in HELPDESKS:
                key = {"pk": {"S": f"gate#{desk.name}"}}
                gate = self._clients.dynamodb.get_item(TableName=LEDGER["TableName"], Key=key)
                if gate.get("Item", {}).get("reason", {}).get("S") == "token_refused":
                    self.counts["gate closed for the token"] += 1
                    self._put_secret(desk)
        self.counts["tokens changed"] += 1
        token = f"soak-token-{self.counts['tokens changed']}"
        for desk in HELPDESKS:
            control("PUT", self.helpdesk_urls[desk.name], "token", {"token": token})
            # What was minted from the old token ends with it.
            control("POST", self.helpdesk_urls[desk.name], "expire")
            self._credentials[desk.name] |= {next(iter(desk.credentials)): token}
        self._stopping.wait(1.0)
        for desk in HELPDESKS:
            self._put_secret(desk)

    # ── AWS ──────────────────────────────────────────────────────────────────────────────────────────────

    def _put_secret(self, desk: LocalHelpdesk) -> None:
        self._clients.secretsmanager.put_secret_value(
            SecretId=f"soak-{desk.name}", SecretString=json.dumps(self._credentials[desk.name])
        )

    def _drain(self, queue_url: str) -> list[Any]:
        """All messages of a queue, which are taken from it."""
        drained: list[Any] = []
        while messages := self._clients.sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", []):
            self._delete(queue_url, messages)
            drained += messages
        return drained

    def _delete(self, queue_url: str, messages: Sequence[Any]) -> None:
        entries: list[Any] = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        if entries:
            self._clients.sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)

    def _make_resources(self) -> dict[str, str]:
        """Makes queues, topic, table and secrets; returns the functions' variables."""
        clients = self._clients
        self._dead_letter_queue, dead_letters = self._make_queue("dead-letters")
        self._outcomes_queue, outcomes = self._make_queue("outcomes")
        redrive = {"deadLetterTargetArn": dead_letters, "maxReceiveCount": "1000"}
        attributes = {"VisibilityTimeout": str(_VISIBILITY_S), "RedrivePolicy": json.dumps(redrive)}
        self._requests_queue, _ = self._make_queue("requests", attributes)
        topic = clients.sns.create_topic(Name="soak-outcomes")["TopicArn"]
        raw = {"RawMessageDelivery": "true"}
        clients.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=outcomes, Attributes=raw)
        clients.dynamodb.create_table(**LEDGER)
        self._credentials = {desk.name: dict(desk.credentials) for desk in HELPDESKS}
        return {
            **emulator.client_environment(clients.endpoint_url),
            **_SETTINGS,
            "HELPDESKS": ",".join(self.helpdesk_urls),
            **{f"{name.upper()}_URL": url for name, url in self.helpdesk_urls.items()},
            **{
                f"{name.upper()}_SECRET_ARN": self._make_secret(name, credentials)
                for name, credentials in self._credentials.items()
            },
            "MARKER_KEY_SECRET_ARN": self._make_secret("marker-key", {"key": uuid.uuid4().hex}),
            "REQUESTS_QUEUE_URL": self._requests_queue,
            "DEAD_LETTER_QUEUE_URL": self._dead_letter_queue,
            "OUTCOMES_TOPIC_ARN": topic,
            "LEDGER_TABLE": LEDGER["TableName"],
        }

    def _make_queue(self, name: str, attributes: Mapping[Any, str] | None = None) -> tuple[str, str]:
        """Its URL and ARN."""
        sqs = self._clients.sqs
        url = sqs.create_queue(QueueName=f"soak-{name}", Attributes=attributes or {})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, arn

    def _make_secret(self, name: str, content: Mapping[str, str]) -> str:
        """Its ARN."""
        secrets = self._clients.secretsmanager
        return secrets.create_secret(Name=f"soak-{name}", SecretString=json.dumps(content))["ARN"]


@contextmanager
def running_ground(state: StateFolder, workers: int, trouble: Trouble) -> Iterator[Ground]:
    """Starts everything, and stops it again however the block ends."""
    with state.locked():
        state.stop_all()
        try:
            started = {desk.name: local_stack.start_simulator(state, desk, Wish()) for desk in HELPDESKS}
            helpdesk_urls = {
                name: local_stack.ready_url(state, group.name, group) for name, group in started.items()
            }
            ground = Ground(state, emulator.start_ready(state), helpdesk_urls, workers, trouble)
            try:
                yield ground
            finally:
                ground.stop()
        finally:
            with processes.stop_signals_wait():
                state.stop_all()


def control(method: str, helpdesk_url: str, what: str, content: Any = None) -> requests.Response:
    """Uses the control interface of a helpdesk's simulator."""
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(method, f"{helpdesk_url}/_control/{what}", json=content, timeout=120)
    response.raise_for_status()
    return response


def _record(message: Any) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }
