"""Trigger: EventBridge Scheduler, each hour. Audits days that are over, and checks the helpdesks' keys.

If it fails, the next run does it.
"""

from typing import Any

from helpdesk.parts import Parts
from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.work.daily_audit import DailyAudit
from helpdesk.work.token_expiry import TokenExpiry


def hourly(parts: Parts) -> tuple[DailyAudit, TokenExpiry]:
    """What audits the days that are over, and what checks the helpdesks' keys."""
    audit = DailyAudit(parts, parts.table, parts.helpdesks, parts.ledger, parts.markers)
    return audit, TokenExpiry(parts, parts.table, parts.helpdesks)


@entry(Parts, hourly)
def handler(
    jobs: tuple[DailyAudit, TokenExpiry], _event: dict[str, Any], context: LambdaContext
) -> dict[str, Any]:
    """How many days were audited, how many discrepancies they showed, and how many days still wait."""
    audit, token_expiry = jobs
    counts = audit.run(schedule_deadline(context))
    return {**counts, "key_days_left": token_expiry.check()}
