"""Keeps a helpdesk that cannot take our calls from being called: one item each, shared by all functions.

The gate is open or closed. It closes when the token is refused, when the helpdesk names a time to wait,
and when calls fail one after the other. While it is closed nothing is called but one probe at a time; the
first probe that gets an answer opens it. An operator can pause it, which no probe undoes.

The budget bounds the calls of the whole account in any stretch of a period's length. The period is cut into
slots, and calls are drawn in blocks: what the slots of the last period, and a little more, have drawn is
subtracted from the limit. The "little more" makes up for the slots' edges and for the moment between drawing
and calling.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a token
OUTAGE = "outage"
ASKED_TO_WAIT = "asked_to_wait"

_SLOTS = 40
_SLOTS_COUNTED = _SLOTS + 2
_FAILURES_TO_CLOSE = 5
_FIRST_PROBE_S = 5.0
_LAST_PROBE_S = 60.0
_LONGEST_WAIT_S = 900.0
# A probe that died gives its turn away after this.
_PROBE_LEASE_S = 40.0
_DRAW_TRIES = 60


@dataclass(frozen=True)
class Budget:
    """At most `limit` calls in any `period_s` seconds; 0 means that there is no limit."""

    limit: int = 0
    period_s: float = 60.0


@dataclass(frozen=True)
class GateState:
    """What one look at the gate's item shows."""

    closed: bool = False
    reason: str | None = None
    closed_at: float = 0.0
    next_probe_at: float = 0.0
    probe_s: float = _FIRST_PROBE_S
    refused_version: str | None = None
    paused: bool = False
    drawn: tuple[tuple[int, int], ...] = ()
    draws: int = 0


@dataclass(frozen=True)
class Pass:
    """How many calls may be made now; for the others, why not and for how many seconds."""

    calls: int
    code: str = ""
    retry_after: float = 0.0
    # The seconds between probes so far, where this is the right to probe.
    probe_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """A call that the helpdesk did not answer, or refused for a reason that holds for every call."""

    token_refused: bool = False
    retry_after: float | None = None


