"""Trigger: API Gateway (REST, proxy). Input: one call. A failure here is a 502 to the caller."""

from pathlib import Path
from typing import Any

from helpdesk.wiring import LambdaContext, api_deadline, logger, metrics, ticket_api

_DOCUMENT = Path(__file__).with_name("openapi.json")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The answer in API Gateway's proxy form."""
    return ticket_api(_DOCUMENT).answer(event, context, api_deadline(context))
