"""Trigger: SQS. Input: up to 25 requests. A record that is given back comes again after its own delay."""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, entry, queue_deadline
from helpdesk.wiring.ticket_queue import queue_consumer


@entry(queue_consumer)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The partial batch response. An exception here brings back the whole batch."""
    return queue_consumer().run(event["Records"], queue_deadline(context))
