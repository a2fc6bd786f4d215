"""Throughput and latency of the whole application on the local stack, on the emulator's terms."""

import json
import time
from dataclasses import dataclass
from statistics import quantiles

from bridge.local.emulator import Clients
from bridge.local.state import PROJECT, StateFolder
from bridge.stacks import local_stack
from bridge.stacks.outcomes import OutcomesQueue

_LONGEST_S = 180.0


@dataclass(frozen=True)
class Passed:
    """Requests a second from the first sent to the last outcome read, and seconds from sending to reading."""

    rate: float
    p50_s: float
    p99_s: float


def measure(count: int = 500) -> Passed:
    """Sends so many adds at once to a stack of its own, and reads their outcomes."""
    state = StateFolder(PROJECT / ".bridge" / "bench")
    local_stack.down(state)
    try:
        stack = local_stack.up(state, report=lambda _: None)
        sqs = Clients(stack.endpoint_url).sqs
        outcomes = OutcomesQueue(stack)
        # What is measured is not the emulator's first start of a worker.
        sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=_add("warm"))
        while not outcomes.receive(1):
            pass
        began = time.monotonic()
        sent: dict[str, float] = {}
        for start in range(0, count, 10):
            names = [f"bench-{number}" for number in range(start, min(start + 10, count))]
            entries = [{"Id": name, "MessageBody": _add(name)} for name in names]
            sqs.send_message_batch(QueueUrl=stack.requests_queue_url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
            sent |= dict.fromkeys(names, time.monotonic())
        took: dict[str, float] = {}
        while len(took) < count:
            for event in outcomes.receive(1):
                name = event["data"].get("request_id")
                if name in sent:
                    took.setdefault(name, time.monotonic() - sent[name])
            if time.monotonic() - began > _LONGEST_S:
                raise SystemExit(f"only {len(took)} of {count} outcomes came in {_LONGEST_S:.0f} s")
        each = quantiles(took.values(), n=100)
        return Passed(count / (time.monotonic() - began), each[49], each[98])
    finally:
        local_stack.down(state)


def _add(request_id: str) -> str:
    return json.dumps({"operation": "add", "request_id": request_id, "ticket": {"title": request_id}})
