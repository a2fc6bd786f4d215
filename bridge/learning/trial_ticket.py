"""The test tickets of a run: their texts can be recognised, whatever an account makes of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helpdesk.clients.markers import with_marker
from helpdesk.models import NewTicket

if TYPE_CHECKING:
    from collections.abc import Mapping

# What HTML escapes stands in each of them.
_TITLE = 'Test {key} by bridge learn: please close, it\'s 1 of 2 & "nothing" else'
_DETAILS = 'Made by {key} bridge learn of Ticket Bridge, which isn\'t more than a test: 1 < 2 & "3".'
_NAME = "Bridge & 'Learn' {key}"
_COMMENT = 'Written by {key} bridge learn: it\'s a test & "nothing" else'


def _marker() -> str:
    """In the form of ours; no deployment knows its key, so no audit takes it for a request's."""
    return f"tb-{secrets.token_hex(16)}"


@dataclass(frozen=True)
class TrialTicket:
    """The texts of one run. `more` are fields that the account needs besides, as a request has them."""

    marker_field: str
    more: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=lambda: secrets.token_hex(5))
    markers: Mapping[str, str] = field(default_factory=lambda: {"title": _marker(), "details": _marker()})
    extra_marker: str = field(default_factory=_marker)

    @property
    def texts(self) -> dict[str, tuple[str, str]]:
        """By field the text that is sent, without its marker, and the part by which it is recognised."""
        wholes = {"title": _TITLE, "details": _DETAILS, "name": _NAME, "comment": _COMMENT}
        keys = {name: f"{self.key}{name[0]}" for name in wholes}
        return {name: (text.format(key=keys[name]), keys[name]) for name, text in wholes.items()}

    @property
    def marked(self) -> dict[str, str]:
        """The marker of each field that has one."""
        is_extra = self.marker_field.startswith(("extra:", "custom_field:"))
        return {**self.markers, **({self.marker_field: self.extra_marker} if is_extra else {})}

    @property
    def ticket(self) -> NewTicket:
        """The ticket, with a marker in its title and one in its details."""
        texts = {name: text for name, (text, _) in self.texts.items()}
        requester = {"name": texts["name"], **self.more.get("requester", {})}
        fields = {**self.more, "title": texts["title"], "details": texts["details"], "requester": requester}
        ticket = NewTicket.model_validate(fields)
        for name, marker in self.markers.items():
            ticket = with_marker(ticket, marker, name)
        return ticket
