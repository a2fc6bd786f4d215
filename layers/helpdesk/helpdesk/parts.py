"""Joins the parts: the only module that knows all of them."""

from collections.abc import Callable
from functools import cached_property, partial

from helpdesk.clients.markers import Markers
from helpdesk.clients.port import ClientParts, HelpdeskClient
from helpdesk.clients.registered import module_of
from helpdesk.clients.secrets import Secret, marker_keys_in
from helpdesk.clients.settings import HelpdeskSettings
from helpdesk.clients.transport import Transport
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger
from helpdesk.store.table import Table
from helpdesk.store.watchlist import Watchlist, watched_under
from helpdesk.work.helpdesks import Helpdesks


class Parts(BaseParts):
    """What the functions that use a helpdesk share."""

    @cached_property
    def helpdesk_clients(self) -> dict[str, HelpdeskClient]:
        """A client of each helpdesk, by the helpdesk's name."""
        # Said for mypy, which does not see through `module_of`.
        parts: ClientParts = self
        return {
            name: module_of(name, "client").client(parts, settings)
            for name, settings in self.settings.accounts.items()
        }

    def secret[T](self, secret_arn: str, read: Callable[[str], T]) -> Secret[T]:
        """A secret, whose text `read` understands."""
        return Secret(self.clients.secretsmanager, secret_arn, read)

    def transport(self, _helpdesk: str, url: str) -> Transport:
        """The transport of a helpdesk's calls."""
        return Transport(
            url,
            connect_timeout_s=self.settings.connect_timeout_s,
            read_timeout_s=self.settings.read_timeout_s,
            connections=self.settings.threads,
        )

    @cached_property
    def table(self) -> Table:
        """The one table."""
        return Table(self.clients.dynamodb, self.settings.ledger_table)

    @cached_property
    def ledger(self) -> Ledger:
        """The record of each request."""
        return Ledger(
            self.table,
            lease_s=self.settings.lease_s,
            keep_days=self.settings.ledger_days,
            clock=self.clock,
            watched_under=watched_under if self.settings.watch_each_s else None,
        )

    @cached_property
    def watchlist(self) -> Watchlist | None:
        """The watched tickets; None where nothing is watched."""
        if not self.settings.watch_each_s:
            return None
        return Watchlist(self.table, keep_days=self.settings.ledger_days, clock=self.clock)

    @cached_property
    def markers(self) -> Markers:
        """The markers of our tickets."""
        secret = self.secret(self.settings.marker_key_secret_arn, marker_keys_in)
        return Markers(secret.current, self.settings.ledger_table, partial(secret.version, fresh=True))

    @cached_property
    def helpdesks(self) -> Helpdesks:
        """The helpdesks behind their gates."""
        gates = {name: self._gate(name, settings) for name, settings in self.settings.accounts.items()}
        return Helpdesks(self.helpdesk_clients, gates, self.watchlist)

    def _gate(self, name: str, settings: HelpdeskSettings) -> Gate:
        budget = Budget(settings.budget, settings.budget_period_s)
        return Gate(self.table, name, budget, self.clock, self.settings.lease_s)
