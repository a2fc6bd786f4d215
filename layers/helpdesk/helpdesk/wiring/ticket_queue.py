"""The parts of `ticket_queue`."""

from functools import cache

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.runtime.topic import Topic
from helpdesk.wiring.helpdesks import desks, ledger, markers
from helpdesk.work.batch import QueueConsumer
from helpdesk.work.service import TicketService


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
