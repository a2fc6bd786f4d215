"""The parts of `callbacks`."""

from functools import cache

from helpdesk.clients.kapture import callback as kapture_callback
from helpdesk.clients.socialboards import callback as socialboards_callback
from helpdesk.edge_settings import load_callback_settings
from helpdesk.http.callbacks import Callbacks, Reading, Sender
from helpdesk.http.shared_secrets import SharedSecrets
from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.wiring.changes import change_teller
from helpdesk.wiring.helpdesks import desks


@cache
def callbacks() -> Callbacks:
    """What takes the helpdesks' callbacks."""
    readings: dict[str, Reading] = {"kapture": kapture_callback, "socialboards": socialboards_callback}
    secret_ids = load_callback_settings(settings().helpdesks).secret_ids
    return Callbacks(
        desks(),
        change_teller(),
        SharedSecrets(clients().secretsmanager, invocation.clock),
        {name: Sender(readings[name], secret_id) for name, secret_id in secret_ids.items()},
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )
