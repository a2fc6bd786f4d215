"""The parts of `watch`."""

from functools import cache

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import settings
from helpdesk.wiring.changes import change_teller
from helpdesk.wiring.helpdesks import desks, helpdesks, watchlist
from helpdesk.work.watch import Watch


@cache
def watch() -> Watch | None:
    """What looks at watched tickets; None where nothing is watched."""
    chosen, listed = settings(), watchlist()
    if listed is None:
        return None
    return Watch(
        helpdesks(),
        desks(),
        listed,
        change_teller(),
        each_s=chosen.watch_each_s,
        days=chosen.ledger_days,
        most_calls=chosen.watch_calls,
        logger=invocation.logger,
        metrics=invocation.metrics,
        clock=invocation.clock,
    )
