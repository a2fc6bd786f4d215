"""The helpdesks that are served here, and what asks them."""

from functools import cache, partial

from helpdesk.clients.kapture.client import Kapture
from helpdesk.clients.markers import Markers
from helpdesk.clients.secrets import MintedToken, Secret, marker_keys_in, refresh_credentials_in, token_in
from helpdesk.clients.socialboards.client import Minter, Socialboards
from helpdesk.clients.transport import Transport
from helpdesk.runtime import invocation
from helpdesk.runtime.aws import clients, settings
from helpdesk.settings import KaptureSettings, SocialboardsSettings
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger
from helpdesk.store.watchlist import Watchlist, watched_under
from helpdesk.work.helpdesks import Desks, Helpdesk


@cache
def helpdesks() -> dict[str, Helpdesk]:
    """A client of each helpdesk, by the helpdesk's name."""
    chosen = settings()
    secrets = clients().secretsmanager
    made: list[Helpdesk] = []
    if chosen.kapture:
        token = Secret(secrets, chosen.kapture.secret_arn, token_in)
        made.append(Kapture(_transport(chosen.kapture.url), token, chosen.kapture))
    if chosen.socialboards:
        transport = _transport(chosen.socialboards.url)
        minted = MintedToken(
            Secret(secrets, chosen.socialboards.secret_arn, refresh_credentials_in),
            Minter(transport, chosen.socialboards.token_path).mint,
            lambda: invocation.logger.warning("another refresh token has come: put it into the secret"),
        )
        made.append(Socialboards(transport, minted, chosen.socialboards))
    return {helpdesk.name: helpdesk for helpdesk in made}


@cache
def ledger() -> Ledger:
    """What remembers each request."""
    chosen = settings()
    return Ledger(
        clients().dynamodb,
        chosen.ledger_table,
        lease_s=chosen.lease_s,
        keep_days=chosen.ledger_days,
        clock=invocation.clock,
        watched_under=watched_under if chosen.watch_each_s else None,
    )


@cache
def watchlist() -> Watchlist | None:
    """The tickets that are watched; None where none are."""
    chosen = settings()
    if not chosen.watch_each_s:
        return None
    return Watchlist(
        clients().dynamodb, chosen.ledger_table, keep_days=chosen.ledger_days, clock=invocation.clock
    )


@cache
def markers() -> Markers:
    """The marks that our tickets carry."""
    chosen = settings()
    secret = Secret(clients().secretsmanager, chosen.marker_key_secret_arn, marker_keys_in)
    return Markers(secret.current, chosen.ledger_table, partial(secret.version, fresh=True))


@cache
def desks() -> Desks:
    """The helpdesks behind their gates."""
    chosen = settings()
    of_each = {"kapture": chosen.kapture, "socialboards": chosen.socialboards}
    gates = {name: _gate(name, of_it) for name, of_it in of_each.items() if of_it}
    return Desks(helpdesks(), gates, watchlist())


def _transport(url: str) -> Transport:
    chosen = settings()
    return Transport(
        url,
        connect_timeout_s=chosen.connect_timeout_s,
        read_timeout_s=chosen.read_timeout_s,
        connections=chosen.threads,
    )


def _gate(name: str, chosen: KaptureSettings | SocialboardsSettings) -> Gate:
    budget = Budget(chosen.budget, chosen.budget_period_s)
    return Gate(
        clients().dynamodb, settings().ledger_table, name, budget, invocation.clock, settings().lease_s
    )
