"""Trigger: SQS. Input: up to ten requests. A record that is given back comes again after its own delay."""

from typing import Any

from helpdesk.wiring import LambdaContext, logger, metrics, queue_consumer, queue_deadline


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The partial batch response. An exception here brings back the whole batch."""
    return queue_consumer().run(event["Records"], queue_deadline(context))
