"""Tells changes that nobody asked for, each once: remembers of every ticket the state that was told last.

    pk                               state         number
    change#<helpdesk>#<ticket_id>    a digest      how many of this ticket's changes have been told

The number is part of the event's id: a ticket that comes back to an earlier state has changed again.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from helpdesk.errors import UnavailableError
from helpdesk.models import Identity, Outcome, OutcomeKind, Ticket
from helpdesk.outcomes import Topic
from helpdesk.table import ConditionError, table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


class OvertakenError(UnavailableError):
    """Somebody else has told of a ticket in the meantime: it has to be looked at again."""


class ChangeTeller:
    """Publishes `ticket.changed` where a ticket's state is another than the one told last."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        topic: Topic,
        *,
        keep_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._topic = topic
        self._keep_s = keep_days * 86400
        self._clock = clock

    def told_of(self, helpdesk: str, ticket_id: str) -> int:
        """How many changes of a ticket have been told. Raises UnavailableError."""
        return self._last_told(_key(helpdesk, ticket_id))[1]

    def tell(self, ticket: Ticket, before: int | None = None) -> str | None:
        """The request_id of what was told, or None where there was nothing to tell.

        It is remembered after it is told: told at least once, and always as the same event. `before` is what
        `told_of` has said before the look at the ticket.

        Raises:
            OvertakenError: something has been told since, which may be newer than this look.
            UnavailableError: the table or the topic does not answer; nothing is remembered.
        """
        key, state = _key(ticket.helpdesk, ticket.ticket_id), state_of(ticket)
        last, number = self._last_told(key)
        if last == state:
            return None
        if before is not None and number != before:
            raise OvertakenError("overtaken", "the ticket has been told of since it was looked at")
        change = _change(ticket, state, number + 1)
        if self._topic.publish([change]):
            raise UnavailableError("topic_unavailable", "the topic does not take the change")
        self._remember(key, state, number)
        return change.identity.request_id

    def begin(self, ticket: Ticket) -> str | None:
        """Remembers a ticket's state as the one that changes are told from. Raises as `tell`.

        Where something has been told of the ticket before, what has changed since is told, as by `tell`.
        """
        try:
            with table_asked():
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        "pk": {"S": _key(ticket.helpdesk, ticket.ticket_id)},
                        "state": {"S": state_of(ticket)},
                        "number": {"N": "0"},
                        "expires_at": {"N": str(int(self._clock() + self._keep_s))},
                    },
                    ConditionExpression="attribute_not_exists(pk)",
                )
        except ConditionError:
            return self.tell(ticket)
        return None

    def _last_told(self, key: str) -> tuple[str | None, int]:
        """The state that was told last, and how many changes have been told."""
        with table_asked():
            item = self._client.get_item(TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True)
        found = item.get("Item", {})
        return found.get("state", {}).get("S"), int(found.get("number", {}).get("N", "0"))

    def _remember(self, key: str, state: str, number: int) -> None:
        # Where somebody else has told it at the same time, that was the same event.
        with suppress(ConditionError), table_asked():
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": key}},
                UpdateExpression="SET #state = :state, #number = :next, expires_at = :expires_at",
                ConditionExpression="attribute_not_exists(#number) OR #number = :number",
                ExpressionAttributeNames={"#state": "state", "#number": "number"},
                ExpressionAttributeValues={
                    ":state": {"S": state},
                    ":next": {"N": str(number + 1)},
                    ":number": {"N": str(number)},
                    ":expires_at": {"N": str(int(self._clock() + self._keep_s))},
                },
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
