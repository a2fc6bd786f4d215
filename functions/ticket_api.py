"""Trigger: API Gateway (REST, proxy). Input: one call. A failure here is a 502 to the caller."""

from functools import partial
from pathlib import Path
from typing import Any

from helpdesk.runtime.invocation import LambdaContext, api_deadline, entry
from helpdesk.wiring.ticket_api import ticket_api

_api = partial(ticket_api, Path(__file__).with_name("openapi.json"))


@entry(_api)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The answer in API Gateway's proxy form."""
    return _api().answer(event, api_deadline(context))
