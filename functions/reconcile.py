"""Trigger: EventBridge Scheduler, each minute. Settles doubts. A failure means: the next run does it."""

from typing import Any

from helpdesk.wiring import LambdaContext, logger, metrics, reconcile_deadline, reconciler


@logger.inject_lambda_context
@metrics.log_metrics
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many doubts were found, absent, parked, and still wait."""
    return reconciler().run(reconcile_deadline(context))
