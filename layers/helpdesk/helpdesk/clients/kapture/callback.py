"""What Kapture calls back with. No page describes it, so whatever names a ticket is taken."""

from collections.abc import Mapping
from typing import Any

from helpdesk.intake.bodies import read_fields, read_json

_TICKET_ID = {"ticketid", "ticket_id", "ticket id", "ticket-id"}
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_MOST_LEVELS = 4


def ticket_ids_in(content_type: str, raw: bytes) -> tuple[str, ...]:
    """The one ticket that a body names, at the top or in a block below it; empty where there is none.

    Raises RejectedError where the body cannot be read.
    """
    is_form = content_type.startswith(_FORMS)
    found = _ticket_id_in(read_fields(content_type, raw).fields if is_form else read_json(raw), _MOST_LEVELS)
    return (found,) if found else ()


def address_check_in(query: Mapping[str, str]) -> tuple[str, str] | None:  # noqa: ARG001  # the port's
    """Always None: Kapture is not known to check an address before it calls it."""
    return None


def _ticket_id_in(body: Any, levels: int) -> str | None:
    if levels == 0:
        return None
    if isinstance(body, list):
        return next((found for one in body[:10] if (found := _ticket_id_in(one, levels - 1))), None)
    if not isinstance(body, dict):
        return None
    for name, value in body.items():
        if name.lower() in _TICKET_ID and isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).strip()
            # It goes into a list with commas between, and 0 stands for none.
            if text not in ("", "0") and len(text) <= 64 and not any(mark in text for mark in ", \t\r\n"):
                return text
    blocks = (value for value in body.values() if isinstance(value, dict | list))
    return next((found for one in blocks if (found := _ticket_id_in(one, levels - 1))), None)
