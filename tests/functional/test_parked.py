"""The dead-letter queue is listed whole, although SQS answers from a sample of its servers."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from bridge.checks.stack import Examined, queues
from bridge.operating.operations import Operations, ParkedCopy, Selection
from tests.deployment import Deployment, operations_on

ALL = Selection()


class Servers:
    """SQS with several servers: of each receive it is said how many messages it finds, then all.

    A short poll finds none at all: it asks servers that have none.
    """

    def __init__(self, sqs: Any, *finds: int) -> None:
        self._sqs = sqs
        self._finds = iter(finds)
        self._one_at_a_time = threading.Lock()
        self.put_back: list[int] = []
        self.before_send: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def receive_message(self, **arguments: Any) -> Any:
        with self._one_at_a_time:
            finds = next(self._finds, 10)
        if not arguments.pop("WaitTimeSeconds", 0) or not finds:
            return {}
        return self._sqs.receive_message(**arguments | {"MaxNumberOfMessages": finds})

    def send_message(self, **arguments: Any) -> Any:
        self.before_send()
        return self._sqs.send_message(**arguments)

    def change_message_visibility_batch(self, **arguments: Any) -> Any:
        self.put_back.append(len(arguments["Entries"]))
        first, *rest = arguments["Entries"]
        if rest:
            self._sqs.change_message_visibility_batch(**arguments | {"Entries": rest})
        # One of them was hidden for longer than the listing wanted it to be.
        self._sqs.change_message_visibility(
            QueueUrl=arguments["QueueUrl"], ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
        )
        failed = {"Id": first["Id"], "Code": "AWS.SimpleQueueService.MessageNotInflight", "SenderFault": True}
        return {"Successful": [{"Id": entry["Id"]} for entry in rest], "Failed": [failed]}


type Sampled = Callable[..., tuple[Operations, Servers]]


@pytest.fixture
def sampled(deployment: Deployment) -> Sampled:
    """The operator's commands on a queue whose receives find what is given."""

    def operations(*finds: int) -> tuple[Operations, Servers]:
        servers = Servers(deployment.sqs, *finds)
        target = operations_on(deployment).target
        # In place of the client that the target would make.
        target.__dict__["sqs"] = servers
        return Operations(target), servers

    return operations


def _park(deployment: Deployment, count: int) -> list[str]:
    ids = [f"order-{number}" for number in range(count)]
    for request_id in ids:
        deployment.sqs.send_message(
            QueueUrl=deployment.dead_letter_queue,
            MessageBody=json.dumps({"operation": "add", "ticket": {"title": request_id}}),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in {"request_id": request_id, "code": "expired"}.items()
            },
        )
    return ids


def _ids(copies: tuple[ParkedCopy, ...]) -> list[str]:
    return sorted(copy.request_id for copy in copies)


def test_an_empty_answer_is_not_the_end_of_the_list(deployment: Deployment, sampled: Sampled) -> None:
    parked = _park(deployment, 14)
    operations, _ = sampled(0, 3, 0, 0, 10, 0, 1)

    listing = operations.parked()

    assert _ids(listing.copies) == sorted(parked)
    assert (listing.about, listing.hidden) == (14, "")


def test_all_that_was_looked_at_is_shown_again_at_once(deployment: Deployment, sampled: Sampled) -> None:
    parked = _park(deployment, 14)
    operations, servers = sampled()

    for _ in range(3):
        assert _ids(operations.parked().copies) == sorted(parked)

    assert sorted(servers.put_back) == [4, 4, 4, 10, 10, 10]


