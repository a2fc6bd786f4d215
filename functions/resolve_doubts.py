"""Trigger: EventBridge Scheduler, each minute. Resolves doubts. If it fails, the next run does it."""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.doubts import DoubtResolver


def doubt_resolver(parts: Parts) -> DoubtResolver:
    """What resolves doubts."""
    return DoubtResolver(parts, parts.helpdesks, parts.ledger, parts.markers)


@entry(Parts, doubt_resolver)
def handler(resolver: DoubtResolver, _event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many doubts were found, absent or parked, and how many still wait."""
    return resolver.run(schedule_deadline(context))
