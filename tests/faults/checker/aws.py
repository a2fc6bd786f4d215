"""SQS, SNS and Secrets Manager in memory, and the clients through which the layer calls all of AWS."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.faults.checker.expressions import NotSpokenError
from tests.faults.checker.mishaps import Mishaps
from tests.faults.checker.turns import KilledError, Turns

# SQS lets nobody hide a message for longer, from when it was received.
_LONGEST_HIDDEN_S = 43_200
_KEPT_S = 14 * 86_400


@dataclass(eq=False)
class Message:
    """One message of the queue."""

    message_id: str
    body: str
    attributes: dict[str, Any]
    sent_at: float
    visible_at: float
    receives: int = 0
    first_received_at: float = 0.0
    received_at: float = 0.0
    handles: list[str] = field(default_factory=list)
    # Its entry among those of when messages show.
    entry: int = 0


class Queue:
    """A standard queue: at least once, in any order, and its own redrive after so many receives."""

    def __init__(
        self, turns: Turns, name: str, *, visibility_s: float = 180.0, most_receives: int = 1000
    ) -> None:
        self._turns = turns
        self._name = name
        self._visibility_s = visibility_s
        self._most_receives = most_receives
        self._numbers = itertools.count(1)
        self.messages: dict[str, Message] = {}
        # When messages show; an entry that a later one has replaced is passed over.
        self._shown: list[tuple[float, int, Message]] = []
        self._entries = itertools.count()
        self.changed: Callable[[float], None] = lambda _: None
        # What SQS itself has taken out: moved after too many receives, or grown too old.
        self.moved: list[Message] = []
        self.lost: list[Message] = []

    def send_message(self, **asked: Any) -> dict[str, Any]:
        """A message more."""
        if unknown := set(asked) - {"QueueUrl", "MessageBody", "MessageAttributes", "DelaySeconds"}:
            raise NotSpokenError(f"send_message with {sorted(unknown)}")
        message_id = f"{self._name}-{next(self._numbers)}"
        visible_at = self._turns.now + asked.get("DelaySeconds", 0)
        self.messages[message_id] = Message(
            message_id, asked["MessageBody"], asked.get("MessageAttributes", {}), self._turns.now, visible_at
        )
        self._show(self.messages[message_id])
        return {"MessageId": message_id}

    def _show(self, message: Message) -> None:
        message.entry = next(self._entries)
        heapq.heappush(self._shown, (message.visible_at, message.entry, message))
        self.changed(message.visible_at)

    def change_message_visibility_batch(self, **asked: Any) -> dict[str, Any]:
        """Other times at which messages can be received again."""
        if set(asked) != {"QueueUrl", "Entries"} or not 0 < len(asked["Entries"]) <= 10:
            raise NotSpokenError("change_message_visibility_batch as it is not known")
        done, failed = [], []
        for entry in asked["Entries"]:
            message, now = self._held(entry["ReceiptHandle"]), self._turns.now
            seconds = entry["VisibilityTimeout"]
            late = message and now + seconds > message.received_at + _LONGEST_HIDDEN_S
            if (
                message is None
                or late
                or not isinstance(seconds, int)
                or not 0 <= seconds <= _LONGEST_HIDDEN_S
            ):
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "InvalidParameterValue"})
                continue
            message.visible_at = now + seconds
            self._show(message)
            done.append({"Id": entry["Id"]})
        return {"Successful": done, "Failed": failed}

    def receive(self, most: int, seen_again_in_s: Callable[[], float | None]) -> list[dict[str, Any]]:
        """Records as Lambda gives them to a function; some of them another receiver sees again too soon."""
        now = self._turns.now
        taken: list[Message] = []
        while self._shown and self._shown[0][0] <= now and len(taken) < most:
            _, entry, message = heapq.heappop(self._shown)
            if entry != message.entry or message.message_id not in self.messages:
                continue
            if now - message.sent_at > _KEPT_S:
                self.lost.append(self.messages.pop(message.message_id))
            elif message.receives >= self._most_receives:
                self.moved.append(self.messages.pop(message.message_id))
            else:
                taken.append(message)
        return [self._record(message, seen_again_in_s()) for message in taken]

    def _record(self, message: Message, again_in_s: float | None) -> dict[str, Any]:
        now = self._turns.now
        message.receives += 1
        message.received_at = now
        message.first_received_at = message.first_received_at or now
        message.handles.append(f"{message.message_id}/{message.receives}")
        message.visible_at = now + (self._visibility_s if again_in_s is None else again_in_s)
        self._show(message)
        return {
            "messageId": message.message_id,
            "receiptHandle": message.handles[-1],
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "SentTimestamp": str(int(message.sent_at * 1000)),
                "ApproximateFirstReceiveTimestamp": str(int(message.first_received_at * 1000)),
            },
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in message.attributes.items()
            },
            "eventSource": "aws:sqs",
        }

    def let_go(self, handle: str) -> None:
        """Takes a message out."""
        if message := self._held(handle):
            del self.messages[message.message_id]

    def _held(self, handle: str) -> Message | None:
        return self.messages.get(handle.partition("/")[0])


class Sqs:
    """The client's calls, for the queue of each URL."""

    def __init__(self, queues: dict[str, Queue]) -> None:
        self._queues = queues

    def send_message(self, **asked: Any) -> dict[str, Any]:
        """As the queue does."""
        return self._queues[asked["QueueUrl"]].send_message(**asked)

    def change_message_visibility_batch(self, **asked: Any) -> dict[str, Any]:
        """As the queue does."""
        return self._queues[asked["QueueUrl"]].change_message_visibility_batch(**asked)


