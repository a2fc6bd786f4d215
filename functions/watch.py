"""Trigger: EventBridge Scheduler, each minute. Tells changes. A failure means: the next run goes on."""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.wiring.watch import watch


@entry(watch)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """How many tickets were looked at, how many changes told, and how many tickets are watched no more."""
    watching = watch()
    return watching.run(schedule_deadline(context)) if watching else {}
