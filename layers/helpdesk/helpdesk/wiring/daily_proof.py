"""The parts of `daily_proof`."""

from functools import cache

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.runtime.topic import Topic
from helpdesk.store.audits import Proofs
from helpdesk.wiring.helpdesks import desks, helpdesks, ledger, markers
from helpdesk.work.daily_audit import Prover
from helpdesk.work.token_expiry import Keys


@cache
def keys() -> Keys:
    """What looks at the helpdesks' keys."""
    return Keys(
        clients().dynamodb,
        settings().ledger_table,
        helpdesks(),
        invocation.logger,
        invocation.metrics,
        invocation.clock,
    )


@cache
def prover() -> Prover:
    """What proves the days that are over."""
    chosen = settings()
    return Prover(
        helpdesks(),
        desks(),
        ledger(),
        markers(),
        Proofs(clients().dynamodb, chosen.ledger_table),
        Topic(clients().sns, chosen.outcomes_topic_arn),
        after_hours=chosen.proof_after_hours,
        keep_days=chosen.proof_days,
        logger=invocation.logger,
        metrics=invocation.metrics,
        clock=invocation.clock,
    )
