"""One function's process: loads a handler, gives it batches, and writes down what each took.

Runs without site-packages, on what was built. Arguments: a file with what is wanted, a file for the result.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class _Context:
    function_name = "bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:bench"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 600_000


def _record(number: int, operation: str, run: str) -> dict[str, Any]:
    body: dict[str, Any] = {"operation": operation, "request_id": f"{run}-{number}", "source": "bench"}
    if operation == "get":
        body["ticket_ids"] = [f"{100000 + number}"]
    else:
        body["ticket"] = {
            "title": f"Parcel {number} arrived damaged",
            "details": "The box was open and one cup is broken.",
            "due_date": "2030-01-31",
            "requester": {"email": "asha@example.com", "name": "Asha Rao"},
        }
    return {
        "messageId": f"message-{run}-{number}",
        "receiptHandle": "handle",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:requests",
        "awsRegion": "eu-west-1",
    }


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Figures in seconds; `cpu` from the start of the process, or of the batch."""
    handler = importlib.import_module(order["module"]).handler
    measured: dict[str, Any] = {
        "init": {"cpu": time.process_time(), "wall": time.time() - order["started_at"]},
        "modules": len(sys.modules),
        "batches": [],
    }
    for place, (operation, count) in enumerate(order["batches"]):
        run = f"{os.getpid()}-{place}"
        event = {"Records": [_record(number, operation, run) for number in range(count)]}
        began, cpu = time.perf_counter(), time.process_time()
        answer = handler(event, _Context())
        took = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu, "count": count}
        if answer["batchItemFailures"]:
            raise SystemExit(f"{len(answer['batchItemFailures'])} of {count} records came back")
        measured["batches"].append(took)
    measured["memory_mb"] = _most_memory_mb()
    return measured


def _most_memory_mb() -> float:
    # Not by getrusage: that remembers the process by which this one was started.
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
    sys.stdout.flush()
    os._exit(0)
