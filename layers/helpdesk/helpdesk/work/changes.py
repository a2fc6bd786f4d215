"""Publishes changes of tickets that no request of ours made, each once and in order.

    pk                               state      number   looks    pending             pending_until   again
    change#<helpdesk>#<ticket_id>    a digest   counts   counts   published fields    a time          a flag

Whoever reads a ticket in a new state first writes the change with the next number, and then publishes it.
The write is conditional: since before that read, nobody may have written a change (`number`) or seen the old
state (`looks`). `pending` holds a change that is not yet published, and nobody else publishes changes of
this ticket meanwhile. After `pending_until` its publisher is dead: the next publisher first publishes that
change, as the same event. A process that has to wait and has seen another state sets `again`, and the
publisher then reads the ticket once more.

The number is part of the event's id: a ticket that returns to an earlier state has changed again.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from helpdesk.errors import UnavailableError
from helpdesk.models import Identity, Outcome, OutcomeKind, Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.topic import Topic
from helpdesk.store.table import ConditionError, Item, Table, Values

# Longer than any function that publishes changes may run: so none publishes after its time.
_PENDING_S = 70
_PUBLISHED_FIELDS = {"helpdesk", "ticket_id", "url", "status", "sub_status", "queue", "priority", "assignee"}
_PUBLISHED_FIELDS |= {"closed_by"}


class OvertakenError(UnavailableError):
    """Another process publishes a change of the ticket, or did so since our read: read the ticket again."""


class Mark(NamedTuple):
    """What was published of a ticket before we read it; nothing if `state` is None."""

    state: str | None = None
    number: int = 0
    looks: int = 0
    pending: str | None = None
    pending_until: float = 0.0


class Published(NamedTuple):
    """The result of publishing a ticket's state."""

    # The id of the change, if there was one.
    request_id: str | None = None
    # Another process saw another state while we published, and left it to us.
    poll_again: bool = False


