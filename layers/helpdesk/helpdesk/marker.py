"""A mark in each ticket that we add, by which it is found again when its answer was lost."""

import hashlib
import json
import re

from helpdesk.models import NewTicket, Ticket

OFF = "off"
_MARKER = re.compile(r"\btb-[0-9a-f]{16}\b")


def marker_of(helpdesk: str, request_id: str) -> str:
    """The same for the same request, and practically never for another."""
    return "tb-" + hashlib.sha256(f"{helpdesk}#{request_id}".encode()).hexdigest()[:16]


def planted(ticket: NewTicket, marker: str, field: str) -> NewTicket:
    """The ticket with its marker in `field`: "details", "title", "extra:<name>" or "off"."""
    if field == "details":
        return ticket.model_copy(
            update={"details": "\n\n".join(filter(None, (ticket.details, f"[{marker}]")))}
        )
    if field == "title":
        return ticket.model_copy(update={"title": f"{ticket.title} [{marker}]"})
    if field.startswith("extra:"):
        return ticket.model_copy(update={"extra": ticket.extra | {field.removeprefix("extra:"): marker}})
    return ticket


def markers_in(ticket: Ticket) -> set[str]:
    """Every marker that shows anywhere in a ticket as the helpdesk gives it back."""
    return set(_MARKER.findall(json.dumps(ticket.raw)))
