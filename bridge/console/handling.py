"""What a person does about requests: finds them, reads their stories, corrects, sends again and drops them.

The same as on the command line, by the same bridge/operating. Each model is what the page posts; `on` does
it, and returns what JSON can hold. A copy's text, which is its customers', is in a draft only. What is sent
is named in `sent`, for the list of the latest requests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import BridgeError
from bridge.operating import finding
from bridge.operating.finding import WORTH_SAYING, Search
from bridge.operating.operations import Selection
from bridge.operating.parked import count_requests, counted, entries_of
from bridge.operating.words import STATES
from bridge.plain import as_argument
from bridge.stacks import queues
from helpdesk.errors import FieldProblem, RejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.operating.operations import Listing, Operations, ParkedCopy


# Each search reads the dead-letter queue too, and hides its copies from others meanwhile.
_MANY_PARKED = 100


class Act(BaseModel, ABC):
    """Something to do about requests. Raises BridgeError, HelpdeskError or what botocore raises."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @abstractmethod
    def on(self, operations: Operations) -> dict[str, Any]:
        """Does it, and returns what came of it."""


def story(operations: Operations, request_id: str) -> dict[str, Any]:
    """The story of a request, `at` in seconds since the epoch; and the command that tells it anywhere."""
    command = operations.target.command(f"trace {as_argument(request_id)}")
    return {**asdict(operations.trace(request_id)), "command": command}


class Price(Act):
    """What finding costs, where that is so much that a person says first that it is meant."""

    def on(self, operations: Operations) -> dict[str, Any]:
        size, dollars = finding.price(operations.target)
        parked = queues.count(operations.target.sqs, operations.target.dead_letter_queue_url)
        words = [finding.price_in_words(size, dollars)] if size > WORTH_SAYING else []
        words += [f"{parked} parked copies"] if parked > _MANY_PARKED else []
        return {"is_high": bool(words), "words": " and ".join(words)}


class Find(Act):
    """The filters of `bridge requests`; what is None does not matter."""

    source: str | None = None
    reference: str | None = None
    ticket_id: str | None = None
    helpdesk: str | None = None
    state: str | None = None
    since: str | None = None
    most: int = Field(100, ge=1, le=1000)

    def on(self, operations: Operations) -> dict[str, Any]:
        search = self._search(operations)
        found = finding.find(operations, search, self.most)
        return {
            "requests": [asdict(request) for request in found],
            "may_be_more": len(found) == self.most,
            # For the page's address: 2h is another moment for who opens it later.
            "since": finding.in_utc(search.since) if self.since else None,
        }

    def _search(self, operations: Operations) -> Search:
        # A name with a slip in it finds nothing, and says so nowhere.
        known = {"helpdesk": operations.helpdesks, "state": tuple(STATES)}
        problems = [
            FieldProblem(name, f"is none of {', '.join(names)}")
            for name, names in known.items()
            if getattr(self, name) not in (None, *names)
        ]
        since = 0.0
        try:
            since = finding.moment(self.since) if self.since else since
        except ValueError as error:
            problems.append(FieldProblem("since", str(error)))
        if problems:
            raise RejectedError("invalid_request", "Nothing was searched", tuple(problems))
        names = ("source", "reference", "ticket_id", "helpdesk", "state")
        return Search(**{name: getattr(self, name) for name in names}, since=since)


class Parked(Act):
    """What is parked, or what is of one request."""

    request_id: str | None = None

    def on(self, operations: Operations) -> dict[str, Any]:
        listing, selection = operations.parked(), Selection(request_id=self.request_id)
        copies = [
            _without_body(copy) | {"count": count}
            for copy, count in entries_of(listing.copies)
            if selection.has(copy)
        ]
        return {"copies": copies, "hidden": listing.hidden}


class Draft(Act):
    """The text of a parked request, for a person who corrects it."""

    request_id: str
    code: str | None = None

    def on(self, operations: Operations) -> dict[str, Any]:
        draft = operations.draft(self.request_id, self.code)
        return {"message_id": draft.copy.message_id, "text": draft.text}


class Correct(Act):
    """A draft as it was corrected. Raises RejectedError, which names every field that is wrong."""

    request_id: str
    code: str | None = None
    message_id: str
    text: str

    def on(self, operations: Operations) -> dict[str, Any]:
        draft = operations.draft(self.request_id, self.code, self.message_id)
        sent = operations.correct(draft, self.text)
        return {
            **asdict(sent),
            "words": sent.in_words(self.request_id),
            "sent": [_sent(draft.copy) | {"request_id": sent.request_id}],
        }


class Redrive(Act):
    """Sends parked requests through the queue again, or with `dry_run` only lists them."""

    dry_run: bool
    code: str | None = None
    source: str | None = None
    request_id: str | None = None
    # Those that a dry run has shown; what is parked meanwhile stays.
    message_ids: list[str] | None = None

    def on(self, operations: Operations) -> dict[str, Any]:
        listed: list[ParkedCopy] = []
        listing = operations.redrive(self._selection, report=listed.append, dry_run=self.dry_run)
        sent = [] if self.dry_run else [_sent(copy) for copy in listed]
        return {**self._acted_on(listed, listing), "sent": sent}

    @property
    def _selection(self) -> Selection:
        seen = None if self.message_ids is None else frozenset(self.message_ids)
        return Selection(self.code, self.source, self.request_id, seen)

    def _acted_on(self, copies: Sequence[ParkedCopy], listing: Listing) -> dict[str, Any]:
        meant = [copy for copy in listing.copies if self._selection.has(copy)]
        return {
            "count": count_requests(copies),
            "counted": counted(copies),
            "copies": [_without_body(copy) | {"count": count} for copy, count in entries_of(copies)],
            "message_ids": [copy.message_id for copy in meant],
            # Of all that are meant, which is what a drop would take.
            "all": count_requests(meant),
            "left_out": count_requests(filter(self._selection.leaves_out, meant)),
            "hidden": listing.hidden,
        }


class Drop(Redrive):
    """Deletes parked copies for good, or with `dry_run` only lists them."""

    why: str

    def on(self, operations: Operations) -> dict[str, Any]:
        if not (self.dry_run or self.why.strip()):
            raise BridgeError("Say why: it is remembered")
        listed: list[ParkedCopy] = []
        listing = operations.drop(self._selection, self.why, report=listed.append, dry_run=self.dry_run)
        return self._acted_on(listed, listing)


# By the name of the address to which it is posted. What reads hides copies from others for a moment, or costs
# something, so it is no GET.
ACTS: dict[str, type[Act]] = {
    "price": Price,
    "find": Find,
    "parked": Parked,
    "draft": Draft,
    "correct": Correct,
    "redrive": Redrive,
    "drop": Drop,
}


def _sent(copy: ParkedCopy) -> dict[str, str | None]:
    names = ("operation", "helpdesk", "source")
    return {"request_id": copy.request_id, **{name: copy.attributes.get(name) for name in names}}


def _without_body(copy: ParkedCopy) -> dict[str, Any]:
    known = copy.attributes
    return {
        "request_id": copy.request_id,
        "code": copy.code,
        "source": copy.source,
        "operation": known.get("operation", ""),
        "helpdesk": known.get("helpdesk", ""),
        "attempts": known.get("attempts", "0"),
        "may_have_happened": copy.may_have_happened,
        "why": copy.why,
    }
