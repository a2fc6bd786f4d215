"""What requests cost, counted: calls to AWS and to the helpdesk, log lines and metrics. Nothing is timed."""

import io
import json
import logging
from collections import Counter
from typing import Any

import pytest
from botocore.client import BaseClient

import ticket_queue
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.runtime import invocation
from tests.deployment import Context, Deployment
from tests.unit.test_template import events

((_, MAPPING),) = events("SQS")
BATCH: int = MAPPING["BatchSize"]


@pytest.fixture
def aws_calls(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The calls that the functions make, by operation, from here on."""
    calls: Counter[str] = Counter()
    call: Any = BaseClient._make_api_call  # type: ignore[attr-defined]  # botocore's types leave it out

    def counted(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        calls[operation] += 1
        return call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    return calls


def records(count: int, first: int = 0, **request: Any) -> list[dict[str, Any]]:
    """Records as Lambda hands them over, without a queue behind them."""
    return [
        {
            "messageId": f"message-{number}",
            "receiptHandle": "handle",
            "body": json.dumps(
                {name: value(number) if callable(value) else value for name, value in request.items()}
            ),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795000000000"},
            "messageAttributes": {},
        }
        for number in range(first, first + count)
    ]


def adds(count: int, first: int = 0) -> list[dict[str, Any]]:
    return records(count, first, operation="add", ticket={"title": "Where is my parcel?"})


def handle(batch: list[dict[str, Any]]) -> None:
    assert ticket_queue.handler({"Records": batch}, Context()) == {"batchItemFailures": []}


@pytest.mark.parametrize("size", [10, BATCH])
def test_an_add_costs_a_claim_a_finish_and_its_share_of_the_batch(
    size: int, deployment: Deployment, aws_calls: Counter[str]
) -> None:
    handle(adds(1))
    aws_calls.clear()

    handle(adds(size, first=100))

    publishes = -(-size // 10)
    assert aws_calls == {"UpdateItem": 2 * size, "GetItem": 1, "PublishBatch": publishes}
    assert aws_calls.total() / size <= 2.3


def test_each_secret_is_read_once_by_a_cold_function_and_never_by_a_warm_one(
    deployment: Deployment, aws_calls: Counter[str]
) -> None:
    handle(adds(10))
    # The token, and the markers' key.
    assert aws_calls["GetSecretValue"] == 2

    aws_calls.clear()
    for start in range(10, 50, 10):
        handle(adds(10, first=start))

    assert aws_calls["GetSecretValue"] == 0


def test_a_hundred_gets_are_four_calls_of_the_helpdesk(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    handle(adds(1))
    (outcome,) = deployment.outcomes()
    ticket_id = outcome["data"]["ticket_id"]
    kapture.calls.clear()

    for start in range(0, 100, BATCH):
        handle(records(BATCH, start, operation="get", ticket_ids=ticket_id, request_id=lambda n: f"get-{n}"))

    assert [call.operation for call in kapture.calls] == ["get"] * 4


def test_a_request_is_at_most_two_log_lines_and_metrics_are_flushed_once_for_a_batch(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = invocation.logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    lines: list[int] = []
    flushes: list[int] = []
    for size in (1, BATCH):
        log = io.StringIO()
        monkeypatch.setattr(handler, "stream", log)
        handle(adds(size, first=100 * size))
        lines.append(len(log.getvalue().splitlines()))
        flushes.append(capsys.readouterr().out.count("CloudWatchMetrics"))

    assert lines[1] <= 2 * BATCH
    assert flushes[0] == flushes[1] > 0
