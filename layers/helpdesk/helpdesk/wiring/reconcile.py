"""The parts of `reconcile`."""

from functools import cache

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import settings
from helpdesk.wiring.helpdesks import desks, helpdesks, ledger, markers
from helpdesk.work.doubts import Reconciler


@cache
def reconciler() -> Reconciler:
    """What settles doubts."""
    chosen = settings()
    return Reconciler(
        helpdesks(),
        desks(),
        ledger(),
        markers(),
        settle_after_s=chosen.settle_after_s,
        give_up_s=chosen.give_up_after_s,
        most_calls=chosen.reconcile_calls,
        logger=invocation.logger,
        metrics=invocation.metrics,
        clock=invocation.clock,
    )
