"""Changes that nobody asked for, through the watch's handler. Each test runs once for each helpdesk."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from helpdesk.store.table import Table
from helpdesk.store.watchlist import Watched, Watchlist
from tests.accounts import ACCOUNTS, Account
from tests.deployment import Clock, Deployment

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EACH_S = 900
# Longer than the watch lets pass between two looks at a ticket.
ROUND_S = EACH_S * 1.2


class Scene:
    """A deployment that watches one account's tickets."""

    def __init__(self, deployment: Deployment, account: Account, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.clock = clock
        self.events: list[dict[str, Any]] = []

    def make(self, *names: str) -> list[str]:
        """Adds tickets by the queue, and returns their ids."""
        for name in names:
            self.deployment.send({"operation": "add", "request_id": name, "ticket": {"title": name}})
        while records := self.deployment.receive():
            self.deployment.consume(records)
        ids = {seen.title: seen.ticket_id for seen in self.account.tickets()}
        return [ids[name] for name in names]

    def change(self, ticket_id: str, state: str) -> None:
        self.account.simulator.change_by_hand(ticket_id, state)

    def poll(self, rounds: int = 1) -> dict[str, int]:
        """Lets enough time pass for every watched ticket to be due, and runs the schedule."""
        counts: dict[str, int] = {}
        for _ in range(rounds):
            self.clock.let_pass(ROUND_S)
            counts = self.deployment.watch()
        return counts

    def changes(self) -> list[tuple[str, str | None]]:
        """Ticket and new state of all changes published so far, repeats of an event included."""
        self.events += [event for event in self.deployment.outcomes() if event["type"] == "ticket.changed"]
        return [
            (event["data"]["ticket_id"], event["data"]["ticket"].get("sub_status", {}).get("key"))
            for event in self.events
        ]

    def gets(self) -> int:
        calls = Counter(call.operation for call in self.account.simulator.calls)
        return sum(calls[name] for name in {self.account.gets, self.account.lists})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Scene]:
    account: Account = request.param(clock)
    with running(account.simulator.app()) as url, mock_aws():
        deployment = Deployment(
            monkeypatch, url, "unused", clock=clock, HELPDESKS=account.name, WATCH_MINUTES=str(EACH_S / 60)
        )
        secret = deployment.secrets.create_secret(Name=account.name, SecretString=account.credentials())
        deployment.set(**account.variables(url, secret["ARN"]))
        yield Scene(deployment, account, clock)


of_many_at_once = pytest.mark.parametrize(
    "scene",
    [account for account in ACCOUNTS if account.reads_many],
    ids=lambda account: account.name,
    indirect=True,
)