class Sns:
    """The topic: everything that was published, in the order in which it was taken."""

    def __init__(self, published: Callable[[str], None], entry_fails: Callable[[], bool]) -> None:
        self._published = published
        self._entry_fails = entry_fails

    def publish(self, **asked: Any) -> dict[str, Any]:
        """One message."""
        self._published(asked["Message"])
        return {"MessageId": "1"}

    def publish_batch(self, **asked: Any) -> dict[str, Any]:
        """Up to ten messages, each of which may be refused alone."""
        entries = asked["PublishBatchRequestEntries"]
        if not 0 < len(entries) <= 10 or len({entry["Id"] for entry in entries}) < len(entries):
            raise NotSpokenError("a batch that SNS refuses")
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            if self._entry_fails():
                failed.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                self._published(entry["Message"])
                done.append({"Id": entry["Id"], "MessageId": "1"})
        return {"Successful": done, "Failed": failed}


class Secrets:
    """The secrets by their names; a change of one makes a new version."""

    def __init__(self) -> None:
        self.texts: dict[str, tuple[int, str]] = {}

    def put(self, name: str, text: str) -> None:
        """Another version of a secret."""
        self.texts[name] = (self.texts.get(name, (0, ""))[0] + 1, text)

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        """The newest version."""
        version, text = self.texts[asked["SecretId"]]
        return {"VersionId": f"v{version}", "SecretString": text}


class Client:
    """A client of the SDK: each call takes its time, and may be refused, lost, repeated, or deadly.

    `waits` is False where the layer calls with a lock in its hand: others could not go on meanwhile.
    """

    def __init__(self, turns: Turns, mishaps: Mishaps, service: str, api: Any, *, waits: bool = True) -> None:
        self._turns = turns
        self._mishaps = mishaps
        self._service = service
        self._api = api
        self._waits = waits

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._api, name, None)
        if call is None:
            raise NotSpokenError(f"{self._service}.{name} is not known to the doubles")
        return lambda **asked: self._called(name, call, asked)

    def _called(self, name: str, call: Callable[..., Any], asked: dict[str, Any]) -> Any:
        process = self._turns.process
        self._turns.check(process)
        process.calls += 1
        deadly = process.fuse == process.calls
        what = f"{self._service}.{name} {_about(asked)}"
        if deadly and not process.acts_first:
            self._mishaps.tell(f"{process.name} is killed before {what}")
            self._die()
        self._pause()
        happened = self._mishaps.of_aws(self._service)
        if happened:
            self._mishaps.struck.add(_about(asked))
        if happened in ("throttled", "unreachable"):
            self._mishaps.tell(f"{process.name}: {what} is {happened}")
            raise _throttled(name) if happened == "throttled" else EndpointConnectionError(endpoint_url="aws")
        answer = self._answer(process.name, what, call, asked)
        if happened == "repeated":
            self._mishaps.tell(f"{process.name}: the answer to {what} is lost, and the SDK calls again")
            self._pause()
            answer = self._answer(process.name, what, call, asked)
        if deadly:
            self._mishaps.tell(f"{process.name} is killed after {what}")
            self._die()
        if happened == "lost":
            self._mishaps.tell(f"{process.name}: the answer to {what} is lost")
            raise ReadTimeoutError(endpoint_url="aws")
        self._pause()
        if isinstance(answer, ClientError):
            raise answer
        return answer

    def _answer(self, who: str, what: str, call: Callable[..., Any], asked: dict[str, Any]) -> Any:
        try:
            answer = call(**asked)
        except ClientError as refusal:
            self._mishaps.tell(f"{who}: {what}: refused")
            return refusal
        self._mishaps.tell(f"{who}: {what}")
        return answer

    def _pause(self) -> None:
        if self._waits:
            self._turns.wait(self._mishaps.aws_s())

    def _die(self) -> None:
        self._turns.kill(self._turns.process)
        raise KilledError


def _throttled(name: str) -> ClientError:
    error: Any = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    return ClientError(error, name)


def _about(asked: dict[str, Any]) -> str:
    if "Key" in asked or "Item" in asked:
        key = (asked.get("Key") or asked["Item"])["pk"]["S"]
        state = asked.get("ExpressionAttributeValues", {}).get(":set_state", {}).get("S", "")
        return f"{key} {state}".rstrip()
    if "RequestItems" in asked:
        return " ".join(key["pk"]["S"] for wanted in asked["RequestItems"].values() for key in wanted["Keys"])
    values = asked.get("ExpressionAttributeValues", {}).values()
    return " ".join(str(value["S"]) for value in values if "S" in value)
