"""Trigger: EventBridge Scheduler, each hour. Proves days that are over, and looks at the helpdesks' keys.

A failure means: the next run does it.
"""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.daily_audit import Prover
from helpdesk.work.token_expiry import Keys


def hourly(parts: Parts) -> tuple[Prover, Keys]:
    """What proves the days that are over, and what looks at the helpdesks' keys."""
    return Prover(parts, parts.desks, parts.ledger, parts.markers), Keys(parts, parts.desks)


@entry(Parts, hourly)
def handler(jobs: tuple[Prover, Keys], _event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """How many days were proved, how many oddities they showed, and how many days still wait."""
    prover, keys = jobs
    counts = prover.run(schedule_deadline(context))
    return {**counts, "key_days_left": keys.look()}
