"""A mark in each ticket that we add, by which it is found again when its answer was lost."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from helpdesk.models import NewTicket, Ticket

OFF = "off"
_MARKER = re.compile(r"\btb-[0-9a-f]{16}\b")
_SEAL_LENGTH = 6


@dataclass(frozen=True)
class Markers:
    """The markers of one deployment. `seal` is a text that outsiders do not know, such as its table's name.

    The last digits are sealed, so that a text that only looks like a marker is not taken for one of ours.
    """

    seal: str

    def of(self, helpdesk: str, request_id: str) -> str:
        """The same for the same request, and practically never for another."""
        digits = hashlib.sha256(f"{helpdesk}#{request_id}".encode()).hexdigest()[: 16 - _SEAL_LENGTH]
        return f"tb-{digits}{self._sealed(digits)}"

    def shown_by(self, ticket: Ticket) -> set[str]:
        """Every marker of ours that shows anywhere in a ticket as the helpdesk gives it back."""
        return self.in_text(json.dumps(ticket.raw))

    def shown_in(self, ticket: Ticket, field: str) -> bool:
        """Whether a marker of ours comes back out of this field, one of those that `planted` knows."""
        match field.partition(":"):
            case ("details", _, _):
                text = ticket.details or ""
            case ("title", _, _):
                text = ticket.title or ""
            case (_, _, name):
                text = json.dumps(list(_values_of(name, ticket.raw)))
        return bool(self.in_text(text))

    def in_text(self, text: str) -> set[str]:
        """Every marker of ours in a text."""
        found = set(_MARKER.findall(text))
        return {marker for marker in found if marker.endswith(self._sealed(marker[3:-_SEAL_LENGTH]))}

    def _sealed(self, digits: str) -> str:
        return hashlib.sha256(f"{self.seal}#{digits}".encode()).hexdigest()[:_SEAL_LENGTH]


def _values_of(name: str, value: JsonValue) -> Iterator[JsonValue]:
    """What stands under a key of this name, or beside this name as an id."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.casefold() == name.casefold() or str(value.get("id")) == name:
                yield inner
            else:
                yield from _values_of(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values_of(name, inner)


def planted(ticket: NewTicket, marker: str, field: str) -> NewTicket:
    """The ticket with its marker in `field`: "details", "title", "extra:<name>" or "off"."""
    if field == "details":
        details = "\n\n".join(filter(None, (ticket.details, f"[{marker}]")))
        return ticket.model_copy(update={"details": details})
    if field == "title":
        return ticket.model_copy(update={"title": f"{ticket.title} [{marker}]"})
    if field.startswith("extra:"):
        return ticket.model_copy(update={"extra": ticket.extra | {field.removeprefix("extra:"): marker}})
    return ticket
