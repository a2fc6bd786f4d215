"""The parts of `ticket_queue`."""

from functools import cache

from helpdesk.consumer import QueueConsumer
from helpdesk.outcomes import Topic
from helpdesk.wiring import invocation
from helpdesk.wiring.aws import clients, settings
from helpdesk.wiring.helpdesks import service


@cache
def queue_consumer() -> QueueConsumer:
    """The consumer of the queue."""
    return QueueConsumer(
        service(),
        Topic(clients().sns, settings().outcomes_topic_arn),
        lambda: clients().sqs,
        settings(),
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
