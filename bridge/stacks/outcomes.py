"""Reads outcomes from the queue that listens to the topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local.emulator import Clients
from bridge.plain import plain
from bridge.stacks import queues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.local.state import Stack


class OutcomesQueue:
    """The outcomes of one local stack that nobody has read yet. Reading takes them away."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.outcomes_queue_url
        self._sqs = Clients(stack.endpoint_url).sqs

    def receive(self, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Up to ten outcome events; waits that long for the first. Raises BridgeError."""
        try:
            return [json.loads(body) for body in queues.take(self._sqs, self._url, wait_seconds)]
        except (BotoCoreError, ClientError) as error:
            raise BridgeError(f"The outcomes queue does not answer: {error}") from error

    def read(self, *, follow: bool) -> Iterator[dict[str, Any]]:
        """One event after the other; with `follow` never ends, else ends when the queue is empty."""
        while True:
            events = self.receive(wait_seconds=10 if follow else 1)
            yield from events
            if not events and not follow:
                return


def line(event: dict[str, Any]) -> str:
    """One outcome, or the audit of a day, in one line for people."""
    content = event.get("data", {})
    request_id = content.get("request_id")
    audited = f"{content.get('helpdesk')} {event.get('subject')}: {content.get('outcome')}"
    parts = [
        str(event.get("time", "?"))[:19].replace("T", " ") + "Z",
        f"{event.get('type', '?'):<17}",
        f"request {request_id}" if request_id else audited,
        f"ticket {content['ticket_id']}" if content.get("ticket_id") else "",
        f"{content.get('code', '')}: {content['message']}" if content.get("message") else "",
    ]
    parts += [f"{error.get('field')}: {error.get('problem')}" for error in content.get("errors", [])]
    return plain("  ".join(part for part in parts if part))
