"""Trigger: EventBridge Scheduler, each hour. Proves days that are over, and looks at the helpdesks' keys.

A failure means: the next run does it.
"""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.daily_audit import DailyAudit
from helpdesk.work.token_expiry import TokenExpiry


def hourly(parts: Parts) -> tuple[DailyAudit, TokenExpiry]:
    """What proves the days that are over, and what looks at the helpdesks' keys."""
    return DailyAudit(parts, parts.helpdesks, parts.ledger, parts.markers), TokenExpiry(
        parts, parts.helpdesks
    )


@entry(Parts, hourly)
def handler(
    jobs: tuple[DailyAudit, TokenExpiry], _event: dict[str, Any], context: LambdaContext
) -> dict[str, Any]:
    """How many days were proved, how many oddities they showed, and how many days still wait."""
    daily_audit, keys = jobs
    counts = daily_audit.run(schedule_deadline(context))
    return {**counts, "key_days_left": keys.check()}
