"""The parts of `callbacks`."""

from functools import cache

from helpdesk.callbacks import Callbacks
from helpdesk.changes import ChangeTeller
from helpdesk.edge_settings import load_callback_settings
from helpdesk.intake.shared_secrets import SharedSecrets
from helpdesk.kapture_callback import ticket_id_in
from helpdesk.outcomes import Topic
from helpdesk.wiring import invocation
from helpdesk.wiring.aws import clients, settings
from helpdesk.wiring.helpdesks import service


@cache
def callbacks() -> Callbacks:
    """What takes the helpdesks' callbacks."""
    chosen = settings()
    topic = Topic(clients().sns, chosen.outcomes_topic_arn)
    return Callbacks(
        service(),
        ChangeTeller(
            clients().dynamodb,
            chosen.ledger_table,
            topic,
            keep_days=chosen.ledger_days,
            clock=invocation.clock,
        ),
        SharedSecrets(clients().secretsmanager, invocation.clock),
        load_callback_settings().secret_ids,
        {"kapture": ticket_id_in},
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
