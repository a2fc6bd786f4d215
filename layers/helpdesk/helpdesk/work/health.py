"""Probes closed gates each minute, and records the state of gates and doubts as metrics, zeros included.

The alarms watch the metrics without a helpdesk's name: the worst of all helpdesks. Zeros clear the alarms.
"""

from collections.abc import Callable
from contextlib import suppress

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.errors import HelpdeskError
from helpdesk.runtime.metrics import HelpdeskMetrics
from helpdesk.store.gate import TOKEN_REFUSED, GateState, RefusedKey
from helpdesk.store.ledger import Ledger
from helpdesk.work.helpdesks import Helpdesks

# More doubts than this are too many, whatever their number.
MOST_DOUBTS = 500


def probe_closed_gates(helpdesks: Helpdesks, deadline: float) -> None:
    """Makes one harmless call where a gate is closed and its next probe is due.

    Else a gate that closed for a refused token would stay closed until the next request, and its alarm would
    outlast the reason.
    """
    for helpdesk in helpdesks.clients:
        with suppress(HelpdeskError):
            helpdesks.probe(helpdesk, deadline)


def record_health(helpdesks: Helpdesks, ledger: Ledger, metrics: Metrics, clock: Callable[[], float]) -> None:
    """Reads the gate and the doubts of each helpdesk, and records metrics. Raises UnavailableError."""
    now = clock()
    helpdesk_metrics = HelpdeskMetrics()
    refused = paused = contradicted = down_s = doubt_s = 0.0
    for helpdesk in helpdesks.clients:
        gate = helpdesks.gate(helpdesk)
        state = gate.read()
        doubts = ledger.doubts(helpdesk, MOST_DOUBTS)
        helpdesk_metrics.count(helpdesk, "GateClosed", float(state.closed or state.paused))
        helpdesk_metrics.count(helpdesk, "InDoubt", len(doubts))
        helpdesk_metrics.share(helpdesk, "BudgetPercent", 100 * gate.used(state))
        refused = max(refused, float(state.closed and state.reason == TOKEN_REFUSED))
        for operation, key in state.refused.items():
            if not key.is_replaced and not _is_absent_on_purpose(operation, key):
                refused = 1.0
                helpdesk_metrics.count(helpdesk, f"{operation.capitalize()}KeyRefused")
        paused = max(paused, float(state.paused))
        contradicted += not ledger.zone_fits(helpdesk, helpdesks[helpdesk].zone)
        down_s = max(down_s, _down_s(state, now))
        doubt_s = max([doubt_s, *(now - doubt.claimed_at for doubt in doubts)])
    helpdesk_metrics.flush()
    counts = {
        "Checked": 1.0,
        "TokenRefused": refused,
        "Paused": paused,
        "ZoneContradicted": float(contradicted),
    }
    for name, value in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    for name, seconds in {"DownSeconds": down_s, "DoubtSeconds": doubt_s, "OldestSeconds": doubt_s}.items():
        metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=seconds)


def _is_absent_on_purpose(operation: str, key: RefusedKey) -> bool:
    """An account may have no key for lists: then `bridge doctor` says what is off, and no alarm does."""
    return operation == "pull" and key.code == "key_missing"


def _down_s(state: GateState, now: float) -> float:
    """For how long the helpdesk has sent no reply or has asked us to wait."""
    return now - state.closed_at if state.closed and state.reason != TOKEN_REFUSED else 0.0
