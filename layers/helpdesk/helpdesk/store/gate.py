"""Keeps a helpdesk that cannot take our calls from being called: one item each, shared by all functions.

The gate is a circuit breaker and a rate limit together. The breaker's states, each change one write:

    open ── a call fails and none is answered ──► closed      an outage; also a refused token, a Retry-After
    closed ── a harmless read is answered ──► trial           reads are possible: one request is let through
    trial ── its request is answered ──► open                 for a minute, two failures in a row are forgiven
    trial ── its request fails ──► closed                     reads alone work: the next trial comes later

Nothing but a harmless read is sent into a closed gate, one at a time. An operator can pause it, which no
probe undoes.

Where each operation has a key of its own, a refused key holds back its operation only. It is a state beside
the breaker's: a refusal is an answer, so the helpdesk is there.

    (free) ── its key is refused ──► refused       also by a background read, since the key is the same
    refused ── the try is answered ──► (free)      a try is one call, of any kind: a refused call does nothing
    refused ── the try is refused ──► refused      the next try comes later, with a changed secret at once

The budget bounds the calls of the whole account, probes included, in any stretch of a period's length. The
period is cut into slots: what the slots of the last period, and a little more, have drawn is subtracted from
the limit. The "little more" makes up for the slots' edges and for the moment between drawing and calling. A
batch draws a block of calls at once; each call spends one of it while the block is fresh, and draws one of
its own after that. Calls that are not spent are given back. A call refused by the budget gets its own retry
time, spaced at the budget's rate: a backlog comes back neither all at once nor more slowly than necessary.
Retry times are hints, not reservations.

A background read that fails does not close the gate for requests. Background reads that can wait, such as the
watch's, leave half of the budget alone, and draw nothing while a request waits for its retry time.
"""

import json
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from helpdesk.errors import UnavailableError
from helpdesk.store.table import ConditionError, Item, Table, Value, Values

# Spreads load.
_random = random.SystemRandom()

TOKEN_REFUSED = "token_refused"  # noqa: S105  # a reason, not a token
KEY_MISSING = "key_missing"
OUTAGE = "outage"
ASKED_TO_WAIT = "asked_to_wait"
OVER_BUDGET = "over_budget"

_SLOTS = 240
# A window touches one slot more than its length; two more cover the time between drawing and calling.
_SLOTS_COUNTED = _SLOTS + 3
# A call drawn earlier would leave the count too early: one slot to spend it, one to send it.
_SLOTS_FRESH = 1
# Retry times are spaced at half of the budget's interval: then a caller is there when a call comes free.
_CLOSER = 0.5
# The share of the budget that is left to requests.
_KEPT_FOR_REQUESTS = 0.5
_FIRST_PROBE_S = 1.0
_LAST_PROBE_S = 60.0
# A refused key may concern one request only: the first probe comes soon.
_FIRST_TOKEN_PROBE_S = 5.0
# A helpdesk that has just recovered fails now and then, and would be closed most of the time.
_FORGIVEN = 2
_FORGIVING_S = 60.0
_LONGEST_WAIT_S = 900.0
_TRIES = 60


class Budget(NamedTuple):
    """At most `limit` calls in any `period_s` seconds; 0 means that there is no limit."""

    limit: int = 0
    period_s: float = 60.0


class RefusedKey(NamedTuple):
    """The key of one operation that the helpdesk refuses."""

    # Why, and the secret's version that holds it.
    code: str
    version: str
    # When it was first refused, and not taken since.
    since: float
    next_try_at: float
    # How long the last wait for a try was.
    wait_s: float = 0.0
    # The secret has changed since, and nothing has tried it yet.
    is_replaced: bool = False


