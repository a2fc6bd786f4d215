"""The parts of `ticket_queue`."""

from functools import cache

from helpdesk.consumer import QueueConsumer
from helpdesk.outcomes import Topic
from helpdesk.service import TicketService
from helpdesk.wiring import invocation
from helpdesk.wiring.aws import clients, settings
from helpdesk.wiring.helpdesks import desks, ledger, markers


@cache
def queue_consumer() -> QueueConsumer:
    """The consumer of the queue."""
    chosen = settings()
    return QueueConsumer(
        TicketService(
            desks(),
            ledger(),
            markers(),
            doubt_s=chosen.doubt_s,
            threads=chosen.threads,
            clock=invocation.clock,
        ),
        Topic(clients().sns, chosen.outcomes_topic_arn),
        lambda: clients().sqs,
        chosen,
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
