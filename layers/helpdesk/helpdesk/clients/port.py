"""The port: what a helpdesk's client does for us, and how an update keeps its progress."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import date
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger
from pydantic import JsonValue

from helpdesk.clients.secrets import Secret
from helpdesk.clients.transport import Transport
from helpdesk.models import Changes, NewTicket, Request, Ticket, TicketLink

# The step that writes an update's comment; its text carries the marker.
COMMENT = "comment"


class Progress(Protocol):
    """The steps of one request that are done. A step that was begun and not done may have happened."""

    @property
    def marker(self) -> str:
        """The request's marker: a text that carries it can be found again."""

    def is_done(self, step: str) -> bool:
        """Whether the step has been done before."""

    def mark_begun(self, step: str) -> None:
        """Records that a step is begun that must not be made twice. Raises UnavailableError."""

    def mark_done(self, step: str) -> None:
        """Records that a step is done. Raises UnavailableError."""


class HelpdeskClient(Protocol):
    """What a helpdesk can do for us. Each call ends before its deadline, a moment of `time.monotonic()`."""

    @property
    def name(self) -> str:
        """Its name in requests."""

    @property
    def get_limit(self) -> int:
        """The most tickets that one HTTP call reads: no get is for more, and budget and watch count by it."""

    @property
    def updates_in_steps(self) -> bool:
        """Whether an update marks a step that must not be made twice before it begins it."""

    @property
    def marker_field(self) -> str:
        """The field that holds a ticket's marker; "off" where tickets carry none."""

    @property
    def marks_comments(self) -> bool:
        """Whether comments carry the markers of their updates, and can be read."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the helpdesk's days."""

    def is_closed(self, ticket: Ticket) -> bool:
        """Whether nothing more is expected of the ticket."""

    def check(self, request: Request) -> None:
        """Raises RejectedError where this helpdesk cannot take the request. Makes no call."""

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Makes a ticket."""

    def update(self, ticket_id: str, changes: Changes, deadline: float, progress: Progress) -> TicketLink:
        """Changes a ticket, in as many steps as it takes."""

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        """The ticket with its marker in its field."""

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket as the helpdesk gives them; None where it does not."""

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        """The tickets that exist, in any order."""

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone."""

    def probe(self, deadline: float) -> None:
        """Makes one harmless call, to see whether the helpdesk replies. Raises HelpdeskError."""

    def metered(self, spend: Callable[[], None]) -> Self:
        """A client that calls `spend` before each HTTP call, and makes no call where that raises."""

    def token_version(self, *, fresh: bool) -> str | None:
        """Changes when the helpdesk's token does; read again where `fresh`, None where it was never read."""

    def token_expires_on(self) -> date | None:
        """The day on which our access ends, where the secret as last read says so."""


class ClientParts(Protocol):
    """What a client is made with, besides its settings."""

    monotonic: Callable[[], float]
    logger: Logger

    def secret[T](self, secret_arn: str, read: Callable[[str], T]) -> Secret[T]:
        """A secret, whose text `read` understands."""

    def transport(self, helpdesk: str, url: str, /) -> Transport:
        """The transport of a helpdesk's calls."""


class Token(Protocol):
    """A key or a token of a helpdesk, as its client shows it."""

    def version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; read again where `fresh`."""

    @property
    def expires_on(self) -> date | None:
        """The day on which our access ends, where the secret as last read says so."""


class BaseClient[T: Token]:
    """What the clients have in common: each meters its calls, and shows its token."""

    def __init__(self, token: T) -> None:
        self._token = token
        self._spend: Callable[[], None] = lambda: None

    def metered(self, spend: Callable[[], None]) -> Self:
        """A client that calls `spend` before each HTTP call."""
        metered = copy(self)
        metered._spend = spend
        return metered

    def token_version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; read again where `fresh`."""
        return self._token.version(fresh=fresh)

    def token_expires_on(self) -> date | None:
        """The day on which our access ends, where the secret as last read says so."""
        return self._token.expires_on
