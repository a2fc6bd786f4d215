"""Trigger: API Gateway (REST, proxy). Input: a helpdesk's callback. A failure is a 502 to the helpdesk."""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, api_deadline, entry
from helpdesk.wiring.callbacks import callbacks


@entry(callbacks)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The answer in API Gateway's proxy form."""
    return callbacks().answer(event, api_deadline(context))
