"""The parts of `callbacks`."""

from functools import cache

from helpdesk.callbacks import Callbacks
from helpdesk.edge_settings import load_callback_settings
from helpdesk.intake.shared_secrets import SharedSecrets
from helpdesk.kapture_callback import ticket_id_in
from helpdesk.wiring import invocation
from helpdesk.wiring.aws import clients
from helpdesk.wiring.changes import change_teller
from helpdesk.wiring.helpdesks import service


@cache
def callbacks() -> Callbacks:
    """What takes the helpdesks' callbacks."""
    return Callbacks(
        service(),
        change_teller(),
        SharedSecrets(clients().secretsmanager, invocation.clock),
        load_callback_settings().secret_ids,
        {"kapture": ticket_id_in},
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
