"""Lists the tickets that are watched, in pages of as many as one get asks for.

    pk                                attention                    attention_at
    watch#<helpdesk>#<id>             watch#<helpdesk>#<shard>     when it is due
    asked#<helpdesk>#<ticket_id>      watch#<helpdesk>#<shard>     when it was asked for: lists one ticket
    request#<request_id>              watch#<helpdesk>#<shard>     when it ended: lists its own, new ticket

A page holds `tickets`, a list of [ticket_id, state, since]. It is never written again: the next look puts
another in its place. A request that has made a ticket lists it by its own item, in the write that ends it;
the first look takes it from there, or from where it was asked for, into a page. Those items stay, out of the
index, so that a ticket which is asked for again and again is listed once. The index is sharded, since
DynamoDB takes only so many writes under one name.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpdesk.store.table import ConditionError, table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_INDEX = "attention"
_SHARDS = 8
# DynamoDB takes a hundred writes in one transaction.
MOST_PAGES_AT_ONCE = 99


@dataclass(frozen=True)
class Watched:
    """One ticket; `state` is empty until it has been looked at. `since` is in seconds since the epoch."""

    ticket_id: str
    state: str
    since: int


@dataclass(frozen=True)
class Page:
    """Tickets that are due together. `due` also tells whether somebody else has looked at them since."""

    key: str
    under: str
    due: str
    tickets: tuple[Watched, ...]

    @property
    def stays(self) -> bool:
        """Whether its item stays when its ticket has moved into a page."""
        return not self.key.startswith("watch#")


def watched_under(helpdesk: str, key: str) -> str:
    """The index's name for an item of this key."""
    return f"watch#{helpdesk}#{zlib.crc32(key.encode()) % _SHARDS}"


class Watchlist:
    """The pages of all helpdesks. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(
        self, client: "DynamoDBClient", table: str, *, keep_days: int, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._table = table
        self._keep_s = keep_days * 86400
        self._clock = clock

    def add(self, helpdesk: str, ticket_ids: Sequence[str]) -> None:
        """Watches tickets from now on; those that were asked for before are watched already."""
        for ticket_id in ticket_ids:
            new = Watched(ticket_id, "", int(self._clock()))
            item = self._item(helpdesk, _asked_key(helpdesk, ticket_id), [new], self._clock())
            with suppress(ConditionError), table_asked():
                self._client.put_item(
                    TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(pk)"
                )

    def forget(self, helpdesk: str, ticket_ids: Sequence[str]) -> None:
        """Lets tickets that are watched no more be asked for again."""
        for ticket_id in ticket_ids:
            with table_asked():
                self._client.delete_item(
                    TableName=self._table, Key={"pk": {"S": _asked_key(helpdesk, ticket_id)}}
                )

    def due(self, helpdesk: str, most: int) -> list[Page]:
        """Pages that it is time to look at, up to about `most`, the longest waiting of each shard first."""
        return [page for shard in range(_SHARDS) for page in self._due_in(helpdesk, shard, most // _SHARDS)]

    def _due_in(self, helpdesk: str, shard: int, most: int) -> Iterator[Page]:
        under = f"watch#{helpdesk}#{shard}"
        with table_asked():
            found = self._client.query(
                TableName=self._table,
                IndexName=_INDEX,
                KeyConditionExpression="attention = :under AND attention_at <= :now",
                ExpressionAttributeValues={":under": {"S": under}, ":now": {"N": repr(self._clock())}},
                Limit=max(most, 1),
            )
        for item in found["Items"]:
            yield Page(item["pk"]["S"], under, item["attention_at"]["N"], _tickets_in(item))

    def replace(self, helpdesk: str, pages: Sequence[Page], kept: Sequence[Watched], due: float) -> bool:
        """Puts one page in the place of some, all at once; without tickets, none.

        False where somebody else has looked at one of them in the meantime: then nothing is written.
        """
        writes: list[TransactWriteItemTypeDef] = []
        for page in pages:
            where: Any = {"TableName": self._table, "Key": {"pk": {"S": page.key}}} | _unchanged(page)
            if page.stays:
                where["UpdateExpression"] = "REMOVE attention, attention_at"
            writes.append({"Update": where} if page.stays else {"Delete": where})
        if kept:
            # No other page has this name: its first ticket is in no other that is due at this moment.
            key = f"watch#{helpdesk}#{kept[0].ticket_id}@{due:.3f}"
            writes.append({"Put": {"TableName": self._table, "Item": self._item(helpdesk, key, kept, due)}})
        with suppress(ConditionError), table_asked():
            self._client.transact_write_items(TransactItems=writes)
            return True
        return False

    def _item(self, helpdesk: str, key: str, tickets: Sequence[Watched], due: float) -> Any:
        rows = [[one.ticket_id, one.state, one.since] for one in tickets]
        return {
            "pk": {"S": key},
            "attention": {"S": watched_under(helpdesk, key)},
            "attention_at": {"N": repr(due)},
            "tickets": {"S": json.dumps(rows, separators=(",", ":"))},
            "expires_at": {"N": str(int(self._clock() + self._keep_s))},
        }


def _asked_key(helpdesk: str, ticket_id: str) -> str:
    return f"asked#{helpdesk}#{ticket_id}"


def _unchanged(page: Page) -> dict[str, Any]:
    return {
        "ConditionExpression": "attention = :under AND attention_at = :due",
        "ExpressionAttributeValues": {":under": {"S": page.under}, ":due": {"N": page.due}},
    }


def _tickets_in(item: Any) -> tuple[Watched, ...]:
    if "tickets" in item:
        rows = json.loads(item["tickets"]["S"])
        return tuple(Watched(ticket_id, state, since) for ticket_id, state, since in rows)
    return (Watched(item["ticket_id"]["S"], "", int(float(item["attention_at"]["N"]))),)
