"""Trigger: EventBridge Scheduler, each minute. Tells changes. A failure means: the next run goes on."""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.changes import ChangePublisher
from helpdesk.work.watch import Watch


def watch(parts: Parts) -> Watch | None:
    """What looks at watched tickets; None where nothing is watched."""
    if not parts.watchlist:
        return None
    return Watch(parts, parts.helpdesks, parts.watchlist, ChangePublisher(parts, parts.table))


@entry(Parts, watch)
def handler(watching: Watch | None, _event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """How many tickets were looked at, how many changes told, and how many tickets are watched no more."""
    return watching.run(schedule_deadline(context)) if watching else {}
