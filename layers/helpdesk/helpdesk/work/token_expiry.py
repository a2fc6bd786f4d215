"""Checks the helpdesks' keys: warns before one expires, and notes when a new one arrives."""

from contextlib import suppress
from datetime import UTC, datetime

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.table import ConditionError, Table
from helpdesk.work.helpdesks import Helpdesks

# The figure if no secret says when its key expires.
_FAR_DAYS = 3650


class TokenExpiry:
    """Remembers each helpdesk's newest version of the secret, in the item `key#<helpdesk>`."""

    def __init__(self, parts: BaseParts, table: Table, helpdesks: Helpdesks) -> None:
        self._table = table
        self._helpdesks = helpdesks
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def check(self) -> dict[str, int]:
        """The days that each helpdesk's key has left, if its secret says so.

        Raises UnavailableError if DynamoDB does not answer.
        """
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        left: dict[str, int] = {}
        for name, helpdesk in self._helpdesks.clients.items():
            version = helpdesk.token_version(fresh=True)
            if version is None:
                # Secrets Manager does not answer. No figure is better than a wrong one.
                return left
            if self._is_new(name, version):
                self._logger.info("a new version of the secret is used", extra={"helpdesk": name})
            expires_on = helpdesk.token_expires_on()
            if expires_on:
                left[name] = (expires_on - today).days
                self._logger.info("key has days left", extra={"helpdesk": name, "days": left[name]})
        days = min(left.values(), default=_FAR_DAYS)
        self._metrics.add_metric(name="KeyDaysLeft", unit=MetricUnit.Count, value=days)
        return left

    def _is_new(self, helpdesk: str, version: str) -> bool:
        """Whether this version is new; remembers it."""
        with suppress(ConditionError):
            self._table.update(
                f"key#{helpdesk}",
                sets={"version": version, "noted_at": self._clock()},
                condition="attribute_not_exists(version) OR version <> :version",
                values={"version": version},
            )
            return True
        return False
