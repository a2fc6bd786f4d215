"""A helpdesk's metrics for CloudWatch: one log line per invocation, in its embedded metric format.

Each name costs a metric for each helpdesk, so there are few. The details of single requests (operation, code,
source) are in their log lines, and Logs Insights counts those.
"""

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "TicketBridge"


class HelpdeskMetrics:
    """Gathers metrics by helpdesk until they are flushed."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[tuple[str, MetricUnit, float]]] = {}

    def count(self, helpdesk: str, name: str, number: float = 1) -> None:
        """Adds a number of things."""
        self._gathered.setdefault(helpdesk, []).append((name, MetricUnit.Count, number))

    def time(self, helpdesk: str, name: str, milliseconds: float) -> None:
        """Adds how long something took."""
        self._gathered.setdefault(helpdesk, []).append((name, MetricUnit.Milliseconds, milliseconds))

    def share(self, helpdesk: str, name: str, percent: float) -> None:
        """Adds how much of something is used."""
        self._gathered.setdefault(helpdesk, []).append((name, MetricUnit.Percent, percent))

    def flush(self) -> None:
        """Writes a line for each helpdesk, and begins anew."""
        gathered, self._gathered = self._gathered, {}
        for helpdesk, figures in gathered.items():
            metrics = EphemeralMetrics(namespace=NAMESPACE)
            metrics.add_dimension("helpdesk", helpdesk)
            for name, unit, value in figures:
                metrics.add_metric(name=name, unit=unit, value=value)
            metrics.flush_metrics()
