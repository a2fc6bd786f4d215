"""The parts of `daily_proof`."""

from functools import cache

from helpdesk.keys import Keys
from helpdesk.outcomes import Topic
from helpdesk.proofs import Proofs
from helpdesk.prover import Prover
from helpdesk.wiring import invocation
from helpdesk.wiring.aws import clients, settings
from helpdesk.wiring.helpdesks import desks, helpdesks, ledger, markers


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