def test_a_copy_that_comes_twice_is_listed_once(deployment: Deployment, sampled: Sampled) -> None:
    parked = _park(deployment, 3)
    operations, _ = sampled(2)
    receive = operations.target.sqs.receive_message

    def forgetful(**arguments: Any) -> Any:
        # As when the listing takes longer than messages stay hidden.
        response = receive(**arguments)
        for message in response.get("Messages", [])[:1]:
            deployment.sqs.change_message_visibility(
                QueueUrl=arguments["QueueUrl"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return response

    cast("Any", operations.target.sqs).receive_message = forgetful

    assert _ids(operations.parked().copies) == sorted(parked)


def test_a_redrive_finds_all_and_puts_the_others_back(deployment: Deployment, sampled: Sampled) -> None:
    parked = _park(deployment, 14)
    operations, _ = sampled(0, 5, 0, 7)
    sent: list[ParkedCopy] = []

    listing = operations.redrive(Selection(request_id="order-13"), report=sent.append, dry_run=False)

    assert (len(listing.copies), listing.about) == (14, 14)
    assert _ids(tuple(sent)) == ["order-13"]
    assert _ids(operations.parked().copies) == sorted(set(parked) - {"order-13"})


def test_a_redrive_that_is_interrupted_loses_nothing_and_hides_nothing(
    deployment: Deployment, sampled: Sampled
) -> None:
    parked = _park(deployment, 24)
    operations, _ = sampled()

    def stopped(_: ParkedCopy) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operations.redrive(ALL, report=stopped, dry_run=False)

    sent = deployment.drain(deployment.requests)
    ids = [message["MessageAttributes"]["request_id"]["StringValue"] for message in sent]
    assert ids
    assert sorted([*ids, *_ids(operations.parked().copies)]) == sorted(parked)


def test_copies_are_sent_several_at_a_time(deployment: Deployment, sampled: Sampled) -> None:
    """One after the other, a thousand take longer than they stay hidden from others."""
    _park(deployment, 4)
    operations, servers = sampled()
    both = threading.Barrier(2, timeout=60)
    servers.before_send = both.wait

    operations.redrive(ALL, report=lambda _: None, dry_run=False)

    assert operations.parked().copies == ()


def test_what_somebody_else_looks_at_is_told_as_not_seen(deployment: Deployment, sampled: Sampled) -> None:
    _park(deployment, 14)
    deployment.sqs.receive_message(
        QueueUrl=deployment.dead_letter_queue, MaxNumberOfMessages=2, VisibilityTimeout=600
    )
    operations, _ = sampled()

    for listing in (operations.parked(), operations.redrive(ALL, report=lambda _: None, dry_run=True)):
        assert listing.hidden.startswith("12 of about 14 could be seen: ")


def test_what_sqs_itself_has_moved_keeps_its_id(deployment: Deployment, sampled: Sampled) -> None:
    body = json.dumps({"operation": "add", "ticket": {"title": "without an id"}})
    moved = deployment.sqs.send_message(QueueUrl=deployment.dead_letter_queue, MessageBody=body)["MessageId"]
    operations, _ = sampled()

    operations.redrive(Selection(request_id=moved), report=lambda _: None, dry_run=False)
    deployment.consume()

    assert [event["data"]["request_id"] for event in deployment.outcomes()] == [moved]


def test_doctor_tells_what_is_parked_and_what_waits_for_long_before_an_alarm_does(
    deployment: Deployment,
) -> None:
    target = operations_on(deployment).target
    assert list(queues(Examined(target))) == []
    deployment.send({"operation": "add", "request_id": "r-1"})
    deployment.consume()
    figure: Any = {
        "MetricName": "OldestSeconds",
        "Dimensions": [{"Name": "service", "Value": target.name}],
        "Timestamp": datetime.now(UTC) - timedelta(minutes=1),
        "Value": 1800.0,
    }
    target.cloudwatch.put_metric_data(Namespace="TicketBridge", MetricData=[figure])

    parked, waits = queues(Examined(target))

    assert (parked.what, parked.change) == ("Requests parked: 1.", "bridge parked --stack ticket-bridge")
    assert waits.what == "A request has waited for 30 minutes. Requests in the queue: 0."
