"""Trigger: EventBridge Scheduler, each minute. Settles doubts. A failure means: the next run does it."""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.doubts import Reconciler


def reconciler(parts: Parts) -> Reconciler:
    """What settles doubts."""
    return Reconciler(parts, parts.desks, parts.ledger, parts.markers)


@entry(Parts, reconciler)
def handler(resolver: Reconciler, _event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many doubts were found, absent, parked, and still wait."""
    return resolver.run(schedule_deadline(context))
