"""Trigger: EventBridge Scheduler, each minute. Publishes changes. If it fails, the next run goes on."""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.changes import ChangePublisher
from helpdesk.work.watch import Watch


def watch(parts: Parts) -> Watch | None:
    """What polls watched tickets; None where the watch is off."""
    if not parts.watchlist:
        return None
    return Watch(parts, parts.helpdesks, parts.watchlist, ChangePublisher(parts, parts.table))


@entry(Parts, watch)
def handler(watching: Watch | None, _event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """How many tickets were polled, how many changes published, how many tickets are no longer watched."""
    return watching.run(schedule_deadline(context)) if watching else {}
