"""The parts of `ticket_api`."""

from functools import cache
from pathlib import Path

from helpdesk.http.api import TicketApi
from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.wiring.helpdesks import desks, ledger


@cache
def ticket_api(document: Path) -> TicketApi:
    """The HTTP API; it describes itself by the document."""
    return TicketApi(
        desks(), ledger(), clients().sqs, settings(), invocation.logger, invocation.metrics, document
    )
