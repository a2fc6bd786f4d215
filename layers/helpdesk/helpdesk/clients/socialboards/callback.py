"""Socialboards' callbacks: its webhooks, and the check of a new end-point.

Facts are from the pages Create Endpoint, Webhook Payload and those of the events. Their samples disagree: one
has no ticket in its envelope, one names two different tickets, and one lacks a comma.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from helpdesk.errors import RejectedError
from helpdesk.intake.bodies import mapping, read_json

# In a text that is no JSON: the envelope's ticket, and an event's ticket by the address of its inbox.
_NAMED = re.compile(r'"ticketid"\s*:\s*"?(\d{1,20})\b|[?&]ticketid=(\d{1,20})\b', re.IGNORECASE)
_CHALLENGE = re.compile(r"[\w.-]{1,128}", re.ASCII)
# As many as one get of Socialboards shows.
_MOST_TICKETS = 50


def ticket_ids_in(content_type: str, raw: bytes) -> tuple[str, ...]:  # noqa: ARG001  # the port's
    """Every ticket that a webhook names: nothing says which of them is meant.

    A text that is no JSON is searched for ids, since sending it again would not mend it. Raises RejectedError
    where there are none.
    """
    try:
        return _usable(_ids_in(read_json(raw)))
    except RejectedError:
        matches = _NAMED.finditer(raw.decode(errors="replace"))
        ids = _usable(match[1] or match[2] for match in matches)
        if not ids:
            raise
        return ids


def address_check_in(query: Mapping[str, str]) -> tuple[str, str] | None:
    """The verify token, and the challenge that shows that we have it; None where either is missing."""
    named = {name.lower(): value for name, value in query.items()}
    token, challenge = named.get("verifytoken"), named.get("challenge", "")
    return (token, challenge) if token and _CHALLENGE.fullmatch(challenge) else None


def _ids_in(body: Any) -> Iterator[str]:
    webhook = _folded(body)
    yield str(webhook.get("ticketid"))
    events = webhook.get("events")
    for event in events if isinstance(events, list) else []:
        yield str(_folded(_folded(event).get("ticket")).get("id"))


def _folded(value: Any) -> dict[str, Any]:
    # Webhooks print their keys in another case than the API.
    return {str(name).lower(): inner for name, inner in mapping(value).items()}


def _usable(ids: Iterator[str]) -> tuple[str, ...]:
    numbers = (text for text in ids if text.isdecimal() and len(text) <= 20 and int(text))
    return tuple(dict.fromkeys(numbers))[:_MOST_TICKETS]
