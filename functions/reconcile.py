"""Trigger: EventBridge Scheduler, each minute. Settles doubts. A failure means: the next run does it."""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.wiring.reconcile import reconciler


@entry(reconciler)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many doubts were found, absent, parked, and still wait."""
    return reconciler().run(schedule_deadline(context))
