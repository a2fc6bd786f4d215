"""Trigger: SQS. Input: up to 25 requests. A record that is returned comes again after its own delay."""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, queue_deadline
from helpdesk.work.batch import QueueConsumer
from helpdesk.work.service import TicketService


def queue_consumer(parts: Parts) -> QueueConsumer:
    """The consumer of the queue."""
    settings = parts.settings
    service = TicketService(
        parts.helpdesks,
        parts.ledger,
        parts.markers,
        doubt_s=settings.doubt_s,
        threads=settings.threads,
        clock=parts.clock,
    )
    return QueueConsumer(parts, service)


@entry(Parts, queue_consumer)
def handler(consumer: QueueConsumer, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The partial batch response. An exception returns the whole batch to the queue."""
    return consumer.run(event["Records"], queue_deadline(context))
