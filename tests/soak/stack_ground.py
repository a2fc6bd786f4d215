"""The ground of a soak on a local stack that `bridge up` has started: deployed functions, all triggers."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from os import kill
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local import processes
from bridge.local.emulator import Clients
from bridge.local.helpdesks import HELPDESKS
from bridge.local.state import EMULATOR
from bridge.stacks.outcomes import OutcomesQueue
from bridge.stacks.samples import ApiSend
from bridge.stacks.target import local
from bridge.stacks.triggers import Triggers
from tests.soak.load import REJECTED, SUCCEEDED, Told, told_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.local.state import StateFolder
    from tests.soak.load import Asked

READ_TIMEOUT_S = 2.0
# Short enough that a soak of minutes sees everything settled.
_SETTINGS = {
    "READ_TIMEOUT_S": str(READ_TIMEOUT_S),
    "LEASE_S": "31",
    "SETTLE_AFTER_S": "20",
    "DOUBT_S": "10",
    "MAX_DELAY_S": "5",
    "RECONCILE_CALLS": "20",
    "KAPTURE_PULL_LIMIT": "2000",
}
_VISIBILITY_S = 40
_RECONCILE_EVERY_S = 10.0
_KILL_EVERY_S = 5.0
_API_TRIES = 60


class StackGround:
    """A running stack. Use it in a `with` of `stack_ground`."""

    def __init__(self, state: StateFolder, killed: float, seed: int) -> None:
        self._state = state
        self._stack = state.read_stack()
        self.helpdesk_urls: Mapping[str, str] = {desk.name: desk.url_in(self._stack) for desk in HELPDESKS}
        self.counts: Counter[str] = Counter()
        self._killed = killed
        self._random = random.Random(seed)  # a repeatable soak, not cryptography
        self._aws = Clients(self._stack.endpoint_url)
        self._dynamodb = local(self._stack).dynamodb
        self._triggers = Triggers(self._stack)
        self._outcomes = OutcomesQueue(self._stack)
        self._callers = ThreadPoolExecutor(4, thread_name_prefix="api")
        self._calls: list[Future[Told | None]] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._kept_up, args=loop, daemon=True)
            for loop in (
                (self._reconcile, _RECONCILE_EVERY_S),
                (self._operate, 1.0),
                (self._kill, _KILL_EVERY_S),
            )
        ]

    def start(self) -> None:
        """Begins with kills and runs of reconcile."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends what `start` has begun."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)
        self._callers.shutdown(cancel_futures=True)

    # ── what producers and subscribers see ───────────────────────────────────────────────────────────────

    def send(self, asked: Sequence[Asked]) -> list[str]:
        """Sends each request in all its ways, and returns the requests' ids."""
        ids: list[str] = []
        for one in asked:
            request_id = one.request_id
            for send in one.sends:
                if isinstance(send, ApiSend):
                    self._calls.append(self._callers.submit(self._call, one, send))
                else:
                    sent = self._triggers.send(send)
                    request_id = one.request_id or sent.request_id
            self.counts["sent twice"] += len(one.sends) - 1
            ids.append(request_id or "")
        return ids

    def send_the_rest(self) -> None:
        """Nothing was put off."""

    def hear(self) -> list[Told]:
        """What was told since the last time."""
        ended = [call for call in self._calls if call.done()]
        self._calls = [call for call in self._calls if call not in ended]
        answers = [told for call in ended if (told := call.result())]
        return answers + [told_in(event) for event in self._outcomes.receive()]

    def waiting(self) -> int:
        """Messages in the queue of requests, hidden ones too, and calls of the API that are not answered."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes: Mapping[Any, str] = self._aws.sqs.get_queue_attributes(
            QueueUrl=self._stack.requests_queue_url, AttributeNames=["All"]
        )["Attributes"]
        return sum(int(attributes[name]) for name in names) + len(self._calls)

    def doubts(self) -> int:
        """Requests that the ledger still holds for unknown."""
        found = [
            self._dynamodb.query(
                TableName=self._stack.ledger_table,
                IndexName="attention",
                KeyConditionExpression="attention = :helpdesk",
                ExpressionAttributeValues={":helpdesk": {"S": name}},
                Select="COUNT",
            )
            for name in self.helpdesk_urls
        ]
        return sum(int(one["Count"]) for one in found)

    def dead_letters(self) -> Counter[str]:
        """The copies in the dead-letter queue, by their codes; they stay there."""
        codes: Counter[str] = Counter()
        while messages := self._aws.sqs.receive_message(
            QueueUrl=self._stack.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=30,
        ).get("Messages", []):
            for message in messages:
                code = message.get("MessageAttributes", {}).get("code", {"StringValue": "undelivered"})
                codes[code["StringValue"]] += 1
        return codes

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────────────

    def _call(self, one: Asked, send: ApiSend) -> Told | None:
        """What the API has answered at once; a caller that is asked to repeat does so."""
        for _ in range(_API_TRIES):
            self.counts["API calls"] += 1
            try:
                sent = self._triggers.send(send)
            except BridgeError:
                sent = None
            if sent and sent.status is not None and sent.status < 500:
                if send.method == "GET" or sent.status >= 400:
                    kind = SUCCEEDED if sent.status == 200 else REJECTED
                    return Told(one.request_id or "", kind, f"http_{sent.status}")
                return None
            if self._stopping.wait(1.0):
                break
        return None

    def _kept_up(self, step: Any, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                step()
            except (BotoCoreError, ClientError, requests.RequestException) as error:
                self.counts[f"emulator: {type(error).__name__}"] += 1

    def _reconcile(self) -> None:
        self.counts["reconcile runs besides the schedule's"] += 1
        name = next(name for name in self._function_names() if name.endswith("-reconcile"))
        self._aws.lambda_.invoke(FunctionName=name, InvocationType="RequestResponse", Payload=b"{}")

    def _operate(self) -> None:
        """Puts a secret anew when its helpdesk seems to refuse the token."""
        for desk in HELPDESKS:
            key = {"pk": {"S": f"gate#{desk.name}"}}
            gate = self._dynamodb.get_item(TableName=self._stack.ledger_table, Key=key)
            if gate.get("Item", {}).get("reason", {}).get("S") == "token_refused":
                self.counts["gate closed for the token"] += 1
                secret = desk.secret_in(self._stack)
                token = self._aws.secretsmanager.get_secret_value(SecretId=secret)["SecretString"]
                self._aws.secretsmanager.put_secret_value(SecretId=secret, SecretString=token)
                time.sleep(2)

    def _kill(self) -> None:
        """Kills one of the processes in which the emulator runs the queue's consumer."""
        victims = self._consumers()
        if victims and self._random.random() < self._killed * 10:
            with suppress(ProcessLookupError):
                kill(self._random.choice(victims), signal.SIGKILL)
                self.counts["workers killed"] += 1

    def _consumers(self) -> list[int]:
        emulator = self._state.running(EMULATOR)
        found: list[int] = []
        for pid in processes.members(emulator) if emulator else []:
            with suppress(OSError):
                if b"-ticket-queue" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    # ── the functions' settings ──────────────────────────────────────────────────────────────────────────

    def _function_names(self) -> list[str]:
        pages = self._aws.lambda_.get_paginator("list_functions").paginate()
        found = [function for page in pages for function in page["Functions"]]
        return [function["FunctionName"] for function in found if "Environment" in function]

    def environments(self) -> dict[str, dict[str, str]]:
        """The variables of each function that uses the ledger."""
        found: dict[str, dict[str, str]] = {}
        for name in self._function_names():
            given = self._aws.lambda_.get_function_configuration(FunctionName=name)["Environment"][
                "Variables"
            ]
            if given.get("LEDGER_TABLE") == self._stack.ledger_table:
                found[name] = given
        return found

    def set_environments(self, environments: Mapping[str, Mapping[str, str]]) -> None:
        """Gives each function its variables."""
        for name, variables in environments.items():
            self._aws.lambda_.update_function_configuration(
                FunctionName=name, Environment={"Variables": dict(variables)}
            )

    def visibility(self) -> str:
        """The visibility time-out of the queue of requests."""
        attributes = self._aws.sqs.get_queue_attributes(
            QueueUrl=self._stack.requests_queue_url, AttributeNames=["VisibilityTimeout"]
        )
        return attributes["Attributes"]["VisibilityTimeout"]

    def set_visibility(self, seconds: str) -> None:
        """How soon a message that a killed function had comes back."""
        self._aws.sqs.set_queue_attributes(
            QueueUrl=self._stack.requests_queue_url, Attributes={"VisibilityTimeout": seconds}
        )


@contextmanager
def stack_ground(state: StateFolder, killed: float, seed: int) -> Iterator[StackGround]:
    """Gives the stack's functions short times, and their own ones back however the block ends."""
    ground = StackGround(state, killed, seed)
    environments, visibility = ground.environments(), ground.visibility()
    try:
        ground.set_environments({name: {**own, **_SETTINGS} for name, own in environments.items()})
        ground.set_visibility(str(_VISIBILITY_S))
        yield ground
    finally:
        with processes.stop_signals_wait():
            ground.stop()
            for url in ground.helpdesk_urls.values():
                requests.delete(f"{url}/_control/faults", timeout=10)
            ground.set_environments(environments)
            ground.set_visibility(visibility)
