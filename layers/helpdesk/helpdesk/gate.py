"""Keeps a helpdesk that cannot take our calls from being called: one item each, shared by all functions.

The gate is open or closed. It closes when the token is refused, when the helpdesk names a time to wait,
and when calls fail one after the other. While it is closed nothing is called but one probe at a time; the
first probe that gets an answer opens it. An operator can pause it, which no probe undoes.

The budget bounds the calls of the whole account, probes included, in any stretch of a period's length. The
period is cut into slots, and calls are drawn in blocks: what the slots of the last period, and a little
more, have drawn is subtracted from the limit. The "little more" makes up for the slots' edges and for the
moment between drawing and calling. Calls that get nothing are told a time of their own, one after the other
at the budget's pace, so that a backlog comes back neither all at once nor more slowly than it could be
called. These times are no promise: whoever comes while there is something to draw draws it.

Calls that can wait, such as those of the watch, get spare ones only: they leave half of the budget alone,
and draw nothing while a request has been told to wait.
"""

import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from helpdesk.table import ConditionError, table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

# Spreads load. The usual generator would be the same in every start from one snapshot.
_random = random.SystemRandom()

TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a token
OUTAGE = "outage"
ASKED_TO_WAIT = "asked_to_wait"
OVER_BUDGET = "over_budget"

_SLOTS = 240
# A window touches one slot more than it is long, and two are for the moment between drawing and calling.
_SLOTS_COUNTED = _SLOTS + 3
# Times are given out closer than calls are allowed, so that somebody is there whenever one comes free.
_CLOSER = 0.5
_FAILURES_TO_CLOSE = 5
# The share of the budget that calls which can wait do not touch.
_KEPT_FOR_REQUESTS = 0.5
_FIRST_PROBE_S = 5.0
_LAST_PROBE_S = 60.0
_LONGEST_WAIT_S = 900.0
_TRIES = 60


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
    # Calls drawn in each slot, and how often anything was drawn or a probe begun.
    drawn: tuple[tuple[int, int], ...] = ()
    draws: int = 0
    # Until then, the budget has been told to those who wait for it.
    booked_until: float = 0.0


@dataclass(frozen=True)
class Pass:
    """How many calls may be made now; for the others, why not and for how many seconds."""

    calls: int
    code: str = ""
    retry_after: float = 0.0
    # The seconds between the probes of an outage so far, where this is the right to probe.
    probe_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """A call that the helpdesk did not answer, or refused for a reason that holds for every call."""

    token_refused: bool = False
    retry_after: float | None = None