class GateState(NamedTuple):
    """The gate's item at one read."""

    closed: bool = False
    reason: str | None = None
    closed_at: float = 0.0
    next_probe_at: float = 0.0
    probe_s: float = 0.0
    refused_version: str | None = None
    # Whether one request has to show that more than reads work, the earliest time for it, and for how long
    # the last failed trial kept the gate closed.
    trial: bool = False
    trial_at: float = 0.0
    trial_s: float = 0.0
    opened_at: float = 0.0
    # How many failures in a row do not close it.
    forgiven: int | None = None
    # The helpdesk has asked background reads to wait until then.
    reads_at: float = 0.0
    paused: bool = False
    # Calls drawn in each slot; `draws` counts the writes that drew, which serves as a version.
    drawn: tuple[tuple[int, int], ...] = ()
    draws: int = 0
    # The latest retry time that was given out.
    booked_until: float = 0.0
    # The refused keys, by their operation, and when one was last taken again.
    refused: Mapping[str, RefusedKey] = MappingProxyType({})
    freed_at: float = 0.0

    @property
    def calm_since(self) -> float:
        """The time from which on no request was held back."""
        return max(self.opened_at, self.booked_until, self.freed_at)


type Kind = Literal["calls", "probe", "trial", "read"]


@dataclass
class Permit:
    """How many calls may be made now; for the others, the reason and the seconds until a retry."""

    calls: int
    code: str = ""
    retry_after: float = 0.0
    # A probe is a harmless read through a closed gate, a trial the one request that follows it, a read a
    # background read.
    kind: Kind = "calls"
    calm_since: float = field(default=0.0, compare=False)
    # How many failures in a row do not close the gate now; None if none is forgiven.
    forgiven: int | None = field(default=None, compare=False)
    # How many seconds the gate waited before this probe or trial.
    waited_s: float = field(default=0.0, compare=False)
    # Calls drawn and not yet spent, and the time of the draw.
    left: int = field(default=0, compare=False)
    # Whether any call has been made.
    used: bool = field(default=False, compare=False)
    drawn_at: float = field(default=0.0, compare=False)
    # The seconds until a try, by operation: the permit is not for these, since their keys are refused.
    refused: Mapping[str, float] = field(default_factory=dict, compare=False)
    # The operation whose refused key may be tried by this one call, and what is written of that try.
    tries: tuple[str, RefusedKey] | None = field(default=None, compare=False)


class Failure(NamedTuple):
    """A call without an answer, or refused for a reason that holds for every call."""

    token_refused: bool = False
    retry_after: float | None = None
    # Of a refused key: its operation, where each has a key of its own, and why it is refused.
    operation: str | None = None
    code: str = TOKEN_REFUSED


