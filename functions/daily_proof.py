"""Trigger: EventBridge Scheduler, each hour. Proves days that are over, and looks at the helpdesks' keys.

A failure means: the next run does it.
"""

from typing import Any

from helpdesk.runtime.invocation import LambdaContext, entry, schedule_deadline
from helpdesk.wiring.daily_proof import keys, prover


@entry(prover)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """How many days were proved, how many oddities they showed, and how many days still wait."""
    counts = prover().run(schedule_deadline(context))
    return {**counts, "key_days_left": keys().look()}
