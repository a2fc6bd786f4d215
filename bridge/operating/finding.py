"""Finds requests: in the ledger, and in the dead-letter queue those that the ledger has nothing of.

The ledger's keys are ids of requests, and it has no index of anything else, because that would be a further
write for each request. So a search reads the whole table: half a read unit for each 4 KB, whatever it finds.
"""

from __future__ import annotations

import heapq
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.operating.words import STATES, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.operating.operations import Operations, ParkedCopy
    from bridge.stacks.target import Target
    from helpdesk.store.ledger import Receipt

# us-east-1, on demand: $0.125 for a million read units, each of which reads 8 KB.
_DOLLARS_A_BYTE = 0.125e-6 / 8192
# Smaller ledgers are read at once, for nothing.
WORTH_SAYING = 1_000_000
# What people say of a moment.
WHEN = "2h, 3d, or 2026-12-31T09:00:00Z"
_AGO = re.compile(r"(\d{1,6}) ?(s|min|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Search:
    """Which requests are meant; what is None or 0 does not matter. `since` is in seconds since the epoch."""

    source: str | None = None
    reference: str | None = None
    ticket_id: str | None = None
    helpdesk: str | None = None
    state: str | None = None
    since: float = 0.0


@dataclass(frozen=True)
class Found:
    """A request; `at` is when it was last touched."""

    request_id: str
    state: str
    at: float
    operation: str | None = None
    helpdesk: str | None = None
    source: str | None = None
    reference: str | None = None
    ticket_id: str | None = None
    ticket_url: str | None = None
    code: str | None = None


def moment(words: str) -> float:
    """What people say of a moment, in seconds since the epoch. Raises ValueError with what is wrong."""
    if ago := _AGO.fullmatch(words):
        return time.time() - int(ago[1]) * _SECONDS[ago[2]]
    try:
        said = datetime.fromisoformat(words)
    except ValueError:
        said = None
    if said is None or said.tzinfo is None:
        raise ValueError(f"{words} is neither 2h, 30min, 3d nor a moment as 2026-12-31T09:00:00Z")
    return said.timestamp()


def in_utc(seconds: float) -> str:
    """A moment as people may say it, so that it means the same later and elsewhere."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def price(target: Target) -> tuple[int, float]:
    """About how many bytes a search reads, and what that costs in us-east-1. AWS counts every six hours."""
    size = target.dynamodb.describe_table(TableName=target.ledger_table)["Table"].get("TableSizeBytes", 0)
    return size, size * _DOLLARS_A_BYTE


def price_in_words(size: int, dollars: float) -> str:
    """The same for people."""
    return f"{size / 1e6:,.0f} MB of the ledger, for about ${dollars:.4f}"


def find(operations: Operations, search: Search, most: int) -> list[Found]:
    """The requests that are meant, at most so many, the latest first."""
    attributes = {
        name: value
        for name in ("source", "reference", "helpdesk")
        if (value := getattr(search, name)) is not None
    } | STATES.get(search.state or "", {})
    receipts = operations.ledger.all(search.since, search.ticket_id or "", **attributes)
    found = {known.request_id: known for known in _latest(map(_of_ledger, receipts), most)}
    for parked in _parked(operations, search):
        found.setdefault(parked.request_id, parked)
    return _latest(iter(found.values()), most)


def _latest(found: Iterator[Found], most: int) -> list[Found]:
    return heapq.nlargest(most, found, key=lambda request: request.at)


def _parked(operations: Operations, search: Search) -> Iterator[Found]:
    if search.state not in (None, "rejected", "parked"):
        return
    for copy in operations.parked().copies:
        found = _of_copy(operations, copy)
        names = ("source", "reference", "helpdesk", "ticket_id", "state")
        wanted = [(getattr(search, name), getattr(found, name)) for name in names]
        if found.at >= search.since and all(want in (None, has) for want, has in wanted):
            yield found


def _of_ledger(receipt: Receipt) -> Found:
    outcome, identity = receipt.outcome, receipt.identity
    return Found(
        identity.request_id,
        state_of(receipt),
        receipt.updated_at,
        identity.operation,
        identity.helpdesk,
        identity.source,
        identity.reference,
        outcome.ticket_id if outcome and outcome.ticket_id else receipt.claim.target,
        outcome.ticket_url if outcome else None,
        outcome.code if outcome else None,
    )


def _of_copy(operations: Operations, copy: ParkedCopy) -> Found:
    request, identity = operations.read(copy)
    return Found(
        copy.request_id,
        copy.attributes.get("class", "parked"),
        copy.sent_at,
        identity.operation,
        identity.helpdesk,
        identity.source,
        identity.reference,
        getattr(request, "ticket_id", None),
        code=copy.code,
    )
