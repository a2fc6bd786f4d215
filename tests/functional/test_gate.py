"""The gate and the budget, on one table, with a clock of their own."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from helpdesk.errors import UnavailableError
from helpdesk.store.gate import Budget, Failure, Gate, Permit
from helpdesk.store.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

TABLE = "ledger"
REFUSED = [Failure(token_refused=True)]
FAILED = [Failure()]


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class OneAtATime:
    """The table's client: DynamoDB takes an item's writes one after the other, the mock mixes them up."""

    def __init__(self, client: "DynamoDBClient") -> None:
        self._client = client
        self._lock = threading.Lock()

    def get_item(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.get_item(**asked)

    def update_item(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.update_item(**asked)


@dataclass
class Account:
    """The table of one account, and gates on it as if each were in a function of its own."""

    clock: Clock = field(default_factory=Clock)
    version: str = "v1"
    asked_for_version: int = 0

    def __post_init__(self) -> None:
        self.table = boto3.client("dynamodb")
        self._client = cast("DynamoDBClient", OneAtATime(self.table))
        self.table.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )

    def gate(self, budget: Budget | None = None, clock: Callable[[], float] | None = None) -> Gate:
        return Gate(Table(self._client, TABLE), "kapture", budget or Budget(), clock or self.clock)

    def token_version(self) -> str:
        self.asked_for_version += 1
        return self.version

    def acquire(self, gate: Gate, wanted: int = 10) -> Permit:
        return gate.acquire(wanted, self.token_version)

    def report(self, gate: Gate, admitted: Permit, *failures: Failure, answered: bool = False) -> None:
        gate.report(admitted, failures, answered, self.version)


@pytest.fixture
def account() -> Iterator[Account]:
    with mock_aws():
        yield Account()


def _closed_for_the_token(account: Account) -> Gate:
    gate = account.gate()
    account.report(gate, account.acquire(gate), *REFUSED)
    # It is probed soon: it might have been a matter of one request.
    account.clock.now += 5
    account.report(gate, account.acquire(gate), *REFUSED)
    return gate


def _opened(account: Account, gate: Gate) -> bool:
    """Whether a request goes first, and the others may follow it."""
    trial = account.acquire(gate)
    account.report(gate, trial, answered=True)
    return trial.kind == "trial" and account.acquire(gate).calls == 10


# ── closing ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_open_gate_admits_all_and_writes_nothing(account: Account) -> None:
    gate = account.gate()

    admitted = account.acquire(gate)
    account.report(gate, admitted, answered=True)

    assert admitted == Permit(10)
    assert account.table.scan(TableName=TABLE)["Items"] == []


def test_a_refused_token_closes_the_gate_for_everybody(account: Account) -> None:
    _closed_for_the_token(account)

    admitted = account.acquire(account.gate())

    assert (admitted.calls, admitted.code) == (0, "gate_closed_token_refused")
    assert 0 < admitted.retry_after <= 60


def test_while_the_token_is_refused_one_probe_a_minute_is_let_through(account: Account) -> None:
    _closed_for_the_token(account)
    probes = 0

    for _ in range(300):
        account.clock.now += 2
        gate = account.gate()
        admitted = account.acquire(gate)
        probes += admitted.calls
        if admitted.calls:
            account.report(gate, admitted, *REFUSED)

    assert probes == 10


def test_a_changed_secret_is_tried_at_once_and_only_once(account: Account) -> None:
    _closed_for_the_token(account)
    account.version = "v2"

    first, second = account.gate(), account.gate()
    probe = account.acquire(first)

    assert probe.calls == 1
    # Another function that sees the new secret while the probe is under way.
    assert account.acquire(second).calls == 0

    account.report(first, probe, answered=True)
    assert _opened(account, second)


def test_a_secret_that_was_changed_for_another_bad_one_closes_the_gate_again(account: Account) -> None:
    gate = _closed_for_the_token(account)
    account.version = "v2"
    account.report(gate, account.acquire(gate), *REFUSED)

    assert account.acquire(gate).calls == 0
    account.clock.now += 60
    assert account.acquire(gate).calls == 1


def test_a_secret_that_cannot_be_read_is_no_changed_one(account: Account) -> None:
    gate = _closed_for_the_token(account)

    assert gate.acquire(10, lambda: None).calls == 0


def test_a_failure_beside_no_answer_closes_the_gate_and_it_is_probed_at_once(account: Account) -> None:
    gate = account.gate()

    account.report(gate, account.acquire(gate), *FAILED)
    probe = account.acquire(account.gate())

    assert (probe.kind, probe.calls, probe.code) == ("probe", 1, "gate_closed_outage")
    assert account.acquire(account.gate()).calls == 0


def test_a_batch_that_asked_nobody_does_not_close_the_gate(account: Account) -> None:
    gate = account.gate()

    account.report(gate, account.acquire(gate))

    assert account.acquire(gate).calls == 10


def test_failures_beside_answers_leave_the_gate_open(account: Account) -> None:
    gate = account.gate()

    for _ in range(10):
        account.report(gate, account.acquire(gate), *FAILED * 4, answered=True)

    assert account.acquire(gate).calls == 10


def test_one_call_that_is_refused_beside_answers_closes_nothing(account: Account) -> None:
    gate = account.gate()

    account.report(gate, account.acquire(gate), *REFUSED, answered=True)

    assert account.acquire(gate).calls == 10


# ── trials ───────────────────────────────────────────────────────────────────────────────────────────────


def _probed(account: Account) -> Gate:
    """A gate whose outage seems to be over: a read was answered."""
    gate = account.gate()
    account.report(gate, account.acquire(gate), *FAILED)
    account.report(gate, account.acquire(gate), answered=True)
    return gate


def test_after_a_read_that_was_answered_one_request_goes_first(account: Account) -> None:
    gate = _probed(account)

    trial = account.acquire(gate)

    assert (trial.kind, trial.calls) == ("trial", 1)
    assert account.acquire(account.gate()).calls == 0
    account.report(gate, trial, answered=True)
    assert account.acquire(account.gate()).calls == 10


def test_reads_need_no_trial(account: Account) -> None:
    gate = _probed(account)

    assert gate.acquire(3, account.token_version, harmless=True) == Permit(3)
    assert gate.acquire_read(spare=True) == Permit(1, kind="read")


def test_where_only_reads_are_answered_trials_become_rarer_up_to_one_a_minute(
    account: Account,
) -> None:
    gate = _probed(account)
    waits = []

    for _ in range(8):
        began = account.clock.now
        account.report(gate, account.acquire(gate), *FAILED)
        while not (probe := account.acquire(gate)).calls:
            account.clock.now += 1
        account.report(gate, probe, answered=True)
        waits.append(account.clock.now - began)

    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=1)


def test_reads_that_fail_during_a_trial_close_the_gate_again(account: Account) -> None:
    gate = _probed(account)

    account.report(gate, gate.acquire(1, account.token_version, harmless=True), Failure(retry_after=600))

    assert account.acquire(gate).code == "gate_closed_asked_to_wait"


def test_a_trial_that_needed_no_call_gives_its_turn_away_at_once(account: Account) -> None:
    gate = _probed(account)
    account.report(gate, account.acquire(gate))

    assert account.acquire(account.gate()).kind == "trial"


def test_what_an_operator_opens_lets_one_request_go_first(account: Account) -> None:
    gate = account.gate()
    account.report(gate, account.acquire(gate), *FAILED)
    gate.pause()
    gate.resume()

    assert account.acquire(gate).kind == "trial"


def test_probes_of_an_outage_become_rarer_up_to_one_a_minute(account: Account) -> None:
    gate = account.gate()
    account.report(gate, account.acquire(gate), *FAILED)
    account.report(gate, account.acquire(gate), *FAILED)
    waits = []

    for _ in range(8):
        waits.append(account.acquire(gate).retry_after)
        account.clock.now += waits[-1]
        account.report(gate, account.acquire(gate), *FAILED)

    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


# ── refused keys ─────────────────────────────────────────────────────────────────────────────────────────

ADD_REFUSED = Failure(token_refused=True, operation="add")


def _add_refused(account: Account) -> Gate:
    gate = account.gate()
    account.report(gate, account.acquire(gate), ADD_REFUSED)
    return gate


def _try(account: Account, gate: Gate) -> Permit:
    return gate.acquire_try("add", account.token_version)


def test_a_refused_key_leaves_the_gate_open_and_is_named_in_the_permit(account: Account) -> None:
    gate = _add_refused(account)

    admitted = account.acquire(gate)

    assert (admitted.calls, admitted.kind) == (10, "calls")
    assert admitted.refused == {"add": pytest.approx(5)}
    assert gate.acquire_read(spare=True).refused.keys() == {"add"}


def test_a_refused_key_is_tried_ever_more_rarely_up_to_once_a_minute(account: Account) -> None:
    gate = _add_refused(account)
    waits = []

    for _ in range(6):
        began = account.clock.now
        while not (turn := _try(account, gate)).calls:
            account.clock.now += 1
        waits.append(account.clock.now - began)
        account.report(gate, turn, ADD_REFUSED)

    assert waits == pytest.approx([5, 10, 20, 40, 60, 60], abs=1)
    assert gate.read().refused["add"].since < account.clock.now - 100


@pytest.mark.parametrize("secret", ["v1", "v2"], ids=["by time", "by a changed secret"])
def test_of_many_racing_workers_one_tries_a_refused_key(account: Account, secret: str) -> None:
    _add_refused(account)
    account.version = secret
    account.clock.now += 5 if secret == "v1" else 0
    passes: list[Permit] = []

    _race(20, lambda _: passes.append(_try(account, account.gate())))

    assert sum(admitted.calls for admitted in passes) == 1


def test_a_try_that_is_answered_frees_the_operation_and_one_that_died_gives_its_turn_away(
    account: Account,
) -> None:
    gate = _add_refused(account)
    account.clock.now += 5
    _try(account, gate)
    account.clock.now += 39
    assert _try(account, gate).calls == 0
    account.clock.now += 1

    account.report(gate, _try(account, gate), answered=True)

    assert account.acquire(gate).refused == {}


def test_a_try_without_an_answer_is_an_outage_and_one_that_needed_no_call_is_none(account: Account) -> None:
    gate = _add_refused(account)
    account.clock.now += 5
    account.report(gate, _try(account, gate))
    assert account.acquire(gate).calls == 10

    account.report(gate, _try(account, gate), *FAILED)

    assert account.acquire(gate).kind == "probe"
    assert _try(account, gate).calls == 0, "nothing but a probe goes into a closed gate"


def test_a_try_during_a_trial_is_the_trial(account: Account) -> None:
    gate = _add_refused(account)
    account.report(gate, account.acquire(gate), *FAILED)
    account.report(gate, account.acquire(gate), Failure(token_refused=True, operation="get"))
    account.clock.now += 5

    turn = _try(account, gate)

    assert turn.kind == "trial"
    assert account.acquire(account.gate()).calls == 0
    account.report(gate, turn, answered=True)
    assert account.acquire(gate).calls == 10
    assert account.acquire(gate).refused.keys() == {"get"}


def test_a_report_from_before_a_key_was_taken_again_changes_nothing(account: Account) -> None:
    gate = _add_refused(account)
    account.clock.now += 5
    late = _try(account, gate)
    account.clock.now += 40
    account.report(gate, _try(account, gate), answered=True)

    account.report(gate, late, ADD_REFUSED)

    assert account.acquire(gate).refused == {}


# ── a helpdesk that fails now and then ───────────────────────────────────────────────────────────────────


def _opened_again(account: Account) -> Gate:
    """A gate that was closed, and is open since a moment ago."""
    gate = _probed(account)
    account.report(gate, account.acquire(gate), answered=True)
    return gate


def test_a_gate_that_has_just_opened_forgives_two_failures_in_a_row(account: Account) -> None:
    gate = _opened_again(account)

    for _ in range(2):
        account.report(gate, account.acquire(gate), *FAILED)
        assert account.acquire(account.gate()).kind == "calls"
    account.report(gate, account.acquire(gate), *FAILED)

    assert account.acquire(account.gate()).kind == "probe"


def test_an_answer_between_failures_lets_them_be_forgiven_anew(account: Account) -> None:
    gate = _opened_again(account)

    for _ in range(5):
        account.report(gate, account.acquire(gate), *FAILED)
        account.report(gate, account.acquire(gate), *FAILED)
        account.report(gate, account.acquire(gate), answered=True)

    assert account.acquire(account.gate()).kind == "calls"


def test_a_minute_after_it_has_opened_one_failure_closes_the_gate(account: Account) -> None:
    gate = _opened_again(account)
    account.clock.now += 60

    account.report(gate, account.acquire(gate), *FAILED)

    assert account.acquire(account.gate()).kind == "probe"


def test_a_batch_of_three_failures_closes_a_gate_that_has_just_opened(account: Account) -> None:
    gate = _opened_again(account)

    account.report(gate, account.acquire(gate), *FAILED * 3)

    assert account.acquire(account.gate()).kind == "probe"


def test_failures_of_functions_that_run_at_once_are_forgiven_two_in_all(account: Account) -> None:
    gate = _opened_again(account)
    permits = [account.acquire(account.gate()) for _ in range(3)]

    for permit in permits:
        account.report(account.gate(), permit, *FAILED)

    assert account.acquire(gate).kind == "probe"


def test_retry_after_closes_the_gate_for_that_long(account: Account) -> None:
    gate = account.gate()
    account.report(
        gate, account.acquire(gate), Failure(retry_after=7), Failure(retry_after=30), answered=True
    )

    account.clock.now += 29
    assert account.acquire(gate) == Permit(0, "gate_closed_asked_to_wait", 1.0)
    account.clock.now += 1
    assert account.acquire(gate).calls == 1


def test_a_retry_after_of_zero_does_not_let_probes_follow_without_a_pause(account: Account) -> None:
    gate = account.gate()
    account.report(gate, account.acquire(gate), Failure(retry_after=0))
    account.clock.now += 1
    account.report(gate, account.acquire(gate), *FAILED)

    assert account.acquire(gate).retry_after == pytest.approx(1)


def test_an_absurd_retry_after_does_not_keep_the_gate_closed_for_days(account: Account) -> None:
    gate = account.gate()
    account.report(gate, account.acquire(gate), Failure(retry_after=86_400))

    account.clock.now += 900
    assert account.acquire(gate).calls == 1


def test_a_pause_lasts_until_the_operator_resumes(account: Account) -> None:
    gate = account.gate()
    gate.pause()

    account.clock.now += 86_400
    assert account.acquire(account.gate()).code == "paused"
    gate.resume()

    assert account.acquire(account.gate()).calls == 10


def test_a_pause_outlasts_a_probe_that_opens_the_gate(account: Account) -> None:
    gate = _closed_for_the_token(account)
    account.clock.now += 60
    probe = account.acquire(gate)
    gate.pause()
    account.report(gate, probe, answered=True)

    assert account.acquire(gate).code == "paused"


# ── probes ───────────────────────────────────────────────────────────────────────────────────────────────


def _race(runners: int, run: Callable[[int], None]) -> None:
    begin = threading.Barrier(runners)

    def ready(number: int) -> None:
        begin.wait()
        run(number)

    threads = [threading.Thread(target=ready, args=(number,)) for number in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("secret", ["v1", "v2"], ids=["by time", "by a changed secret"])
def test_of_many_racing_workers_one_gets_the_probe(account: Account, secret: str) -> None:
    _closed_for_the_token(account)
    account.version = secret
    account.clock.now += 60
    passes: list[Permit] = []

    _race(20, lambda _: passes.append(account.acquire(account.gate())))

    assert sum(admitted.calls for admitted in passes) == 1
    assert len(passes) == 20


def test_an_answered_probe_opens_the_gate_for_everybody(account: Account) -> None:
    gate = _closed_for_the_token(account)
    account.clock.now += 60
    account.report(gate, account.acquire(gate), answered=True)

    assert _opened(account, account.gate())


def test_a_probe_that_died_gives_its_turn_away(account: Account) -> None:
    gate = account.gate()
    account.report(gate, account.acquire(gate), *FAILED * 5)
    account.clock.now += 5
    assert account.acquire(gate).calls == 1

    account.clock.now += 39
    assert account.acquire(account.gate()).calls == 0
    account.clock.now += 1
    assert account.acquire(account.gate()).calls == 1


def test_a_probe_that_needed_no_call_gives_its_turn_away_at_once(account: Account) -> None:
    gate = _closed_for_the_token(account)
    account.clock.now += 60
    account.report(gate, account.acquire(gate))

    assert account.acquire(account.gate()).calls == 1


def test_what_a_call_from_before_the_closing_says_changes_nothing(account: Account) -> None:
    late, gate = account.gate(), account.gate()
    began_before = account.acquire(late)
    account.report(gate, account.acquire(gate), Failure(retry_after=300))

    account.report(late, began_before, Failure(retry_after=10))
    account.report(late, began_before, answered=True)

    account.clock.now += 10
    assert account.acquire(gate).calls == 0


# ── the budget ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_gets_what_is_left_of_the_budget(account: Account) -> None:
    gate = account.gate(Budget(25, 60))

    calls = [account.acquire(gate).calls for _ in range(4)]

    assert calls == [10, 10, 5, 0]
    assert account.acquire(gate).code == "over_budget"


@pytest.mark.parametrize(("before_s", "after_s"), [(60, 3600), (3600, 60)])
def test_a_period_that_is_changed_does_not_close_the_budget(
    account: Account, before_s: float, after_s: float
) -> None:
    account.acquire(account.gate(Budget(10, before_s)))

    account.clock.now += max(before_s, after_s) + 60
    assert account.acquire(account.gate(Budget(10, after_s))).calls == 10


def test_a_used_up_budget_comes_back_after_the_period(account: Account) -> None:
    gate = account.gate(Budget(10, 60))
    account.acquire(gate)

    account.clock.now += 59
    assert account.acquire(gate).calls == 0
    account.clock.now += 3
    assert account.acquire(gate).calls == 10


def test_those_who_wait_for_the_budget_are_told_times_one_after_the_other(account: Account) -> None:
    gate = account.gate(Budget(60, 60))
    for _ in range(6):
        account.acquire(gate)

    waits = [account.acquire(gate).retry_after for _ in range(20)]

    assert waits == sorted(waits)
    # Twenty batches take two hundred seconds; times are given out closer than that.
    assert 0.4 * 190 < waits[-1] - waits[0] < 190


def test_the_times_that_are_told_end_after_a_quarter_of_an_hour(account: Account) -> None:
    gate = account.gate(Budget(60, 60))

    waits = [account.acquire(gate).retry_after for _ in range(200)]

    assert max(waits) < 920
    later = waits[185:]
    assert min(later) >= 450
    assert len(set(later)) == len(later)


def test_a_probe_is_a_call_of_the_budget(account: Account) -> None:
    gate = account.gate(Budget(10, 600))
    permit = account.acquire(gate)
    for _ in range(10):
        gate.spend(permit)
    account.report(gate, permit, Failure(retry_after=5))

    account.clock.now += 300
    assert account.acquire(gate).calls == 0
    account.clock.now += 320
    assert account.acquire(gate).calls == 1


def test_what_was_drawn_and_not_spent_is_given_back(account: Account) -> None:
    gate = account.gate(Budget(10, 60))
    permit = account.acquire(gate)
    gate.spend(permit)
    account.report(gate, permit, answered=True)

    assert account.acquire(gate).calls == 9


def test_a_call_that_was_not_drawn_is_drawn_before_it_is_made(account: Account) -> None:
    gate = account.gate(Budget(3, 60))
    permit = account.acquire(gate, wanted=1)
    for _ in range(3):
        gate.spend(permit)

    with pytest.raises(UnavailableError, match="over_budget"):
        gate.spend(permit)


def test_a_call_that_is_spent_late_counts_from_when_it_is_made(account: Account) -> None:
    gate = account.gate(Budget(10, 60))
    permit = account.acquire(gate, wanted=1)
    account.clock.now += 30
    gate.spend(permit)
    account.report(gate, permit, answered=True)

    # The call is thirty seconds old, and what was drawn for it before has been given back.
    account.clock.now += 31
    assert account.acquire(gate).calls == 9


def test_a_late_call_uses_what_was_drawn_for_it_where_the_budget_is_used_up(account: Account) -> None:
    gate = account.gate(Budget(3, 60))
    permit = account.acquire(gate, wanted=3)
    account.clock.now += 30

    for _ in range(3):
        gate.spend(permit)
    with pytest.raises(UnavailableError, match="over_budget"):
        gate.spend(permit)


def test_a_read_in_the_background_closes_the_gate_to_no_request(account: Account) -> None:
    gate = account.gate()

    for failure in (Failure(), Failure(token_refused=True), Failure(retry_after=30)):
        account.report(gate, gate.acquire_read(spare=False), failure)

    assert account.acquire(gate).calls == 10
    assert gate.acquire_read(spare=False).calls == 0
    account.clock.now += 30
    assert gate.acquire_read(spare=False).calls == 1


class RacedClock:
    """Time that goes on with each look at the gate, however slow the machine is."""

    def __init__(self, step_s: float) -> None:
        self._now = 1_800_000_000.0
        self._step_s = step_s
        self._lock = threading.Lock()
        self._read = threading.local()

    def __call__(self) -> float:
        self._read.last = self._now
        return self._now

    def go_on(self) -> float:
        with self._lock:
            self._now += self._step_s
            return self._now

    @property
    def last_read(self) -> float:
        """What this thread was told last."""
        moment: float = self._read.last
        return moment


def test_fifty_racing_workers_never_exceed_the_budget_and_use_it(account: Account) -> None:
    limit, period_s, periods = 120, 60.0, 6
    clock = RacedClock(step_s=0.3)
    began = clock()
    drawn: list[tuple[float, int]] = []

    def work(number: int) -> None:
        gate = account.gate(Budget(limit, period_s), clock)
        while clock.go_on() < began + periods * period_s:
            calls = account.acquire(gate, wanted=1 + number % 10).calls
            if calls:
                drawn.append((clock.last_read, calls))

    _race(50, work)

    drawn.sort()
    moments = [moment for moment, _ in drawn]
    most = max(
        sum(calls for _, calls in drawn[place : bisect_left(moments, moment + period_s)])
        for place, moment in enumerate(moments)
    )
    assert most == limit
    assert sum(calls for _, calls in drawn) >= 0.95 * limit * periods
