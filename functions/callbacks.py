"""Trigger: API Gateway (REST, proxy). Input: a helpdesk's callback. A failure is a 502 to the helpdesk."""

from typing import Any

from helpdesk.wiring import LambdaContext, api_deadline, callbacks, logger, metrics


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The answer in API Gateway's proxy form."""
    return callbacks().answer(event, api_deadline(context))
