"""The port: what a client of a helpdesk does for us, and how an update keeps its progress."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from helpdesk.models import Changes, NewTicket, Request, Ticket, TicketLink

# The step that writes an update's comment; its text carries the marker.
COMMENT = "comment"


class Progress(Protocol):
    """What of one request is done. A step that was begun and not done may have happened."""

    @property
    def marker(self) -> str:
        """The request's marker, for a text by which the step is found again."""

    def is_done(self, step: str) -> bool:
        """Whether the step has been done before."""

    def mark_begun(self, step: str) -> None:
        """Remembers that a step is begun which must not be made twice. Raises UnavailableError."""

    def mark_done(self, step: str) -> None:
        """Remembers that a step is done. Raises UnavailableError."""


class HelpdeskClient(Protocol):
    """What a helpdesk can do for us. Each call ends before its deadline, a moment of `time.monotonic()`."""

    @property
    def name(self) -> str:
        """As requests name it."""

    @property
    def get_limit(self) -> int:
        """How many tickets one get may ask for."""

    @property
    def updates_in_steps(self) -> bool:
        """Whether an update marks each of its steps that must not be made twice before it begins it."""

    @property
    def marker_field(self) -> str:
        """Where its tickets carry their markers; "off" where they carry none."""

    @property
    def zone(self) -> ZoneInfo:
        """Where the helpdesk's days begin."""

    def is_closed(self, ticket: Ticket) -> bool:
        """Whether nothing more is expected of the ticket."""

    def check(self, request: Request) -> None:
        """Raises RejectedError where this helpdesk cannot take the request. Makes no call."""

    def add(self, ticket: NewTicket, deadline: float) -> TicketLink:
        """Makes a ticket."""

    def update(self, ticket_id: str, changes: Changes, deadline: float, progress: Progress) -> TicketLink:
        """Changes a ticket, in as many steps as it takes."""

    def marked(self, ticket: NewTicket, marker: str) -> NewTicket:
        """The ticket with a marker by which it can be found again."""

    def comments(self, ticket_id: str, deadline: float) -> list[str] | None:
        """The comments of a ticket as the helpdesk gives them; None where it does not."""

    def get(self, ticket_ids: Sequence[str], extra: Mapping[str, JsonValue], deadline: float) -> list[Ticket]:
        """The tickets that exist, in any order."""

    def pull(self, day: date, deadline: float) -> list[Ticket]:
        """The tickets created on a day of the helpdesk's own zone."""

    def probe(self, deadline: float) -> None:
        """One harmless call, to see whether the helpdesk answers. Raises HelpdeskError."""

    def metered(self, spend: Callable[[], None]) -> Self:
        """The same, which calls `spend` before each of its HTTP calls, and makes none where that raises."""

    def token_version(self, *, fresh: bool) -> str | None:
        """Changes when the helpdesk's token does; read anew where `fresh`, None where it was never read."""

    def token_expires_on(self) -> date | None:
        """The day on which our access ends, where the secret as last read says so."""
