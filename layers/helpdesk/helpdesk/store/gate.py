"""Keeps a helpdesk that cannot take our calls from being called: one item each, shared by all functions.

The gate is a circuit breaker and a rate limit together. The breaker's states, each change one write:

    open ── a call fails and none is answered ──► closed      an outage; also a refused token, a Retry-After
    closed ── a harmless read is answered ──► trial           reads are possible: one request is let through
    trial ── its request is answered ──► open                 for a minute, two failures in a row are forgiven
    trial ── its request fails ──► closed                     reads alone work: the next trial comes later

Nothing but a harmless read is sent into a closed gate, one at a time. An operator can pause it, which no
probe undoes.

The budget bounds the calls of the whole account, probes included, in any stretch of a period's length. The
period is cut into slots: what the slots of the last period, and a little more, have drawn is subtracted from
the limit. The "little more" makes up for the slots' edges and for the moment between drawing and calling. A
batch draws a block of calls at once; each call spends one of it while the block is fresh, and draws one of
its own after that. What is not spent is given back. Requests that get nothing are told a time of their own,
one after the other at the budget's pace, so that a backlog comes back neither all at once nor more slowly
than it could be called. These times are hints, not reservations.

Reads in the background count for themselves: where they fail, requests go on. Those that can wait, such as
the watch's, leave half of the budget alone, and draw nothing while a request has been told to wait.
"""

import json
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from helpdesk.errors import UnavailableError
from helpdesk.store.table import ConditionError, table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

# Spreads load.
_random = random.SystemRandom()

TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a token
OUTAGE = "outage"
ASKED_TO_WAIT = "asked_to_wait"
OVER_BUDGET = "over_budget"

_SLOTS = 240
# A window touches one slot more than it is long, and two are for the moment between drawing and calling.
_SLOTS_COUNTED = _SLOTS + 3
# A call that was drawn longer ago would be counted too early: one slot to spend it, one for its way.
_SLOTS_FRESH = 1
# Retry times are spaced at half of the budget's interval: somebody is there when a call comes free.
_CLOSER = 0.5
# The share of the budget that calls which can wait do not touch.
_KEPT_FOR_REQUESTS = 0.5
_FIRST_PROBE_S = 1.0
_LAST_PROBE_S = 60.0
# A key that is refused may be a matter of one request only.
_FIRST_TOKEN_PROBE_S = 5.0
# A helpdesk that failed and has answered again fails now and then: it would be closed most of the time.
_FORGIVEN = 2
_FORGIVING_S = 60.0
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
    probe_s: float = 0.0
    refused_version: str | None = None
    # Whether one request is to show that more than reads are possible, from when on, and how long the last
    # one that failed has kept the gate closed.
    trial: bool = False
    trial_at: float = 0.0
    trial_s: float = 0.0
    opened_at: float = 0.0
    # How many failures in a row do not close it.
    forgiven: int | None = None
    # Until then, the helpdesk has asked reads in the background to wait.
    reads_at: float = 0.0
    paused: bool = False
    # Calls drawn in each slot, and how often anything was drawn or a probe begun.
    drawn: tuple[tuple[int, int], ...] = ()
    draws: int = 0
    # Until then, the budget has been told to those who wait for it.
    booked_until: float = 0.0

    @property
    def calm_since(self) -> float:
        """Since when no request has been held back."""
        return max(self.opened_at, self.booked_until)


type Kind = Literal["calls", "probe", "trial", "read"]