class Gate:
    """The gate and the budget of one helpdesk. Raises UnavailableError where DynamoDB does not answer.

    The turn of a dead probe is free again after `probe_lease_s`, which must outlast a function's time-out.
    """

    def __init__(
        self,
        table: Table,
        helpdesk: str,
        budget: Budget,
        clock: Callable[[], float] = time.time,
        probe_lease_s: float = 40.0,
    ) -> None:
        self._table = table
        self._key = f"gate#{helpdesk}"
        self._budget = budget
        self._slot_s = budget.period_s / _SLOTS
        self._clock = clock
        self._probe_lease_s = probe_lease_s
        self._spending = threading.Lock()

    def read(self) -> GateState:
        """The gate's state now."""
        return _state_in(self._table.get(self._key))

    @property
    def limit(self) -> int | None:
        """The most calls that may be made at once; None without a budget."""
        return self._budget.limit or None

    def used(self, state: GateState) -> float:
        """The share of the budget that the last period has drawn, from 0 to 1; 0 without a budget."""
        drawn, _ = self._counted(state, self._clock())
        return sum(drawn.values()) / self._budget.limit if self._budget.limit else 0.0

    def acquire(
        self,
        wanted: int,
        token_version: Callable[[], str | None],
        *,
        harmless: bool = False,
        by_operation: Mapping[str, int] = {},
    ) -> Permit:
        """The right to make up to `wanted` calls now. Costs one read, and one write if there is a budget.

        `token_version` is called only while a refused token keeps the gate closed: a new version is worth a
        probe at once. Calls that are `harmless` need not wait for a trial. `by_operation` says what the calls
        are for: calls whose key is refused are not drawn, and book no retry time.
        """
        state = self.read()
        version = cache(token_version)
        for _ in range(_TRIES):
            useless = sum(by_operation.get(operation, 0) for operation in state.refused)
            answer = self._acquire_once(state, wanted - useless, version, harmless=harmless)
            if isinstance(answer, Permit):
                answer.calm_since = state.calm_since
                answer.refused = self._waits(state)
                if state.forgiven is not None and self._clock() - state.opened_at < _FORGIVING_S:
                    answer.forgiven = state.forgiven
                return answer
            # Another process was quicker.
            state = answer
        return Permit(0, OVER_BUDGET, 1.0)

    def _acquire_once(
        self, state: GateState, wanted: int, token_version: Callable[[], str | None], *, harmless: bool
    ) -> Permit | GateState:
        """A permit, or the state that another process has written since `state` was read."""
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
        """The right to make one background read; a `spare` one takes only what requests leave over."""
        state = self.read()
        for _ in range(_TRIES):
            answer = self._acquire_read_once(state, spare=spare)
            if isinstance(answer, Permit):
                answer.refused = self._waits(state)
                return answer
            state = answer
        return Permit(0, OVER_BUDGET, 1.0)

    def _acquire_read_once(self, state: GateState, *, spare: bool) -> Permit | GateState:
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

    def acquire_try(
        self,
        operation: str,
        token_version: Callable[[], str | None],
        *,
        kind: Kind = "calls",
        harmless: bool = False,
    ) -> Permit:
        """The right to make one call of an operation whose key is refused, if its try is due.

        During a trial a call that is not `harmless` is the trial as well.
        """
        state = self.read()
        version = cache(token_version)
        for _ in range(_TRIES):
            answer = self._try(state, operation, version, "trial" if state.trial and not harmless else kind)
            if isinstance(answer, Permit):
                answer.calm_since = state.calm_since
                return answer
            state = answer
        return Permit(0, OVER_BUDGET, 1.0)

    def spend(self, permit: Permit) -> None:
        """Takes one call out of the permit or, if no fresh call is left there, out of the budget.

        Raises UnavailableError if the budget has none.
        """
        permit.used = True
        if not self._budget.limit:
            return
        with self._spending:
            drawn_before = permit.left > 0
            permit.left -= drawn_before
            if drawn_before and self._clock() - permit.drawn_at <= self._slot_s * _SLOTS_FRESH:
                return
        self._draw_now(int(permit.drawn_at / self._slot_s) if drawn_before else None)

    def _draw_now(self, drawn_in: int | None) -> None:
        """Draws one call, or moves a call that was drawn too long ago from its slot to the present slot."""
        state = self.read()
        for _ in range(_TRIES):
            now = self._clock()
            drawn, free = self._counted(state, now)
            if drawn_in in drawn:
                drawn[drawn_in] -= 1
            elif free < 1:
                raise UnavailableError(OVER_BUDGET, "the budget is used up", self._frees_in(drawn, now))
            sets = self._drawing(state, drawn, 1, now)
            beaten = self._write(sets, {"draws": state.draws or None})
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
            beaten = self._write(sets, {"draws": state.draws or None})
            if beaten is None:
                permit.left = 0
            else:
                state = beaten

    # ── closing and opening ──────────────────────────────────────────────────────────────────────────────

    def report(
        self, permit: Permit, failures: Sequence[Failure], answered: bool, token_version: str | None
    ) -> None:
        """Receives how the permitted calls went; `answered` if the helpdesk answered at least one of them.

        One failure without any answer closes the gate, since a wrong guess costs one harmless read: the gate
        is probed at once. When it has just opened again, it takes three failures in a row, in one batch or
        several.
        """
        refused = {failure.operation: failure for failure in failures if failure.operation}
        failures = [failure for failure in failures if not failure.operation]
        self._report_keys(permit, refused, failures, answered, token_version)
        # To a call into a closed gate, or the first after it, a refusal is an answer too. A missing key makes
        # no call: the trial is then the next request's, and after a probe only a trial can show more.
        made = [failure for failure in refused.values() if failure.code != KEY_MISSING]
        answered = answered or bool(made if permit.kind == "trial" else refused and permit.kind == "probe")
        waits_s = [failure.retry_after for failure in failures if failure.retry_after is not None]
        wait_s = min(max([1.0, *waits_s]), _LONGEST_WAIT_S)
        if permit.kind == "read":
            if waits_s:
                # This holds for background reads only: requests find out for themselves.
                self._write({"reads_at": self._clock() + wait_s})
        elif any(failure.token_refused for failure in failures) and not (
            # If other requests were answered, the token is not the cause.
            answered and permit.kind == "calls"
        ):
            # Until a probe is refused as well, the cause may be one request.
            probe_s = _LAST_PROBE_S if permit.kind == "probe" else max(_longer(permit), _FIRST_TOKEN_PROBE_S)
            self._close(TOKEN_REFUSED, probe_s, permit, token_version)
        elif waits_s:
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
            # Another process has reported calls at the same time.
            left = beaten.forgiven
        self._close(OUTAGE, _longer(permit), permit)

    def _take_answer(self, permit: Permit, answered: bool) -> None:
        """If the request needed no call, the next request gets its turn."""
        if permit.kind == "probe":
            self._begin_trial() if answered else self._write(
                {"next_probe_at": self._clock()}, {"closed": True}
            )
        elif permit.kind == "trial":
            self._open() if answered else self._write({"trial_at": self._clock()}, {"trial": True})
        elif answered and permit.forgiven is not None and permit.forgiven < _FORGIVEN:
            self._forgive(permit.forgiven, _FORGIVEN)

    def pause(self) -> None:
        """Closes the gate until an operator resumes it."""
        self._write({"paused": True})

    def resume(self) -> None:
        """Ends an operator's pause. If the gate was closed as well, one request is let through."""
        self._write({"opened_at": self._clock()}, removes=("paused",))
        self._begin_trial()

    def _close(self, reason: str, probe_s: float, permit: Permit, token_version: str | None = None) -> None:
        now = self._clock()
        sets: dict[str, Value] = {
            "closed": True,
            "reason": reason,
            "next_probe_at": now + probe_s,
            "probe_s": probe_s,
            "refused_version": token_version or "-",
        }
        # Only a probe may change a gate that is closed already.
        if permit.kind == "probe":
            self._write(sets, {"closed": True})
        elif permit.kind == "trial":
            trial_s = permit.waited_s if reason == ASKED_TO_WAIT else probe_s
            self._write(sets | {"trial_s": trial_s}, {"trial": True}, removes=("trial", "trial_at"))
        else:
            # During a trial these are reads, and they may fail too.
            sets["closed_at"] = now
            self._write(sets, {"closed": None}, removes=("trial", "trial_at", "forgiven"))

    def _forgive(self, before: int, after: int) -> GateState | None:
        return self._write({"forgiven": after}, {"forgiven": before})

    def _begin_trial(self) -> None:
        sets = {"trial": True, "trial_at": self._clock(), "opened_at": self._clock()}
        self._write(sets, {"closed": True}, removes=_CLOSED)

    def _open(self) -> None:
        removes = ("trial", "trial_at", "trial_s", "closed_at")
        sets = {"opened_at": self._clock(), "forgiven": _FORGIVEN}
        self._write(sets, {"trial": True}, removes=removes)

    def _probe(self, state: GateState, token_version: Callable[[], str | None]) -> Permit | GateState:
        """The right to probe if it is time, or the reason why not, or the state written since."""
        now = self._clock()
        code = f"gate_closed_{state.reason}"
        version = token_version() if state.reason == TOKEN_REFUSED else None
        changed = version is not None and version != state.refused_version
        if not changed and now < state.next_probe_at:
            return Permit(0, code, max(state.next_probe_at - now, 1.0))
        sets: Values = {
            "next_probe_at": now + self._probe_lease_s,
            # A new version is worth one probe out of turn.
            "refused_version": version or state.refused_version or "-",
        }
        # Only an outage's probes become rarer. A failed probe of another kind begins an outage.
        so_far = state.probe_s if state.reason == OUTAGE else 0.0
        turn = Permit(1, code, state.probe_s, "probe", waited_s=so_far)
        seen = {"closed": True, "next_probe_at": state.next_probe_at}
        return self._one_call(state, turn, sets, seen)

    def _trial(self, state: GateState) -> Permit | GateState:
        """The right to make the one request of a trial, or why not, or the state written since."""
        now = self._clock()
        code = f"gate_closed_{OUTAGE}"
        if now < state.trial_at:
            return Permit(0, code, _FIRST_PROBE_S)
        turn = Permit(1, code, _FIRST_PROBE_S, "trial", waited_s=state.trial_s)
        sets = {"trial_at": now + self._probe_lease_s}
        return self._one_call(state, turn, sets, {"trial": True, "trial_at": state.trial_at})

    def _one_call(self, state: GateState, turn: Permit, sets: Values, seen: Values) -> Permit | GateState:
        now = self._clock()
        drawn, free = self._counted(state, now)
        if free < 1:
            return Permit(0, turn.code, self._frees_in(drawn, now))
        drawing = self._drawing(state, drawn, 1, now)
        beaten = self._write({**drawing, **sets}, {**seen, "draws": state.draws or None})
        turn.left, turn.drawn_at = int(bool(self._budget.limit)), now
        return beaten or turn

    # ── refused keys ─────────────────────────────────────────────────────────────────────────────────────

    def note_replaced(self, operation: str, token_version: Callable[[], str | None]) -> None:
        """Records that the secret has changed since this key was refused: the next call is its try."""
        refused = self.read().refused.get(operation)
        version = token_version() if refused else None
        if refused and version is not None and version != refused.version:
            replaced = refused._replace(
                version=version, next_try_at=self._clock(), wait_s=0.0, is_replaced=True
            )
            self._write_key(operation, refused, replaced)

    def _waits(self, state: GateState) -> dict[str, float]:
        return {
            operation: max(refused.next_try_at - self._clock(), 1.0)
            for operation, refused in state.refused.items()
        }

    def _try(
        self, state: GateState, operation: str, token_version: Callable[[], str | None], kind: Kind
    ) -> Permit | GateState:
        """The right to try a refused key, or the reason why not, or the state written since."""
        now = self._clock()
        code = f"gate_closed_{TOKEN_REFUSED}"
        refused = state.refused.get(operation)
        is_trial_out = kind == "trial" and now < state.trial_at
        if refused is None or state.paused or state.closed or is_trial_out:
            return Permit(0, code, 1.0)
        version = token_version()
        changed = version is not None and version != refused.version
        if not changed and now < refused.next_try_at:
            return Permit(0, code, max(refused.next_try_at - now, 1.0))
        begun = refused._replace(
            # A new version is worth one try out of turn.
            version=version or refused.version,
            next_try_at=now + self._probe_lease_s,
            wait_s=0.0 if changed else refused.wait_s,
        )
        turn = Permit(1, code, 1.0, kind, waited_s=state.trial_s, tries=(operation, begun))
        name = _key_name(operation)
        sets: dict[str, Value] = {name: _key_text(begun)}
        seen: dict[str, Value] = {name: _key_text(refused)}
        if kind == "trial":
            sets["trial_at"] = now + self._probe_lease_s
            seen |= {"trial": True, "trial_at": state.trial_at}
        return self._one_call(state, turn, sets, seen)

    def _report_keys(
        self,
        permit: Permit,
        refused: Mapping[str, Failure],
        failures: Sequence[Failure],
        answered: bool,
        token_version: str | None,
    ) -> None:
        operation, begun = permit.tries or ("", None)
        now = self._clock()
        for name, failure in refused.items():
            before = begun if name == operation else None
            wait_s = min(max(2 * before.wait_s if before else 0.0, _FIRST_TOKEN_PROBE_S), _LAST_PROBE_S)
            since = before.since if before else now
            again = RefusedKey(failure.code, token_version or "-", since, now + wait_s, wait_s)
            self._write_key(name, before, again)
        if begun is None or operation in refused:
            return
        if answered:
            self._write_key(operation, begun, None)
        elif not failures:
            # It needed no call: the next gets its turn.
            self._write_key(operation, begun, begun._replace(next_try_at=now))

    def _write_key(self, operation: str, before: RefusedKey | None, after: RefusedKey | None) -> None:
        """Writes what is known of a key, unless another process has done so since `before`."""
        name = _key_name(operation)
        seen = {name: _key_text(before) if before else None}
        if after:
            self._write({name: _key_text(after)}, seen)
        else:
            self._write({"freed_at": self._clock()}, seen, removes=(name,))

    # ── the budget ───────────────────────────────────────────────────────────────────────────────────────

    def _draw(self, state: GateState, wanted: int) -> Permit | GateState:
        """What the budget has left, or the state written since."""
        now = self._clock()
        drawn, free = self._counted(state, now)
        calls = min(wanted, max(free, 0))
        sets = self._drawing(state, drawn, calls, now) if calls else {}
        seen = {"draws": state.draws} if calls else {"booked_until": state.booked_until}
        wait_s = 0.0
        if calls < wanted:
            begins = max(state.booked_until, now + self._frees_in(drawn, now))
            if begins - now > _LONGEST_WAIT_S:
                # No retry time is left to give out: these calls come again later, and not all at once.
                wait_s = _LONGEST_WAIT_S * _random.uniform(0.5, 1.0)
            else:
                each_s = self._slot_s * _SLOTS_COUNTED / self._budget.limit * _CLOSER
                booked_until = begins + (wanted - calls) * each_s
                wait_s = booked_until - now
                sets["booked_until"] = booked_until
        unchanged = {name: value or None for name, value in seen.items()}
        beaten = self._write(sets, unchanged) if sets else None
        # Two processes may give out the same retry time; they must not draw the same calls.
        if beaten and calls:
            return beaten
        return Permit(calls, OVER_BUDGET, wait_s, left=calls, drawn_at=now)

    def _counted(self, state: GateState, now: float) -> tuple[dict[int, int], int]:
        """The calls drawn in the slots that count, and how many are left."""
        slot_now = int(now / self._slot_s)
        # A slot in the future had another length: the period has been changed.
        drawn = {
            slot: calls
            for slot, calls in state.drawn
            if slot_now - _SLOTS_COUNTED < slot <= slot_now + 1 and calls
        }
        return drawn, self._budget.limit - sum(drawn.values()) if self._budget.limit else 1

    def _frees_in(self, drawn: Mapping[int, int], now: float) -> float:
        """Seconds until the oldest slot no longer counts."""
        oldest = min(drawn, default=int(now / self._slot_s))
        return max((oldest + _SLOTS_COUNTED) * self._slot_s - now, 0.0)

    def _drawing(self, state: GateState, drawn: dict[int, int], calls: int, now: float) -> dict[str, Value]:
        sets: dict[str, Value] = {"draws": state.draws + 1}
        if self._budget.limit:
            slot = int(now / self._slot_s)
            drawn[slot] = drawn.get(slot, 0) + calls
            sets["drawn"] = json.dumps(sorted(drawn.items()), separators=(",", ":"))
        return sets

    def _write(
        self, sets: Values, seen: Mapping[str, Value | None] = {}, removes: Sequence[str] = ()
    ) -> GateState | None:
        """Writes if every attribute of `seen` is unchanged; else returns the standing state.

        None as a value of `seen` means that the attribute was absent.
        """
        try:
            self._table.update(self._key, sets=sets, removes=removes, expected=seen)
        except ConditionError as refusal:
            return _state_in(refusal.item)
        return None


_KEY = "key_"
_FIELDS = GateState._fields
_CLOSED = ("closed", "reason", "next_probe_at", "probe_s", "refused_version")


def _key_name(operation: str) -> str:
    return f"{_KEY}{operation}"


def _key_text(refused: RefusedKey) -> str:
    return json.dumps(refused._asdict())


def _longer(permit: Permit) -> float:
    """The seconds until an outage's next probe: none after the first failure, then ever more."""
    if permit.kind == "calls":
        return 0.0
    return min(max(permit.waited_s * 2, _FIRST_PROBE_S), _LAST_PROBE_S)


def _state_in(item: Item) -> GateState:
    state: dict[str, Any] = {name: item[name] for name in _FIELDS if name in item}
    state |= {name: int(state[name]) for name in ("forgiven", "draws") if name in state}
    state["drawn"] = tuple((slot, calls) for slot, calls in json.loads(item.get("drawn", "[]")))
    state["refused"] = {
        name.removeprefix(_KEY): RefusedKey(**json.loads(text))
        for name, text in item.items()
        if name.startswith(_KEY)
    }
    return GateState(**state)