class ChangePublisher:
    """Publishes `ticket.changed` if a ticket's state differs from the one published last."""

    def __init__(self, parts: BaseParts, table: Table) -> None:
        settings = parts.settings
        self._table = table
        self._topic = Topic(parts.clients.sns, settings.outcomes_topic_arn)
        # An item outlives the watch of its ticket.
        self._keep_s = 2 * settings.ledger_days * 86400
        self._with_raw = settings.changes_with_raw
        self._clock = parts.clock

    def marks(self, helpdesk: str, ticket_ids: Sequence[str]) -> dict[str, Mark]:
        """What was published of each ticket; read this before the tickets. Raises UnavailableError."""
        items = self._table.get_many([_key(helpdesk, ticket_id) for ticket_id in ticket_ids])
        return {ticket_id: _mark_in(items.get(_key(helpdesk, ticket_id), {})) for ticket_id in ticket_ids}

    def publish_if_changed(self, ticket: Ticket, before: Mark) -> Published:
        """Publishes a change at least once, always as the same event.

        Raises:
            OvertakenError: another process publishes, or has published since `before`, and may know more.
            UnavailableError: the table or the topic does not answer. A numbered change is published later.
        """
        key, state = _key(ticket.helpdesk, ticket.ticket_id), state_of(ticket)
        if before.pending is not None:
            self._take_over(key, before, state)
            left = ticket if before.state == state else Ticket.model_validate_json(before.pending)
            published = self._publish(key, left, before.number)
            if before.state == state or published.poll_again:
                return published
        if before.state == state:
            self._write(key, before, state, {"looks": before.looks + 1})
            return Published()
        self._write(
            key,
            before,
            state,
            {
                "state": state,
                "number": before.number + 1,
                "pending": ticket.model_dump_json(include=_PUBLISHED_FIELDS, exclude_none=True),
                "pending_until": self._pending_until(),
                "expires_at": self._expires_at(),
            },
        )
        return self._publish(key, ticket, before.number + 1)

    def set_baseline(self, ticket: Ticket) -> None:
        """Remembers a ticket's state without publishing it; later changes are compared with it.

        Raises:
            OvertakenError: a state of the ticket is known already.
            UnavailableError: the table does not answer.
        """
        state = state_of(ticket)
        sets: Values = {"state": state, "number": 0, "expires_at": self._expires_at()}
        self._write(_key(ticket.helpdesk, ticket.ticket_id), Mark(), state, sets)

    def _write(self, key: str, before: Mark, shown: str, sets: Values) -> None:
        """Writes if nobody has published or confirmed a state since `before`; else raises OvertakenError.

        If another process is publishing another state than `shown`, it is asked to read the ticket again.
        """
        seen = {"number": before.number if before.state else None, "looks": before.looks or None}
        try:
            self._table.update(key, sets=sets, expected=seen)
        except ConditionError as refusal:
            now = _mark_in(refusal.item)
            if now.pending is not None and now.state != shown:
                self._leave_to_its_publisher(key, now)
            raise OvertakenError("overtaken", "a change of the ticket has been published since") from refusal

    def _take_over(self, key: str, before: Mark, shown: str) -> None:
        """Takes over the change of a dead publisher. Raises OvertakenError if the publisher may be alive."""
        try:
            if self._clock() >= before.pending_until:
                seen = {"number": before.number, "pending_until": before.pending_until}
                self._table.update(key, sets={"pending_until": self._pending_until()}, expected=seen)
                return
            if before.state != shown:
                self._leave_to_its_publisher(key, before)
        except ConditionError:
            # The publisher is done, or another process has taken over.
            pass
        raise OvertakenError("being_told", "a change of the ticket is being published")

    def _leave_to_its_publisher(self, key: str, mark: Mark) -> None:
        """Asks the publisher to read the ticket again, unless it is done."""
        with suppress(ConditionError):
            self._table.update(
                key,
                sets={"again": True},
                condition="#number = :number AND attribute_exists(pending)",
                values={"number": mark.number},
            )

    def _publish(self, key: str, ticket: Ticket, number: int) -> Published:
        """Publishes a numbered change, and remembers that."""
        # The helpdesk's own fields hold more of the customer than a receiver needs.
        shown = ticket if self._with_raw else ticket.model_copy(update={"raw": None})
        change = _change(shown, state_of(ticket), number)
        mine = {"number": number}
        if self._topic.publish([change]):
            # The next publisher need not wait.
            with suppress(UnavailableError):
                self._table.update(key, sets={"pending_until": 0}, expected=mine)
            raise UnavailableError("topic_unavailable", "the topic does not take the change")
        poll_again = False
        removes = ("pending", "pending_until", "again")
        # If the table does not answer, the same event is published again later.
        with suppress(UnavailableError):
            try:
                self._table.update(key, removes=removes, expected={**mine, "again": None})
            except ConditionError:
                poll_again = True
                self._table.update(key, removes=removes, expected=mine)
        return Published(change.identity.request_id, poll_again)

    def _pending_until(self) -> float:
        return self._clock() + _PENDING_S

    def _expires_at(self) -> int:
        return int(self._clock() + self._keep_s)


def _mark_in(item: Item) -> Mark:
    return Mark(
        state=item.get("state"),
        number=int(item.get("number", 0)),
        looks=int(item.get("looks", 0)),
        pending=item.get("pending"),
        pending_until=item.get("pending_until", 0.0),
    )


def _key(helpdesk: str, ticket_id: str) -> str:
    return f"change#{helpdesk}#{ticket_id}"


def state_of(ticket: Ticket) -> str:
    """Equal for two reads of a ticket between which no published field has changed."""
    sub_status = ticket.sub_status
    published = [
        ticket.status,
        sub_status and sub_status.key,
        sub_status and sub_status.name,
        ticket.queue,
        ticket.priority,
        ticket.assignee,
    ]
    return hashlib.sha256(json.dumps(published).encode()).hexdigest()[:16]


def _change(ticket: Ticket, state: str, number: int) -> Outcome:
    identity = Identity(
        request_id=f"change:{ticket.ticket_id}:{number}:{state}", helpdesk=ticket.helpdesk, operation=None
    )
    return Outcome(
        identity=identity,
        kind=OutcomeKind.SUCCEEDED,
        changed=True,
        ticket_id=ticket.ticket_id,
        ticket_url=ticket.url,
        tickets=(ticket,),
    )
