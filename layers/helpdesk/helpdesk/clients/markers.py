"""A marker in each ticket that we add: by it we find the ticket again when the helpdesk's reply is lost.

A marker is made from the request with a key that outsiders do not know, so nobody can forge one. They can
quote a marker that they have seen. Ours is the last one in its field, since we write it after all that comes
from outside; of several tickets that end with one marker the oldest is the request's own.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from helpdesk.errors import HelpdeskError
from helpdesk.models import NewTicket, Ticket

OFF = "off"
_CUSTOM_FIELD = "custom_field:"
# 96 bits name the request, 32 show that the marker is ours.
_NAME_DIGITS, _SEAL_DIGITS = 24, 8
_DIGITS = _NAME_DIGITS + _SEAL_DIGITS
# Markers of versions without a key.
_OLD_DIGITS, _OLD_SEAL_DIGITS = 16, 6
# In upper or lower case, and where a mail's line was broken behind the hyphen.
_MARKER = re.compile(
    rf"(?<![0-9a-z])tb-\s?((?:[0-9a-f]{{{_DIGITS}}})|(?:[0-9a-f]{{{_OLD_DIGITS}}}))(?![0-9a-z])",
    re.IGNORECASE,
)
# What may follow a marker at the end of its text, and what precedes one that is quoted in a mail.
_TAIL = re.compile(r"\]?(\s|<[^>]*>|&nbsp;)*")
_QUOTED = re.compile(r"\s*(>|&gt;)")


class Markers:
    """The markers of one deployment.

    `keys` gives the keys, the newest first: the newest writes markers, all recognise them. It may raise
    UnavailableError. `reread` reads the keys again. `old_seal` sealed the markers of versions without a key.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[bytes]],
        old_seal: str,
        reread: Callable[[], object] = lambda: None,
    ) -> None:
        self._keys = keys
        self._old_seal = old_seal
        self.reread = reread

    def prepare(self) -> None:
        """Reads the keys if this process has not read them yet; an error shows when a key is needed."""
        with suppress(HelpdeskError):
            self._keys()

    def of(self, helpdesk: str, request_id: str) -> str:
        """A request's marker: the same while the key is the same, practically never another request's."""
        key = self._keys()[0]
        name = _hmac(key, b"request", helpdesk.encode(), request_id.encode())[:_NAME_DIGITS]
        return f"tb-{name}{_sealed(key, name)}"

    def old_of(self, helpdesk: str, request_id: str) -> str:
        """The marker that versions without a key gave the request."""
        digits = hashlib.sha256(f"{helpdesk}#{request_id}".encode()).hexdigest()
        digits = digits[: _OLD_DIGITS - _OLD_SEAL_DIGITS]
        return f"tb-{digits}{self._old_sealed(digits)}"

    def is_ours(self, marker: str | None) -> bool:
        """Whether a marker is ours, and not a text of the same form."""
        if not marker:
            return False
        digits = marker.removeprefix("tb-")
        if len(digits) == _OLD_DIGITS:
            return digits.endswith(self._old_sealed(digits[:-_OLD_SEAL_DIGITS]))
        name = digits[:_NAME_DIGITS]
        return any(hmac.compare_digest(digits[_NAME_DIGITS:], _sealed(key, name)) for key in self._keys())

    def _old_sealed(self, digits: str) -> str:
        return hashlib.sha256(f"{self._old_seal}#{digits}".encode()).hexdigest()[:_OLD_SEAL_DIGITS]


def _hmac(key: bytes, *parts: bytes) -> str:
    # No part can hold the separator: ids are printable.
    return hmac.new(key, b"\0".join(parts), hashlib.sha256).hexdigest()


def _sealed(key: bytes, name: str) -> str:
    return _hmac(key, b"seal", name.encode())[:_SEAL_DIGITS]


def with_marker(ticket: NewTicket, marker: str, field: str) -> NewTicket:
    """The ticket with its marker in `field`: "details", "title", "extra:<name>" or "off"."""
    if field == "details":
        details = "\n\n".join(filter(None, (ticket.details, f"[{marker}]")))
        return ticket.model_copy(update={"details": details})
    if field == "title":
        return ticket.model_copy(update={"title": f"{ticket.title} [{marker}]"})
    if field.startswith("extra:"):
        return ticket.model_copy(update={"extra": ticket.extra | {field.removeprefix("extra:"): marker}})
    return ticket


def with_comment_marker(comment: str, marker: str) -> str:
    """The comment with its update's marker at its end."""
    return f"{comment}\n\n[{marker}]"


# ── reading them ─────────────────────────────────────────────────────────────────────────────────────────


def last_marker(text: str | None) -> str | None:
    """The last marker in a text: those before it are quoted."""
    digits = _MARKER.findall(text or "")
    return f"tb-{digits[-1].lower()}" if digits else None


def without_markers(text: str) -> str:
    """The text without its markers."""
    return _MARKER.sub("", text).replace("[]", "")


def marker_in(ticket: Ticket, field: str) -> str | None:
    """The marker in a field of a ticket, as the helpdesk shows the ticket."""
    if field == "details":
        return last_marker(ticket.details)
    if field == "title":
        return last_marker(ticket.title)
    return last_marker("\n".join(_texts_in(ticket.raw, field)))


def own_marker(ticket: Ticket, field: str) -> str | None:
    """The ticket's own marker: in `field`, or else where another setting would have put it."""
    markers = (marker_in(ticket, place) for place in dict.fromkeys((field, "details", "title")))
    return next(filter(None, markers), None)


def ends_with_marker(ticket: Ticket, field: str) -> bool:
    """Whether a marker stands where we write it: at the end, and in no line of a quoted mail."""
    if field not in ("details", "title"):
        return marker_in(ticket, field) is not None
    text = (ticket.details if field == "details" else ticket.title) or ""
    *_, last = [None, *_MARKER.finditer(text)]
    if last is None or not _TAIL.fullmatch(text, last.end()):
        return False
    return not _QUOTED.match(text[: last.start()].rpartition("\n")[2])


def oldest_first(tickets: Iterable[Ticket]) -> list[Ticket]:
    """By their creation, and by their ids where that is the same or unknown."""

    def age(ticket: Ticket) -> tuple[datetime, int, str]:
        return ticket.created_at or datetime.max.replace(tzinfo=UTC), len(ticket.ticket_id), ticket.ticket_id

    return sorted(tickets, key=age)


def _texts_in(raw: Any, field: str) -> Iterator[str]:
    """The texts of an extra field, wherever the helpdesk shows it."""
    if isinstance(raw, dict):
        for name, value in raw.items():
            if name.casefold() == field.removeprefix("extra:").casefold():
                yield from _all_texts(value)
        if "value" in raw and f"{_CUSTOM_FIELD}{raw.get('id')}" == field:
            yield from _all_texts(raw["value"])
    if isinstance(raw, dict | list):
        for value in raw.values() if isinstance(raw, dict) else raw:
            yield from _texts_in(value, field)


def _all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _all_texts(inner)