def test_a_change_of_a_ticket_that_was_added_here_is_told_once(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    assert scene.changes() == []

    state = scene.account.states[0]
    scene.change(ticket_id, state)
    scene.poll(rounds=3)

    assert scene.changes() == [(ticket_id, state)]


def test_a_change_holds_normalised_fields_only(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    scene.change(ticket_id, scene.account.states[0])
    scene.poll(rounds=2)

    scene.changes()
    (event,) = scene.events
    assert event["data"]["ticket"]["title"] == "one"
    assert "raw" not in event["data"]["ticket"]


def test_a_ticket_that_comes_back_to_an_earlier_state_has_changed_again(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    first, _ = scene.account.states
    original = scene.account.tickets()[0].state

    for state in (first, original, first):
        scene.change(ticket_id, state)
        scene.poll(rounds=2)

    assert scene.changes() == [(ticket_id, state) for state in (first, original, first)]
    assert len({event["id"] for event in scene.events}) == 3


def test_a_closed_ticket_is_told_and_watched_no_more(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    scene.change(ticket_id, scene.account.states[1])

    assert scene.poll()["dropped"] == 1

    before = scene.gets()
    assert scene.poll() == {"looked": 0, "changed": 0, "dropped": 0}
    assert scene.gets() == before
    assert scene.changes() == [(ticket_id, scene.account.states[1])]


def test_a_ticket_that_is_closed_before_the_first_look_is_told(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.change(ticket_id, scene.account.states[1])

    scene.poll(rounds=2)

    assert scene.changes() == [(ticket_id, scene.account.states[1])]


def test_an_old_ticket_is_watched_no_more(scene: Scene) -> None:
    scene.deployment.set(LEDGER_DAYS="2")
    scene.make("one")
    scene.poll()

    scene.clock.let_pass(2 * 86400)

    assert scene.poll() == {"looked": 1, "changed": 0, "dropped": 1}
    assert scene.poll()["looked"] == 0


@of_many_at_once
def test_fifty_tickets_are_looked_at_by_one_call(scene: Scene) -> None:
    scene.make(*(f"t{number}" for number in range(60)))
    before = scene.gets()

    # The look that takes them in, and one at the pages that it has made.
    assert scene.poll()["looked"] == 60
    assert scene.gets() - before == 2
    assert scene.poll()["looked"] == 60
    assert scene.gets() - before == 4


@of_many_at_once
def test_few_tickets_that_came_one_by_one_share_a_call_later(scene: Scene) -> None:
    for number in range(4):
        scene.make(f"t{number}")
        scene.deployment.watch()
        scene.clock.let_pass(60)
    before = scene.gets()

    assert scene.poll()["looked"] == 4
    assert scene.gets() - before == 1


def test_a_get_can_ask_to_watch_tickets_that_were_not_made_here(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    scene.deployment.set(LEDGER_TABLE="ledger")
    copied = scene.account.simulator.copy_by_hand(ticket_id)

    scene.deployment.send({"operation": "get", "ticket_ids": [copied], "include": ["watch"]})
    assert scene.deployment.consume() == []
    scene.poll()
    scene.change(copied, scene.account.states[0])
    scene.poll(rounds=2)

    assert scene.changes() == [(copied, scene.account.states[0])]


def test_where_nothing_is_watched_a_get_that_asks_for_it_is_rejected(scene: Scene) -> None:
    scene.deployment.set(WATCH_MINUTES="0")
    [ticket_id] = scene.make("one")
    request = {"operation": "get", "request_id": "g", "ticket_ids": [ticket_id], "include": ["watch"]}
    scene.deployment.send(request)
    scene.deployment.consume()

    [event] = [event for event in scene.deployment.outcomes() if event["data"]["request_id"] == "g"]
    assert event["type"] == "ticket.rejected"
    assert [error["field"] for error in event["data"]["errors"]] == ["include"]
    assert scene.deployment.watch() == {}


def test_a_deleted_ticket_does_not_keep_the_others_from_being_looked_at(scene: Scene) -> None:
    kept, deleted = scene.make("kept", "deleted")
    scene.poll()
    scene.account.simulator.delete_by_hand(deleted)
    scene.change(kept, scene.account.states[0])

    scene.poll(rounds=2)

    assert scene.changes() == [(kept, scene.account.states[0])]


@of_many_at_once
@pytest.mark.parametrize(
    "fault",
    # What was not done, and what is in doubt.
    [Fault(status=429, headers={"Retry-After": "30"}), Fault(status=200, body="<html>")],
    ids=["429", "html"],
)
def test_a_look_that_fails_half_way_loses_nothing_and_repeats_nothing(scene: Scene, fault: Fault) -> None:
    ids = scene.make(*(f"t{number}" for number in range(51)))
    scene.poll()
    state = scene.account.states[0]
    for ticket_id in ids:
        scene.change(ticket_id, state)
    # The second of the two pages' calls.
    scene.account.simulator.faults.add(FaultRule(operation="*", match=ids[-1], times=1, fault=fault))

    scene.poll(rounds=3)

    assert sorted(scene.changes()) == sorted((ticket_id, state) for ticket_id in ids)


def test_a_budget_is_left_to_requests_by_half(scene: Scene) -> None:
    scene.make(*(f"t{number}" for number in range(51)))
    name = scene.account.name.upper()
    scene.deployment.set(**{f"{name}_BUDGET": "2", f"{name}_BUDGET_PERIOD_S": "3600"})
    before = scene.gets()

    scene.clock.let_pass(ROUND_S)
    scene.deployment.watch()
    scene.deployment.watch()

    assert scene.gets() - before == 1
    scene.make("live")


def test_a_helpdesk_that_asks_to_wait_is_not_called_by_the_watch(scene: Scene) -> None:
    [ticket_id] = scene.make("one")
    scene.poll()
    rule = FaultRule(operation="*", times=1, fault=Fault(status=429, headers={"Retry-After": "86400"}))
    scene.account.simulator.faults.add(rule)
    scene.poll()
    before = len(scene.account.simulator.calls)

    scene.change(ticket_id, scene.account.states[0])
    scene.deployment.watch()
    assert len(scene.account.simulator.calls) == before

    scene.poll(rounds=2)
    assert scene.changes() == [(ticket_id, scene.account.states[0])]


def test_two_watches_at_once_tell_a_change_once_and_keep_every_ticket(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = scene.make("one", "two")
    scene.poll()
    scene.change(ids[0], scene.account.states[0])
    scene.clock.let_pass(ROUND_S)
    # The other one runs between the first one's call and its writes.
    helpdesks = scene.deployment.parts.helpdesks
    get = helpdesks.get_with_spare_budget

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(helpdesks, "get_with_spare_budget", get)
        shown = get(*arguments)
        scene.deployment.watch()
        return shown

    monkeypatch.setattr(helpdesks, "get_with_spare_budget", overtaken)
    scene.deployment.watch()

    assert scene.changes() == [(ids[0], scene.account.states[0])]
    scene.change(ids[1], scene.account.states[0])
    scene.poll()
    assert len(scene.changes()) == 2


@of_many_at_once
def test_a_page_that_can_never_be_read_does_not_keep_others_from_being_looked_at(scene: Scene) -> None:
    ids = scene.make(*(f"t{number}" for number in range(60)))
    scene.poll()
    broken = FaultRule(operation="*", match=ids[0], fault=Fault(status=500))
    scene.account.simulator.faults.add(broken)
    for ticket_id in ids:
        scene.change(ticket_id, scene.account.states[0])

    for _ in range(8):
        scene.poll()
    other = {ticket_id for ticket_id, _ in scene.changes()}
    assert 0 < len(other) < 60
    scene.make("requests-go-on")

    scene.account.simulator.faults.clear()
    scene.poll(rounds=2)
    assert sorted(ticket_id for ticket_id, _ in scene.changes()) == sorted(ids)


def test_a_ticket_that_is_asked_for_each_hour_is_looked_at_once_a_round(scene: Scene) -> None:
    [made] = scene.make("one")
    copied = scene.account.simulator.copy_by_hand(made)
    for number in range(3):
        request = {"operation": "get", "request_id": f"hour-{number}", "ticket_ids": [copied]}
        scene.deployment.send(request | {"include": ["watch"]})
        scene.deployment.consume()
        assert scene.poll()["looked"] == 2


def test_a_ticket_that_was_closed_can_be_asked_for_again(scene: Scene) -> None:
    [made] = scene.make("one")
    copied = scene.account.simulator.copy_by_hand(made)
    ask = {"operation": "get", "ticket_ids": [copied], "include": ["watch"]}
    scene.deployment.send(ask)
    scene.deployment.consume()
    scene.poll()
    scene.change(copied, scene.account.states[1])
    assert scene.poll()["dropped"] == 1

    scene.change(copied, scene.account.states[0])
    scene.deployment.send(ask)
    scene.deployment.consume()
    scene.poll()

    assert scene.changes() == [(copied, scene.account.states[1]), (copied, scene.account.states[0])]


@of_many_at_once
def test_a_helpdesk_that_refuses_everything_is_not_asked_for_each_ticket(scene: Scene) -> None:
    scene.make(*(f"t{number}" for number in range(50)))
    refusal = Fault(status=200, body=scene.account.refusal)
    scene.account.simulator.faults.add(FaultRule(operation="*", fault=refusal))
    before = len(scene.account.simulator.calls)

    assert scene.poll()["looked"] == 0

    assert len(scene.account.simulator.calls) - before < 25


@of_many_at_once
def test_a_thousand_tickets_take_eighty_calls_an_hour_and_never_more_than_is_spare(scene: Scene) -> None:
    # 10,000 take 800: pages of fifty, each looked at about four times an hour.
    tickets = int(os.environ.get("WATCHED", "1000"))
    [ticket_id] = scene.make("one")
    scene.deployment.watch()
    limit = tickets // 10
    name = scene.account.name.upper()
    scene.deployment.set(**{f"{name}_BUDGET": str(limit), f"{name}_BUDGET_PERIOD_S": "600"})
    listed = Watchlist(Table(scene.deployment.dynamodb, "ledger"), keep_days=28, clock=scene.clock)
    for page in range(tickets // 50):
        ids = [f"{ticket_id}{number:05}" for number in range(page * 50, page * 50 + 50)]
        watched = [Watched(ticket_id, "state", int(scene.clock())) for ticket_id in ids]
        listed.replace(scene.account.name, [], watched, scene.clock() + page * EACH_S / (tickets / 50))

    calls: list[int] = []
    for _ in range(120):
        before = scene.gets()
        scene.clock.let_pass(60)
        scene.deployment.watch()
        calls.append(scene.gets() - before)

    # The first hour brings the pages into step.
    assert sum(calls[60:]) == pytest.approx(4 * tickets / 50, rel=0.1)
    assert max(sum(calls[start : start + 10]) for start in range(110)) <= limit / 2
