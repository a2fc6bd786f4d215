"""What Kapture calls back with. No page describes it, so whatever names a ticket is taken."""

from typing import Any

_TICKET_ID = {"ticketid", "ticket_id", "ticket id", "ticket-id"}
_MOST_LEVELS = 4


def ticket_id_in(body: Any, levels: int = _MOST_LEVELS) -> str | None:
    """The ticket's id, at the top or in a block below it; None where there is none."""
    if levels == 0:
        return None
    if isinstance(body, list):
        return next((found for one in body[:10] if (found := ticket_id_in(one, levels - 1))), None)
    if not isinstance(body, dict):
        return None
    for name, value in body.items():
        if name.lower() in _TICKET_ID and isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).strip()
            # It goes into a list with commas between, and 0 stands for none.
            if text not in ("", "0") and len(text) <= 64 and not any(mark in text for mark in ", \t\r\n"):
                return text
    blocks = (value for value in body.values() if isinstance(value, dict | list))
    return next((found for one in blocks if (found := ticket_id_in(one, levels - 1))), None)