class Gate:
    """The gate and the budget of one helpdesk. Raises UnavailableError where DynamoDB does not answer.

    A probe that died gives its turn away after `probe_lease_s`, which must outlast a function's time-out.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        helpdesk: str,
        budget: Budget,
        clock: Callable[[], float] = time.time,
        probe_lease_s: float = 40.0,
    ) -> None:
        self._client = client
        self._table = table
        self._key = {"pk": {"S": f"gate#{helpdesk}"}}
        self._budget = budget
        self._slot_s = budget.period_s / _SLOTS
        self._clock = clock
        self._probe_lease_s = probe_lease_s
        # Failures in a row, as this process has seen them.
        self._failures = 0

    def look(self) -> GateState:
        """The gate as it stands."""
        with table_asked():
            item = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True).get(
                "Item", {}
            )
        return _state_in(item)

    def used(self, state: GateState) -> float:
        """The share of the budget that the last period has drawn, from 0 to 1; 0 where there is no budget."""
        drawn, _ = self._counted(state, self._clock())
        return sum(drawn.values()) / self._budget.limit if self._budget.limit else 0.0

    def admit(self, wanted: int, token_version: Callable[[], str | None]) -> Pass:
        """The right to make up to `wanted` calls now. Costs one read, and one write where there is a budget.

        `token_version` is asked only while the gate is closed for a refused token: another version than the
        refused one is worth a probe at once.
        """
        state = self.look()
        version = cache(token_version)
        for _ in range(_TRIES):
            answer = self._admit_once(state, wanted, version)
            if isinstance(answer, Pass):
                return answer
            # Somebody else was quicker.
            state = answer
        return Pass(0, OVER_BUDGET, 1.0)

    def _admit_once(
        self, state: GateState, wanted: int, token_version: Callable[[], str | None]
    ) -> Pass | GateState:
        """The right to call, or what stands there instead of `state`."""
        if state.paused:
            return Pass(0, "paused", _LAST_PROBE_S)
        if state.closed:
            return self._probe(state, token_version)
        if self._budget.limit:
            return self._draw(state, wanted)
        return Pass(wanted)

    def admit_spare(self, token_version: Callable[[], str | None]) -> Pass:
        """The right to make one call that can wait: what live requests leave. As `admit` otherwise."""
        state = self.look()
        for _ in range(_TRIES):
            now = self._clock()
            _, free = self._counted(state, now)
            kept = math.ceil(self._budget.limit * _KEPT_FOR_REQUESTS)
            if self._budget.limit and (free <= kept or state.booked_until > now):
                return Pass(0, OVER_BUDGET, self._slot_s * _SLOTS)
            answer = self._admit_once(state, 1, token_version)
            if isinstance(answer, Pass):
                return answer
            state = answer
        return Pass(0, OVER_BUDGET, 1.0)

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
            self._close(ASKED_TO_WAIT, min(max(*asked, 1.0), _LONGEST_WAIT_S), probing)
        elif failures and admitted.probe_s is not None:
            slower = max(admitted.probe_s * 2, _FIRST_PROBE_S)
            self._close(OUTAGE, min(slower, _LAST_PROBE_S), probing)
        elif failures and self._failures >= _FAILURES_TO_CLOSE:
            self._close(OUTAGE, _FIRST_PROBE_S, probing)
        elif answered and probing:
            self._open()
        elif probing:
            # Nobody was asked, because the request needed no call: the turn is the next one's.
            self._write({"next_probe_at": _number(self._clock())}, {"closed": _YES})

    def pause(self) -> None:
        """Closes the gate until an operator opens it again."""
        self._write({"paused": _YES})

    def resume(self) -> None:
        """Takes an operator's pause back, and lets the next call through."""
        self._open("paused")

    def _close(self, reason: str, probe_s: float, probing: bool, token_version: str | None = None) -> None:
        now = self._clock()
        sets: dict[str, AttributeValueTypeDef] = {
            "closed": _YES,
            "reason": {"S": reason},
            "next_probe_at": _number(now + probe_s),
            "probe_s": _number(probe_s),
            "refused_version": {"S": token_version or "-"},
        }
        # Only the probe may say something new of a gate that is closed already.
        if probing:
            self._write(sets, {"closed": _YES})
        else:
            self._write({**sets, "closed_at": _number(now)}, {"closed": None})

    def _open(self, *more: str) -> None:
        self._failures = 0
        removes = ("closed", "reason", "next_probe_at", "probe_s", "closed_at", "refused_version")
        self._write({}, removes=(*removes, *more))

    def _probe(self, state: GateState, token_version: Callable[[], str | None]) -> Pass | GateState:
        """The right to probe if it is time, or the reason why not, or what stands there instead."""
        now = self._clock()
        code = f"gate_closed_{state.reason}"
        version = token_version() if state.reason == TOKEN_REFUSED else None
        changed = version is not None and version != state.refused_version
        drawn, free = self._counted(state, now)
        if not changed and now < state.next_probe_at:
            return Pass(0, code, max(state.next_probe_at - now, 1.0))
        if free < 1:
            return Pass(0, code, self._frees_in(drawn, now))
        sets: dict[str, AttributeValueTypeDef] = {
            **self._drawing(state, drawn, 1, now),
            "next_probe_at": _number(now + max(state.probe_s, self._probe_lease_s)),
            # A version is worth one probe out of turn.
            "refused_version": {"S": version or state.refused_version or "-"},
        }
        seen = {
            "closed": _YES,
            "next_probe_at": _number(state.next_probe_at),
            "draws": _number_or_none(state.draws),
        }
        # Only the probes of an outage become rarer: one that fails for another reason begins such an outage.
        so_far = state.probe_s if state.reason == OUTAGE else 0.0
        return self._write(sets, seen) or Pass(1, code, state.probe_s, probe_s=so_far)

    # ── the budget ───────────────────────────────────────────────────────────────────────────────────────

    def _draw(self, state: GateState, wanted: int) -> Pass | GateState:
        """What the budget has left, or what stands there instead."""
        now = self._clock()
        drawn, free = self._counted(state, now)
        calls = min(wanted, max(free, 0))
        sets = self._drawing(state, drawn, calls, now) if calls else {}
        seen = {"draws": state.draws} if calls else {"booked_until": state.booked_until}
        wait_s = 0.0
        if calls < wanted:
            begins = max(state.booked_until, now + self._frees_in(drawn, now))
            if begins - now > _LONGEST_WAIT_S:
                # All that can be told is told: these look again later, and not all at once.
                wait_s = _LONGEST_WAIT_S * _random.uniform(0.5, 1.0)
            else:
                each_s = self._slot_s * _SLOTS_COUNTED / self._budget.limit * _CLOSER
                booked_until = begins + (wanted - calls) * each_s
                wait_s = booked_until - now
                sets["booked_until"] = _number(booked_until)
        unchanged = {name: _number_or_none(value) for name, value in seen.items()}
        beaten = self._write(sets, unchanged) if sets else None
        # Two who book the same time do no harm; two who draw the same calls would.
        return beaten if beaten and calls else Pass(calls, OVER_BUDGET, wait_s)

    def _counted(self, state: GateState, now: float) -> tuple[dict[int, int], int]:
        """What has been drawn in the slots that count, and what is left."""
        since = int(now / self._slot_s) - _SLOTS_COUNTED
        drawn = {slot: calls for slot, calls in state.drawn if slot > since}
        return drawn, self._budget.limit - sum(drawn.values()) if self._budget.limit else 1

    def _frees_in(self, drawn: Mapping[int, int], now: float) -> float:
        """Seconds until the oldest slot counts no more."""
        oldest = min(drawn, default=int(now / self._slot_s))
        return max((oldest + _SLOTS_COUNTED) * self._slot_s - now, 0.0)

    def _drawing(
        self, state: GateState, drawn: dict[int, int], calls: int, now: float
    ) -> dict[str, "AttributeValueTypeDef"]:
        sets = {"draws": _number(state.draws + 1)}
        if self._budget.limit:
            slot = int(now / self._slot_s)
            drawn[slot] = drawn.get(slot, 0) + calls
            sets["drawn"] = {"S": json.dumps(sorted(drawn.items()), separators=(",", ":"))}
        return sets

    # ── DynamoDB ─────────────────────────────────────────────────────────────────────────────────────────

    def _write(
        self,
        sets: Mapping[str, "AttributeValueTypeDef"],
        seen: Mapping[str, "AttributeValueTypeDef | None"] | None = None,
        removes: Sequence[str] = (),
    ) -> GateState | None:
        """None where it is written; what stands there instead, where an attribute of `seen` has changed.

        None as a value of `seen` means that the attribute was not there.
        """
        seen = seen or {}
        conditions = [
            f"attribute_not_exists(#{name})" if value is None else f"#{name} = :seen_{name}"
            for name, value in seen.items()
        ]
        expressions = {
            "SET": [f"#{name} = :set_{name}" for name in sets],
            "REMOVE": [f"#{name}" for name in removes],
        }
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": self._key,
            "UpdateExpression": " ".join(f"{verb} {', '.join(of)}" for verb, of in expressions.items() if of),
            "ExpressionAttributeNames": {f"#{name}": name for name in (*sets, *seen, *removes)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        values = {f":set_{name}": value for name, value in sets.items()}
        values |= {f":seen_{name}": value for name, value in seen.items() if value is not None}
        if values:
            request["ExpressionAttributeValues"] = values
        if conditions:
            request["ConditionExpression"] = " AND ".join(conditions)
        try:
            with table_asked():
                self._client.update_item(**request)
        except ConditionError as refusal:
            return _state_in(refusal.item)
        return None


_YES: "AttributeValueTypeDef" = {"BOOL": True}


def _number_or_none(value: float) -> "AttributeValueTypeDef | None":
    return _number(value) if value else None


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
        booked_until=number("booked_until", 0.0),
    )


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": repr(value)}
