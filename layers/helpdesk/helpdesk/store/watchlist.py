"""Lists the watched tickets, in pages. A page holds as many tickets as one get call asks for.

    pk                                attention                    attention_at
    watch#<helpdesk>#<id>             watch#<helpdesk>#<shard>     when it is due
    asked#<helpdesk>#<ticket_id>      watch#<helpdesk>#<shard>     when a request asked for it: one ticket
    request#<request_id>              watch#<helpdesk>#<shard>     when it ended: its own, new ticket

A page holds `tickets`, a list of [ticket_id, state, since]. A page is never updated: the next poll replaces
it. A request that creates a ticket lists it in its own item, with the write that ends the request. The first
poll moves such a ticket, and one from an `asked#` item, into a page. The old item stays but leaves the index,
so a ticket that requests ask for again is still listed once. The index has shards because DynamoDB limits
the writes under one name.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from helpdesk.store.table import ConditionError, Item, Table, Values

_SHARDS = 8
# DynamoDB takes a hundred writes in one transaction.
MOST_PAGES_AT_ONCE = 99


class Watched(NamedTuple):
    """One ticket; `state` is empty until the first poll. `since` is in seconds since the epoch."""

    ticket_id: str
    state: str
    since: int


class Page(NamedTuple):
    """Tickets that are due together. `due` also serves as a version: each poll changes it."""

    key: str
    under: str
    due: float
    tickets: tuple[Watched, ...]

    @property
    def stays(self) -> bool:
        """Whether the item stays when its ticket moves into a page."""
        return not self.key.startswith("watch#")


def watched_under(helpdesk: str, key: str) -> str:
    """The name under which the index lists the item of this key."""
    return f"watch#{helpdesk}#{zlib.crc32(key.encode()) % _SHARDS}"


class Watchlist:
    """The pages of all helpdesks. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(self, table: Table, *, keep_days: int, clock: Callable[[], float]) -> None:
        self._table = table
        self._keep_s = keep_days * 86400
        self._clock = clock

    def add(self, helpdesk: str, ticket_ids: Sequence[str]) -> None:
        """Watches tickets from now on, unless they are watched already."""
        for ticket_id in ticket_ids:
            new = Watched(ticket_id, "", int(self._clock()))
            item = self._item(helpdesk, _asked_key(helpdesk, ticket_id), [new], self._clock())
            with suppress(ConditionError):
                self._table.put(item, expected={"pk": None})

    def forget(self, helpdesk: str, ticket_ids: Sequence[str]) -> None:
        """Allows tickets to be added again that are no longer watched."""
        for ticket_id in ticket_ids:
            self._table.delete(_asked_key(helpdesk, ticket_id))

    def due(self, helpdesk: str, most: int) -> list[Page]:
        """Pages whose time has come, up to about `most`; each shard's oldest first."""
        return [page for shard in range(_SHARDS) for page in self._due_in(helpdesk, shard, most // _SHARDS)]

    def _due_in(self, helpdesk: str, shard: int, most: int) -> Iterator[Page]:
        under = f"watch#{helpdesk}#{shard}"
        condition = "attention = :under AND attention_at <= :now"
        for item in self._table.query(condition, {"under": under, "now": self._clock()}, max(most, 1)):
            yield Page(item["pk"], under, item["attention_at"], _tickets_in(item))

    def replace(self, helpdesk: str, pages: Sequence[Page], kept: Sequence[Watched], due: float) -> bool:
        """Replaces some pages by one in a transaction; by none if no tickets are kept.

        False if another run has replaced a page in the meantime: then nothing is written.
        """
        with suppress(ConditionError), self._table.transaction() as together:
            for page in pages:
                unchanged: Values = {"attention": page.under, "attention_at": page.due}
                if page.stays:
                    together.update(page.key, removes=("attention", "attention_at"), expected=unchanged)
                else:
                    together.delete(page.key, expected=unchanged)
            if kept:
                # The name is unique: no other page with this first ticket is due at this moment.
                key = f"watch#{helpdesk}#{kept[0].ticket_id}@{due:.3f}"
                together.put(self._item(helpdesk, key, kept, due))
            return True
        return False

    def _item(self, helpdesk: str, key: str, tickets: Sequence[Watched], due: float) -> Values:
        rows = [[ticket.ticket_id, ticket.state, ticket.since] for ticket in tickets]
        return {
            "pk": key,
            "attention": watched_under(helpdesk, key),
            "attention_at": due,
            "tickets": json.dumps(rows, separators=(",", ":")),
            "expires_at": int(self._clock() + self._keep_s),
        }


def _asked_key(helpdesk: str, ticket_id: str) -> str:
    return f"asked#{helpdesk}#{ticket_id}"


def _tickets_in(item: Item) -> tuple[Watched, ...]:
    if "tickets" in item:
        rows = json.loads(item["tickets"])
        return tuple(Watched(ticket_id, state, since) for ticket_id, state, since in rows)
    return (Watched(item["ticket_id"], "", int(item["attention_at"])),)
