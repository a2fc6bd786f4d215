"""Joins the parts: the only module that knows all of them."""

from functools import cached_property, partial

from helpdesk.clients.kapture.client import Kapture, kapture_keys_in
from helpdesk.clients.markers import Markers
from helpdesk.clients.port import HelpdeskClient
from helpdesk.clients.secrets import MintedToken, Secret, marker_keys_in, refresh_credentials_in
from helpdesk.clients.socialboards.client import Minter, Socialboards
from helpdesk.clients.transport import Transport
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.settings import KaptureSettings, SocialboardsSettings
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
        kapture, socialboards = self.settings.kapture, self.settings.socialboards
        clients: list[HelpdeskClient] = []
        if kapture:
            keys = Secret(self.clients.secretsmanager, kapture.secret_arn, kapture_keys_in)
            clients.append(Kapture(self.transport("kapture", kapture.url), keys, kapture))
        if socialboards:
            transport = self.transport("socialboards", socialboards.url)
            minted = MintedToken(
                Secret(self.clients.secretsmanager, socialboards.secret_arn, refresh_credentials_in),
                Minter(transport, socialboards.token_path).mint,
                lambda: self.logger.warning("another refresh token has come: put it into the secret"),
                self.monotonic,
            )
            clients.append(Socialboards(transport, minted, socialboards))
        return {client.name: client for client in clients}

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
        secret = Secret(self.clients.secretsmanager, self.settings.marker_key_secret_arn, marker_keys_in)
        return Markers(secret.current, self.settings.ledger_table, partial(secret.version, fresh=True))

    @cached_property
    def helpdesks(self) -> Helpdesks:
        """The helpdesks behind their gates."""
        settings_of = {"kapture": self.settings.kapture, "socialboards": self.settings.socialboards}
        gates = {name: self._gate(name, settings) for name, settings in settings_of.items() if settings}
        return Helpdesks(self.helpdesk_clients, gates, self.watchlist)

    def _gate(self, name: str, settings: KaptureSettings | SocialboardsSettings) -> Gate:
        budget = Budget(settings.budget, settings.budget_period_s)
        return Gate(self.table, name, budget, self.clock, self.settings.lease_s)