class Gate:
    """The gate and the budget of one helpdesk. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        helpdesk: str,
        budget: Budget,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._key = {"pk": {"S": f"gate#{helpdesk}"}}
        self._budget = budget
        self._clock = clock
        # Failures in a row, as this process has seen them.
        self._failures = 0

    def look(self) -> GateState:
        """The gate as it stands."""
        try:
            item = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True).get(
                "Item", {}
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error
        return _state_in(item)

    def admit(self, wanted: int, token_version: Callable[[], str | None]) -> Pass:
        """The right to make up to `wanted` calls now. Costs one read, and one write where there is a budget.

        `token_version` is asked only while the gate is closed for a refused token: another version than the
        refused one is worth a probe at once.
        """
        state = self.look()
        now = self._clock()
        if state.paused:
            return Pass(0, code="paused", retry_after=_LONGEST_WAIT_S)
        if state.closed:
            code = f"gate_closed_{state.reason}"
            due = now >= state.next_probe_at or (
                state.reason == TOKEN_REFUSED and token_version() != state.refused_version
            )
            if due and self._take_probe(state, now):
                return Pass(1, code, state.probe_s, probe_s=state.probe_s)
            return Pass(0, code=code, retry_after=max(state.next_probe_at - now, 1.0))
        if self._budget.limit and wanted:
            return self._draw(state, wanted)
        return Pass(wanted)

    # ── closing and opening ──────────────────────────────────────────────────────────────────────────────

    def report(
        self, admitted: Pass, failures: Sequence[Failure], answered: bool, token_version: str | None
    ) -> None:
        """Takes in how admitted calls went: `answered` where the helpdesk answered at least one of them."""
        asked = [failure.retry_after for failure in failures if failure.retry_after is not None]
        self._failures = 0 if answered else self._failures + len(failures)
        probing = admitted.probe_s is not None
        if any(failure.token_refused for failure in failures):
            self._close(TOKEN_REFUSED, _LAST_PROBE_S, probing, token_version)
        elif asked:
            self._close(ASKED_TO_WAIT, min(max(asked), _LONGEST_WAIT_S), probing)
        elif failures and admitted.probe_s is not None:
            self._close(OUTAGE, min(admitted.probe_s * 2, _LAST_PROBE_S), probing)
        elif self._failures >= _FAILURES_TO_CLOSE:
            self._close(OUTAGE, _FIRST_PROBE_S, probing)
        elif answered and probing:
            self._open()

    def pause(self) -> None:
        """Closes the gate until an operator opens it again."""
        self._write("SET paused = :yes", {":yes": {"BOOL": True}})

    def resume(self) -> None:
        """Takes an operator's pause back, and lets the next call through."""
        self._write("REMOVE paused", {})
        self._open()

    def _close(self, reason: str, probe_s: float, probing: bool, token_version: str | None = None) -> None:
        now = self._clock()
        self._write(
            "SET closed = :yes, reason = :reason, next_probe_at = :next, probe_s = :probe_s,"
            " closed_at = if_not_exists(closed_at, :now), refused_version = :version",
            {
                ":yes": {"BOOL": True},
                ":reason": {"S": reason},
                ":next": _number(now + probe_s),
                ":probe_s": _number(probe_s),
                ":now": _number(now),
                ":version": {"S": token_version or "-"},
            },
            # Only the probe may say something new of a gate that is closed already.
            condition=None if probing else "attribute_not_exists(closed)",
        )

    def _open(self) -> None:
        self._failures = 0
        self._write("REMOVE closed, reason, next_probe_at, probe_s, closed_at, refused_version", {})

    def _take_probe(self, state: GateState, now: float) -> bool:
        return self._write(
            "SET next_probe_at = :next",
            {
                ":next": _number(now + max(state.probe_s, _PROBE_LEASE_S)),
                ":seen": _number(state.next_probe_at),
                ":yes": {"BOOL": True},
            },
            condition="closed = :yes AND next_probe_at = :seen",
        )

    # ── the budget ───────────────────────────────────────────────────────────────────────────────────────

    def _draw(self, state: GateState, wanted: int) -> Pass:
        for _ in range(_DRAW_TRIES):
            now = self._clock()
            slot_s = self._budget.period_s / _SLOTS
            slot = int(now / slot_s)
            counted = {number: calls for number, calls in state.drawn if number > slot - _SLOTS_COUNTED}
            free = self._budget.limit - sum(counted.values())
            if free <= 0:
                frees_at = (min(counted) + _SLOTS_COUNTED) * slot_s
                return Pass(0, code="over_budget", retry_after=max(frees_at - now, 0.0))
            calls = min(wanted, free)
            counted[slot] = counted.get(slot, 0) + calls
            if self._drawn(state, counted):
                return Pass(calls, code="over_budget", retry_after=slot_s)
            # Another function has drawn in between: look again.
            state = self.look()
        return Pass(0, code="over_budget", retry_after=1.0)

    def _drawn(self, state: GateState, counted: dict[int, int]) -> bool:
        values: dict[str, AttributeValueTypeDef] = {
            ":drawn": {"S": json.dumps(sorted(counted.items()), separators=(",", ":"))},
            ":next": _number(state.draws + 1),
        }
        if state.draws:
            values[":seen"] = _number(state.draws)
        condition = "draws = :seen" if state.draws else "attribute_not_exists(draws)"
        return self._write("SET drawn = :drawn, draws = :next", values, condition)

    def _write(
        self, expression: str, values: dict[str, "AttributeValueTypeDef"], condition: str | None = None
    ) -> bool:
        """Whether the condition held."""
        request: dict[str, Any] = {"TableName": self._table, "Key": self._key, "UpdateExpression": expression}
        if values:
            request["ExpressionAttributeValues"] = values
        if condition:
            request["ConditionExpression"] = condition
        try:
            self._client.update_item(**request)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
                return False
            raise _unavailable(error) from error
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return True


def _state_in(item: Any) -> GateState:
    def number(name: str, default: float) -> float:
        return float(item.get(name, {}).get("N", default))

    return GateState(
        closed=item.get("closed", {}).get("BOOL", False),
        reason=item.get("reason", {}).get("S"),
        closed_at=number("closed_at", 0.0),
        next_probe_at=number("next_probe_at", 0.0),
        probe_s=number("probe_s", _FIRST_PROBE_S),
        refused_version=item.get("refused_version", {}).get("S"),
        paused=item.get("paused", {}).get("BOOL", False),
        drawn=tuple((slot, calls) for slot, calls in json.loads(item.get("drawn", {}).get("S", "[]"))),
        draws=int(number("draws", 0)),
    )


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": repr(value)}


def _unavailable(error: Exception) -> UnavailableError:
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    return UnavailableError("ledger_unavailable", f"the gate could not be read: {code or 'no answer'}")
