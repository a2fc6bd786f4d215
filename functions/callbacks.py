"""Trigger: API Gateway (REST, proxy). Input: a helpdesk's callback. A failure is a 502 to the helpdesk."""

from typing import Any

from helpdesk.clients.registered import module_of
from helpdesk.http.callbacks import Callbacks, Sender
from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, api_deadline, entry
from helpdesk.settings import load_callback_settings
from helpdesk.work.changes import ChangePublisher


def callbacks(parts: Parts) -> Callbacks:
    """What takes the helpdesks' callbacks."""
    secret_ids = load_callback_settings(parts.settings.helpdesks, parts.environment)
    senders = {name: Sender(module_of(name, "callback"), secret_id) for name, secret_id in secret_ids.items()}
    return Callbacks(parts, parts.helpdesks, ChangePublisher(parts, parts.table), senders)


@entry(Parts, callbacks)
def handler(taker: Callbacks, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The response in API Gateway's proxy form."""
    return taker.respond(event, api_deadline(context))
