"""Trigger: API Gateway (REST, proxy). Input: a call. A failure is a 502 to the caller."""

from pathlib import Path
from typing import Any

from helpdesk.http.api import TicketApi
from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, api_deadline, entry


def ticket_api(parts: Parts) -> TicketApi:
    """The HTTP API. Its description is the document beside this file."""
    return TicketApi(parts, parts.helpdesks, parts.ledger, Path(__file__).with_name("openapi.json"))


@entry(Parts, ticket_api)
def handler(api: TicketApi, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The response in API Gateway's proxy form."""
    return api.respond(event, api_deadline(context))
