"""Trigger: EventBridge Scheduler, each hour. Proves days that are over; what fails waits an hour."""

from typing import Any

from helpdesk.wiring.daily_proof import prover
from helpdesk.wiring.invocation import LambdaContext, entry, schedule_deadline


@entry(prover)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """How many days were proved, how many oddities they showed, and how many days still wait."""
    return prover().run(schedule_deadline(context))
