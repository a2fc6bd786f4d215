"""What operators did by hand with single requests: an item of the table for each request, `by_hand#ID`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from helpdesk.models import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpdesk.store.table import Table

# As long as the ledger remembers a request.
_KEPT_S = 28 * 86400
_LONGEST = 300


class Interventions:
    """Remembers who did what, and why. Of the request itself it holds at most names of fields."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def note(self, request_id: str, words: str) -> None:
        """Adds what was done, as one line."""
        now = time.time()
        self._table.update(
            _key(request_id),
            sets={"expires_at": int(now + _KEPT_S)},
            appends={"history": [f"{now:.3f} {one_line(words)[:_LONGEST]}"]},
        )

    def forget(self, request_id: str) -> None:
        self._table.delete(_key(request_id))

    def of(self, request_id: str) -> Iterator[tuple[float, str]]:
        """What was done, and when; in seconds since the epoch."""
        for entry in self._table.get(_key(request_id)).get("history", ()):
            at, _, words = entry.partition(" ")
            yield float(at), words


def _key(request_id: str) -> str:
    return f"by_hand#{request_id}"
