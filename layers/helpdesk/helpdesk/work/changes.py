"""Tells changes that nobody asked for, each once and in order.

    pk                               state      number   looks    pending           pending_until   again
    change#<helpdesk>#<ticket_id>    a digest   counts   counts   the told fields   a time          asked for

A change takes its number by a conditional write, and is published after that: only one look gets a number,
and only where nothing has been told since before that look began, nor another look has found the old state
(`looks`). Until a change is published, its item says so by `pending`. Nobody else tells of the ticket
meanwhile. After `pending_until` its teller is dead: the next one publishes the change first, as the same
event. Whoever is kept waiting with another state leaves `again`, and the teller looks once more.

The number is part of the event's id: a ticket that comes back to an earlier state has changed again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import batched
from typing import Any

from helpdesk.errors import UnavailableError
from helpdesk.models import Identity, Outcome, OutcomeKind, Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.topic import Topic
from helpdesk.store.table import ConditionError, table_asked

# Longer than any function that tells changes may run: then none of them publishes late.
_PENDING_S = 70
# As many items as DynamoDB gives in one call.
_MOST_READ_AT_ONCE = 100
_TOLD_FIELDS = {"helpdesk", "ticket_id", "url", "status", "sub_status", "queue", "priority", "assignee"}
_TOLD_FIELDS |= {"closed_by"}


class OvertakenError(UnavailableError):
    """Somebody else tells of a ticket, or has told since the look: it has to be looked at again."""


@dataclass(frozen=True)
class Mark:
    """What has been told of a ticket, as it was before a look; nothing yet without a state."""

    state: str | None = None
    number: int = 0
    looks: int = 0
    pending: str | None = None
    pending_until: float = 0.0


@dataclass(frozen=True)
class Published:
    """What came of one look at a ticket."""

    # Of the change that was published, if any.
    request_id: str | None = None
    # Somebody has seen another state while this change was published, and has left it to us.
    look_again: bool = False


class ChangePublisher:
    """Publishes `ticket.changed` where a ticket's state is another than the one told last."""

    def __init__(self, parts: BaseParts) -> None:
        settings = parts.settings
        self._client = parts.clients.dynamodb
        self._table = settings.ledger_table
        self._topic = Topic(parts.clients.sns, settings.outcomes_topic_arn)
        # It outlives the watch of its ticket.
        self._keep_s = 2 * settings.ledger_days * 86400
        self._with_raw = settings.changes_with_raw
        self._clock = parts.clock

    def marks(self, helpdesk: str, ticket_ids: Sequence[str]) -> dict[str, Mark]:
        """What has been told of each ticket; to be read before a look. Raises UnavailableError."""
        keys = {_key(helpdesk, ticket_id): ticket_id for ticket_id in ticket_ids}
        found: dict[str, Mark] = {}
        for some in batched(keys, _MOST_READ_AT_ONCE, strict=False):
            wanted: Any = {"Keys": [{"pk": {"S": key}} for key in some], "ConsistentRead": True}
            with table_asked():
                answer = self._client.batch_get_item(RequestItems={self._table: wanted})
            if answer.get("UnprocessedKeys"):
                raise UnavailableError("ledger_unavailable", "the ledger has answered in part")
            found |= {keys[item["pk"]["S"]]: _mark_in(item) for item in answer["Responses"][self._table]}
        return {ticket_id: found.get(ticket_id, Mark()) for ticket_id in ticket_ids}

    def publish_if_changed(self, ticket: Ticket, before: Mark) -> Published:
        """Publishes what has changed, at least once and always as the same event.

        Raises:
            OvertakenError: something is being told, or has been told since `before`, and may be newer.
            UnavailableError: the table or the topic does not answer. What has a number is published later.
        """
        key, state = _key(ticket.helpdesk, ticket.ticket_id), state_of(ticket)
        if before.pending is not None:
            self._take_over(key, before, state)
            left = ticket if before.state == state else Ticket.model_validate_json(before.pending)
            published = self._publish(key, left, before.number)
            if before.state == state or published.look_again:
                return published
        if before.state == state:
            self._write(key, before, state, "SET #looks = :next", next=_number(before.looks + 1))
            return Published()
        self._write(
            key,
            before,
            state,
            "SET #state = :state, #number = :next, pending = :pending, pending_until = :until,"
            " expires_at = :expires_at",
            state={"S": state},
            next=_number(before.number + 1),
            pending={"S": ticket.model_dump_json(include=_TOLD_FIELDS, exclude_none=True)},
            until=self._pending_until(),
            expires_at=self._expires_at(),
        )
        return self._publish(key, ticket, before.number + 1)

    def set_baseline(self, ticket: Ticket) -> None:
        """Remembers a ticket's state as the one that changes are told from.

        Raises:
            OvertakenError: something has been told of the ticket before.
            UnavailableError: the table does not answer.
        """
        state = state_of(ticket)
        self._write(
            _key(ticket.helpdesk, ticket.ticket_id),
            Mark(),
            state,
            "SET #state = :state, #number = :next, expires_at = :expires_at",
            state={"S": state},
            next=_number(0),
            expires_at=self._expires_at(),
        )

    def _write(self, key: str, before: Mark, shown: str, update: str, **values: Any) -> None:
        """Writes where nothing has been told, nor found unchanged, since `before`.

        Raises OvertakenError; where somebody tells of another state than is `shown`, it is left to them.
        """
        conditions: list[str] = []
        for name, count in (
            ("number", before.number if before.state else None),
            ("looks", before.looks or None),
        ):
            conditions.append(
                f"attribute_not_exists(#{name})" if count is None else f"#{name} = :seen_{name}"
            )
            if count is not None:
                values[f"seen_{name}"] = _number(count)
        try:
            self._update(key, update, " AND ".join(conditions), values)
        except ConditionError as refusal:
            now = _mark_in(refusal.item)
            if now.pending is not None and now.state != shown:
                self._leave_to_its_publisher(key, now)
            raise OvertakenError("overtaken", "the ticket has been told of since the look") from refusal

    def _take_over(self, key: str, before: Mark, shown: str) -> None:
        """The right to publish what a dead teller has left. Raises OvertakenError where it may be alive."""
        try:
            if self._clock() >= before.pending_until:
                return self._update(
                    key,
                    "SET pending_until = :until",
                    "#number = :number AND pending_until = :seen",
                    {
                        "until": self._pending_until(),
                        "number": _number(before.number),
                        "seen": _number(before.pending_until),
                    },
                )
            if before.state != shown:
                self._leave_to_its_publisher(key, before)
        except ConditionError:
            # It is done, or somebody else has taken over.
            pass
        raise OvertakenError("being_told", "a change of the ticket is being told")

    def _leave_to_its_publisher(self, key: str, mark: Mark) -> None:
        """Lets whoever tells of the ticket know that there may be more, unless it is done."""
        condition = "#number = :number AND attribute_exists(pending)"
        with suppress(ConditionError):
            self._update(
                key, "SET again = :yes", condition, {"yes": {"BOOL": True}, "number": _number(mark.number)}
            )

    def _publish(self, key: str, ticket: Ticket, number: int) -> Published:
        """Publishes a change that has its number, and remembers that."""
        # The helpdesk's own fields hold more of the customer than anybody has asked for.
        shown = ticket if self._with_raw else ticket.model_copy(update={"raw": None})
        change = _change(shown, state_of(ticket), number)
        mine = {"number": _number(number)}
        if self._topic.publish([change]):
            # The next one need not wait.
            with suppress(UnavailableError):
                self._update(
                    key, "SET pending_until = :none", "#number = :number", mine | {"none": _number(0)}
                )
            raise UnavailableError("topic_unavailable", "the topic does not take the change")
        look_again = False
        removes = "REMOVE pending, pending_until, again"
        # Where the table does not answer, the same event is published again later.
        with suppress(UnavailableError):
            try:
                self._update(key, removes, "#number = :number AND attribute_not_exists(again)", mine)
            except ConditionError:
                look_again = True
                self._update(key, removes, "#number = :number", mine)
        return Published(change.identity.request_id, look_again)

    def _update(self, key: str, update: str, condition: str, values: Mapping[str, Any]) -> None:
        used = f"{update} {condition}"
        with table_asked():
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": key}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={
                    f"#{one}": one for one in ("state", "number", "looks") if f"#{one}" in used
                },
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )

    def _pending_until(self) -> Any:
        return _number(self._clock() + _PENDING_S)

    def _expires_at(self) -> Any:
        return _number(int(self._clock() + self._keep_s))


def _number(value: float) -> Any:
    return {"N": repr(value)}


def _mark_in(item: Any) -> Mark:
    return Mark(
        state=item.get("state", {}).get("S"),
        number=int(item.get("number", {}).get("N", "0")),
        looks=int(item.get("looks", {}).get("N", "0")),
        pending=item.get("pending", {}).get("S"),
        pending_until=float(item.get("pending_until", {}).get("N", "0")),
    )


def _key(helpdesk: str, ticket_id: str) -> str:
    return f"change#{helpdesk}#{ticket_id}"


def state_of(ticket: Ticket) -> str:
    """Equal for two looks at a ticket between which nothing has changed that is told."""
    sub_status = ticket.sub_status
    told = [
        ticket.status,
        sub_status and sub_status.key,
        sub_status and sub_status.name,
        ticket.queue,
        ticket.priority,
        ticket.assignee,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


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
