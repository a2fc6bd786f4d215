"""What Kapture calls back with. No page describes it, so whatever names a ticket is taken."""

from collections.abc import Mapping
from typing import Any

from helpdesk.intake.bodies import read_fields, read_json

_TICKET_ID = {"ticketid", "ticket_id", "ticket id", "ticket-id"}
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_MOST_LEVELS = 4


def ticket_ids_in(content_type: str, raw: bytes) -> tuple[str, ...]:
    """The ticket that a body names, at the top or in a block below it; empty where there is none.

    Raises RejectedError where the body cannot be read.
    """
    is_form = content_type.startswith(_FORMS)
    body = read_fields(content_type, raw).fields if is_form else read_json(raw)
    ticket_id = _ticket_id_in(body, _MOST_LEVELS)
    return (ticket_id,) if ticket_id else ()


def address_check_in(query: Mapping[str, str]) -> tuple[str, str] | None:  # noqa: ARG001  # the port's
    """Always None: Kapture is not known to check an address before it calls it."""
    return None


def _ticket_id_in(body: Any, levels: int) -> str | None:
    if levels == 0:
        return None
    if not isinstance(body, dict | list):
        return None
    for name, value in body.items() if isinstance(body, dict) else ():
        if name.lower() in _TICKET_ID and isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).strip()
            # Ids are sent in a list with commas, and 0 means none.
            if text not in ("", "0") and len(text) <= 64 and not any(mark in text for mark in ", \t\r\n"):
                return text
    blocks = body.values() if isinstance(body, dict) else body[:10]
    return next(filter(None, (_ticket_id_in(block, levels - 1) for block in blocks)), None)
