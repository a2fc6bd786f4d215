"""What tells changes, for the callbacks and for the watch."""

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.runtime.topic import Topic
from helpdesk.work.changes import ChangeTeller


def change_teller() -> ChangeTeller:
    """What publishes `ticket.changed`."""
    chosen = settings()
    return ChangeTeller(
        clients().dynamodb,
        chosen.ledger_table,
        Topic(clients().sns, chosen.outcomes_topic_arn),
        # It outlives the watch of its ticket.
        keep_days=2 * chosen.ledger_days,
        with_raw=chosen.changes_with_raw,
        clock=invocation.clock,
    )