@dataclass
class Permit:
    """How many calls may be made now; for the others, why not and for how many seconds."""

    calls: int
    code: str = ""
    retry_after: float = 0.0
    # A probe is one harmless read into a closed gate; a trial is the one request that follows it; a read is
    # one in the background.
    kind: Kind = "calls"
    calm_since: float = field(default=0.0, compare=False)
    # How many failures in a row do not close the gate now; None where none is forgiven at this time.
    forgiven: int | None = field(default=None, compare=False)
    # The seconds for which the gate has waited for this probe or trial.
    waited_s: float = field(default=0.0, compare=False)
    # Calls drawn and not yet spent, and when they were drawn.
    left: int = field(default=0, compare=False)
    drawn_at: float = field(default=0.0, compare=False)


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
        self._spending = threading.Lock()

    def read(self) -> GateState:
        """The gate as it stands."""
        with table_asked():
            item = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True).get(
                "Item", {}
            )
        return _state_in(item)

    @property
    def limit(self) -> int | None:
        """The most calls that may ever be made at once; None where there is no budget."""
        return self._budget.limit or None

    def used(self, state: GateState) -> float:
        """The share of the budget that the last period has drawn, from 0 to 1; 0 where there is no budget."""
        drawn, _ = self._counted(state, self._clock())
        return sum(drawn.values()) / self._budget.limit if self._budget.limit else 0.0

    def acquire(
        self, wanted: int, token_version: Callable[[], str | None], *, harmless: bool = False
    ) -> Permit:
        """The right to make up to `wanted` calls now. Costs one read, and one write where there is a budget.

        `token_version` is asked only while the gate is closed for a refused token: another version than the
        refused one is worth a probe at once. Calls that are `harmless` need not wait for a trial.
        """
        state = self.read()
        version = cache(token_version)
        for _ in range(_TRIES):
            answer = self._acquire_once(state, wanted, version, harmless=harmless)
            if isinstance(answer, Permit):
                answer.calm_since = state.calm_since
                if state.forgiven is not None and self._clock() - state.opened_at < _FORGIVING_S:
                    answer.forgiven = state.forgiven
                return answer
            # Somebody else was quicker.
            state = answer
        return Permit(0, OVER_BUDGET, 1.0)

    def _acquire_once(
        self, state: GateState, wanted: int, token_version: Callable[[], str | None], *, harmless: bool
    ) -> Permit | GateState:
        """The right to call, or what stands there instead of `state`."""
        if state.paused:
            return Permit(0, "paused", _LAST_PROBE_S)
        if state.closed:
            return self._probe(state, token_version)
        if state.trial and not harmless:
            return self._trial(state)
        if self._budget.limit:
            return self._draw(state, wanted)
        return Permit(wanted)

    def acquire_read(self, *, spare: bool) -> Permit:
        """The right to make one read in the background; a `spare` one takes only what requests leave over."""
        state = self.read()
        for _ in range(_TRIES):
            now = self._clock()
            if state.paused or state.closed or now < state.reads_at:
                code = "paused" if state.paused else f"gate_closed_{state.reason or ASKED_TO_WAIT}"
                until = state.next_probe_at if state.closed else state.reads_at
                return Permit(0, code, max(until - now, 1.0))
            if not self._budget.limit:
                return Permit(1, kind="read")
            _, free = self._counted(state, now)
            kept = math.ceil(self._budget.limit * _KEPT_FOR_REQUESTS)
            if spare and (free <= kept or state.booked_until > now):
                return Permit(0, OVER_BUDGET, self._slot_s * _SLOTS)
            answer = self._draw(state, 1)
            if isinstance(answer, Permit):
                answer.kind = "read"
                return answer
            state = answer
        return Permit(0, OVER_BUDGET, 1.0)

    def spend(self, permit: Permit) -> None:
        """Takes one call out of the permit; where none is left that is fresh, out of the budget.

        Raises UnavailableError where the budget has none.
        """
        if not self._budget.limit:
            return
        with self._spending:
            drawn_before = permit.left > 0
            permit.left -= drawn_before
            if drawn_before and self._clock() - permit.drawn_at <= self._slot_s * _SLOTS_FRESH:
                return
        self._draw_now(int(permit.drawn_at / self._slot_s) if drawn_before else None)

    def _draw_now(self, drawn_in: int | None) -> None:
        """Draws one call, or moves one that was drawn too long ago from its slot into that of this moment."""
        state = self.read()
        for _ in range(_TRIES):
            now = self._clock()
            drawn, free = self._counted(state, now)
            if drawn_in in drawn:
                drawn[drawn_in] -= 1
            elif free < 1:
                raise UnavailableError(OVER_BUDGET, "the budget is used up", self._frees_in(drawn, now))
            sets = self._drawing(state, drawn, 1, now)
            beaten = self._write(sets, {"draws": _number_or_none(state.draws)})
            if beaten is None:
                return
            state = beaten
        raise UnavailableError(OVER_BUDGET, "too many want the budget at once", 1.0)

    def _give_back(self, permit: Permit) -> None:
        slot = int(permit.drawn_at / self._slot_s)
        state = self.read() if permit.left else GateState()
        while permit.left:
            drawn, _ = self._counted(state, self._clock())
            drawn[slot] = max(drawn.get(slot, 0) - permit.left, 0)
            sets = self._drawing(state, drawn, 0, self._clock())
            beaten = self._write(sets, {"draws": _number_or_none(state.draws)})
            if beaten is None:
                permit.left = 0
            else:
                state = beaten

    # ── closing and opening ──────────────────────────────────────────────────────────────────────────────

    def report(
        self, permit: Permit, failures: Sequence[Failure], answered: bool, token_version: str | None
    ) -> None:
        """Takes in how admitted calls went: `answered` where the helpdesk answered at least one of them.

        One failure beside no answer is enough, since a wrong guess costs one harmless read: the gate is
        probed at once. Where one that was closed has just opened, it takes three in a row, in
        one batch or several.
        """
        asked = [failure.retry_after for failure in failures if failure.retry_after is not None]
        wait_s = min(max([1.0, *asked]), _LONGEST_WAIT_S)
        if permit.kind == "read":
            if asked:
                # It goes for reads alone: requests find out for themselves.
                self._write({"reads_at": _number(self._clock() + wait_s)})
        elif any(failure.token_refused for failure in failures) and not (
            # One request that is refused beside others is no matter of the token.
            answered and permit.kind == "calls"
        ):
            # Until a probe is refused as well, it may be a matter of one request.
            probe_s = _LAST_PROBE_S if permit.kind == "probe" else max(_longer(permit), _FIRST_TOKEN_PROBE_S)
            self._close(TOKEN_REFUSED, probe_s, permit, token_version)
        elif asked:
            self._close(ASKED_TO_WAIT, wait_s, permit)
        elif failures and not answered:
            self._take_failures(permit, len(failures))
        else:
            self._take_answer(permit, answered)
        if permit.left:
            self._give_back(permit)

    def _take_failures(self, permit: Permit, failures: int) -> None:
        left = permit.forgiven if permit.kind == "calls" else None
        while left is not None and left >= failures:
            beaten = self._forgive(left, left - failures)
            if beaten is None:
                return
            # Another function's calls went wrong, or well, at the same time.
            left = beaten.forgiven
        self._close(OUTAGE, _longer(permit), permit)

    def _take_answer(self, permit: Permit, answered: bool) -> None:
        """Where nobody was asked, because the request needed no call, the turn is the next one's."""
        if permit.kind == "probe":
            self._begin_trial() if answered else self._write({"next_probe_at": self._now()}, {"closed": _YES})
        elif permit.kind == "trial":
            self._open() if answered else self._write({"trial_at": self._now()}, {"trial": _YES})
        elif answered and permit.forgiven is not None and permit.forgiven < _FORGIVEN:
            self._forgive(permit.forgiven, _FORGIVEN)

    def pause(self) -> None:
        """Closes the gate until an operator opens it again."""
        self._write({"paused": _YES})

    def resume(self) -> None:
        """Takes an operator's pause back. Where the gate was closed as well, one request is let through."""
        self._write({"opened_at": self._now()}, removes=("paused",))
        self._begin_trial()

    def _close(self, reason: str, probe_s: float, permit: Permit, token_version: str | None = None) -> None:
        now = self._clock()
        sets: dict[str, AttributeValueTypeDef] = {
            "closed": _YES,
            "reason": {"S": reason},
            "next_probe_at": _number(now + probe_s),
            "probe_s": _number(probe_s),
            "refused_version": {"S": token_version or "-"},
        }
        # Only the probe may say something new of a gate that is closed already.
        if permit.kind == "probe":
            self._write(sets, {"closed": _YES})
        elif permit.kind == "trial":
            trial_s = permit.waited_s if reason == ASKED_TO_WAIT else probe_s
            more = {"trial_s": _number(trial_s)}
            self._write(sets | more, {"trial": _YES}, removes=("trial", "trial_at"))
        else:
            # During a trial these are reads, which may fail as well.
            sets["closed_at"] = _number(now)
            self._write(sets, {"closed": None}, removes=("trial", "trial_at", "forgiven"))

    def _forgive(self, before: int, after: int) -> GateState | None:
        return self._write({"forgiven": _number(after)}, {"forgiven": _number(before)})

    def _begin_trial(self) -> None:
        sets = {"trial": _YES, "trial_at": self._now(), "opened_at": self._now()}
        self._write(sets, {"closed": _YES}, removes=_CLOSED)

    def _open(self) -> None:
        removes = ("trial", "trial_at", "trial_s", "closed_at")
        sets = {"opened_at": self._now(), "forgiven": _number(_FORGIVEN)}
        self._write(sets, {"trial": _YES}, removes=removes)

    def _probe(self, state: GateState, token_version: Callable[[], str | None]) -> Permit | GateState:
        """The right to probe if it is time, or the reason why not, or what stands there instead."""
        now = self._clock()
        code = f"gate_closed_{state.reason}"
        version = token_version() if state.reason == TOKEN_REFUSED else None
        changed = version is not None and version != state.refused_version
        if not changed and now < state.next_probe_at:
            return Permit(0, code, max(state.next_probe_at - now, 1.0))
        sets: dict[str, AttributeValueTypeDef] = {
            "next_probe_at": _number(now + self._probe_lease_s),
            # A version is worth one probe out of turn.
            "refused_version": {"S": version or state.refused_version or "-"},
        }
        # Only the probes of an outage become rarer: one that fails for another reason begins such an outage.
        so_far = state.probe_s if state.reason == OUTAGE else 0.0
        turn = Permit(1, code, state.probe_s, "probe", waited_s=so_far)
        seen = {"closed": _YES, "next_probe_at": _number(state.next_probe_at)}
        return self._one_call(state, turn, sets, seen)

    def _trial(self, state: GateState) -> Permit | GateState:
        """The right to make the one request of a trial, or why not, or what stands there instead."""
        now = self._clock()
        code = f"gate_closed_{OUTAGE}"
        if now < state.trial_at:
            return Permit(0, code, _FIRST_PROBE_S)
        turn = Permit(1, code, _FIRST_PROBE_S, "trial", waited_s=state.trial_s)
        sets = {"trial_at": _number(now + self._probe_lease_s)}
        return self._one_call(state, turn, sets, {"trial": _YES, "trial_at": _number(state.trial_at)})

    def _one_call(
        self,
        state: GateState,
        turn: Permit,
        sets: Mapping[str, "AttributeValueTypeDef"],
        seen: Mapping[str, "AttributeValueTypeDef"],
    ) -> Permit | GateState:
        now = self._clock()
        drawn, free = self._counted(state, now)
        if free < 1:
            return Permit(0, turn.code, self._frees_in(drawn, now))
        beaten = self._write(
            {**self._drawing(state, drawn, 1, now), **sets}, {**seen, "draws": _number_or_none(state.draws)}
        )
        turn.left, turn.drawn_at = int(bool(self._budget.limit)), now
        return beaten or turn

    def _now(self) -> "AttributeValueTypeDef":
        return _number(self._clock())

    # ── the budget ───────────────────────────────────────────────────────────────────────────────────────

    def _draw(self, state: GateState, wanted: int) -> Permit | GateState:
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
        if beaten and calls:
            return beaten
        return Permit(calls, OVER_BUDGET, wait_s, left=calls, drawn_at=now)

    def _counted(self, state: GateState, now: float) -> tuple[dict[int, int], int]:
        """What has been drawn in the slots that count, and what is left."""
        slot_now = int(now / self._slot_s)
        # What lies in the future was drawn in slots of another length, before the period was changed.
        drawn = {
            slot: calls
            for slot, calls in state.drawn
            if slot_now - _SLOTS_COUNTED < slot <= slot_now + 1 and calls
        }
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
_CLOSED = ("closed", "reason", "next_probe_at", "probe_s", "refused_version")


def _longer(permit: Permit) -> float:
    """The seconds until the next probe of an outage: at once after a first failure, then ever rarer."""
    if permit.kind == "calls":
        return 0.0
    return min(max(permit.waited_s * 2, _FIRST_PROBE_S), _LAST_PROBE_S)


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
        probe_s=number("probe_s", 0.0),
        refused_version=item.get("refused_version", {}).get("S"),
        trial=item.get("trial", {}).get("BOOL", False),
        trial_at=number("trial_at", 0.0),
        trial_s=number("trial_s", 0.0),
        opened_at=number("opened_at", 0.0),
        forgiven=int(item["forgiven"]["N"]) if "forgiven" in item else None,
        reads_at=number("reads_at", 0.0),
        paused=item.get("paused", {}).get("BOOL", False),
        drawn=tuple((slot, calls) for slot, calls in json.loads(item.get("drawn", {}).get("S", "[]"))),
        draws=int(number("draws", 0)),
        booked_until=number("booked_until", 0.0),
    )


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": repr(value)}
