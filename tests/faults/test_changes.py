"""Changes that two read at once, or whose publisher dies: each published once, in order, the true state last.

Each test breaks into a check at one of its calls to AWS after the other, until it makes no more.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from botocore.client import BaseClient
from moto import mock_aws

from bridge.simulators.server import running
from tests.accounts import ACCOUNTS, Account, deployed
from tests.deployment import Answer, Clock, Deployment

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

SECRET = "the-callback-secret"
# Longer than the watch lets pass between two looks at a ticket.
ROUND_S = 900 * 1.2
# More calls to AWS than a look makes, and fewer.
MOST_CALLS, FEWEST_CALLS = 40, 4
LOOKS = ("watch", "callback")
both = pytest.mark.parametrize(
    ("kind", "other"), list(product(LOOKS, LOOKS)), ids=lambda pair: pair if isinstance(pair, str) else None
)


class Killed(BaseException):
    """The function is dead from here on."""


class Scene:
    """One ticket of one account that is watched and that calls back."""

    def __init__(self, deployment: Deployment, account: Account, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.clock = clock
        deployment.send({"operation": "add", "request_id": "one", "ticket": {"title": "one"}})
        deployment.consume()
        [ticket] = account.tickets()
        self.ticket_id = ticket.ticket_id
        self.look_later("watch")
        deployment.outcomes()

    def change(self, state: str) -> None:
        self.account.simulator.change_by_hand(self.ticket_id, state)

    def check(self, kind: str) -> None:
        """Lets the watch look, if it is time, or a callback."""
        if kind == "watch":
            self.deployment.watch()
        else:
            # Whoever comes while another tells is sent away.
            assert self.call_back().status in (200, 503)

    def look_later(self, kind: str) -> None:
        """The same when every ticket is due."""
        self.clock.let_pass(ROUND_S)
        self.check(kind)

    def call_back(self) -> Answer:
        headers = {"X-Callback-Secret": SECRET}
        body = self.account.callback(self.ticket_id)
        return self.deployment.callback(self.account.name, body, headers=headers)

    def published(self) -> list[tuple[int, str]]:
        """The number and the state of each event since the last look at them, repeats included."""
        return [
            (int(event["data"]["request_id"].split(":")[2]), event["data"]["ticket"]["sub_status"]["key"])
            for event in self.deployment.outcomes()
            if event["type"] == "ticket.changed"
        ]

    def rounds(self) -> Iterator[tuple[int, str, str]]:
        """A call to break into, the state that was published last, and another."""
        states = {self.account.first_state, self.account.states[0]}
        for place in range(MOST_CALLS):
            old = self.account.tickets()[0].state
            [new] = states - {old}
            yield place, old, new
        pytest.fail("the look does not end")

    def broken_into(self, place: int, kind: str, *, before: Any = None, after: Any = None) -> bool:
        """Lets a look happen, and something else at one of its calls; False where it makes fewer calls."""
        calls = 0
        call: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]  # left out by its types

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            mine, calls = calls, calls + 1
            if mine == place:
                # What comes in between runs in a function of its own.
                self.deployment.restart()
            if mine == place and before:
                before()
            answer = call(*arguments)
            if mine == place and after:
                after()
            return answer

        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr(BaseClient, "_make_api_call", counted)
            self.look_later(kind)
        assert calls > min(place, FEWEST_CALLS)
        return calls > place


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    clock = Clock()
    account: Account = request.param(clock)
    with running(account.simulator.app()) as url, mock_aws():
        deployment = deployed(monkeypatch, account, url, clock, WATCH_MINUTES="15")
        deployment.put_callback_secret(account.name, SECRET)
        yield Scene(deployment, account, clock)


def dies() -> None:
    raise Killed


def states_of(changes: list[tuple[int, str]]) -> list[str]:
    return [state for _, state in changes]


# ── two at once ──────────────────────────────────────────────────────────────────────────────────────────


@both
def test_of_two_looks_at_once_one_tells_a_change(scene: Scene, kind: str, other: str) -> None:
    for place, _, new in scene.rounds():
        scene.change(new)
        if not scene.broken_into(place, kind, before=lambda: scene.check(other)):
            return
        assert states_of(scene.published()) == [new], f"at call {place}"


@both
def test_what_changes_between_two_looks_at_once_is_told_in_order(scene: Scene, kind: str, other: str) -> None:
    for place, old, new in scene.rounds():

        def overtaken(newest: str = old) -> None:
            scene.change(newest)
            scene.check(other)

        scene.change(new)
        if not scene.broken_into(place, kind, before=overtaken):
            return
        changes = scene.published()
        scene.look_later("watch")
        later = scene.published()

        # The change may be over before anybody has published it.
        assert states_of(changes + later) in ([new, old], []), f"at call {place}"
        if other == "callback":
            assert later == [], "the last word is true without a further look"


def test_two_further_changes_are_told_after_the_one_that_is_being_told(scene: Scene) -> None:
    first, second = scene.account.states[0], scene.account.states[1]
    answers: list[Answer] = []

    def meanwhile() -> None:
        scene.change(second)
        answers.append(scene.call_back())

    for place, old, _ in scene.rounds():
        scene.change(first)
        if not scene.broken_into(place, "callback", before=meanwhile):
            break
        assert states_of(scene.published()) in ([first, second], [second]), f"at call {place}"
        scene.change(old)
        scene.check("callback")
        assert states_of(scene.published()) == [old]
        scene.change(scene.account.first_state)
        scene.check("callback")
        scene.published()

    assert {answer.status for answer in answers} == {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)


# ── a teller dies ────────────────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_whose_teller_dies_is_told_by_the_next_look_as_the_same_event(
    scene: Scene, kind: str, other: str, when: str
) -> None:
    for place, _, new in scene.rounds():
        scene.change(new)
        if not scene.broken_into(place, kind, **{when: dies}):
            return
        scene.look_later(other)

        # The state has changed once in each round, so that this is the round's number.
        assert set(scene.published()) == {(place + 1, new)}, f"at call {place}"


@both
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_whose_teller_dies_is_told_before_a_newer_one(
    scene: Scene, kind: str, other: str, when: str
) -> None:
    count = 0
    for place, old, new in scene.rounds():
        scene.change(new)
        if not scene.broken_into(place, kind, **{when: dies}):
            return
        scene.change(old)
        scene.look_later(other)

        changes = list(dict.fromkeys(scene.published()))
        # Where its publisher had not got so far, the change is over before anybody has published it.
        assert changes in ([(count + 1, new), (count + 2, old)], []), f"at call {place}"
        count += len(changes)


@pytest.mark.parametrize("kind", LOOKS)
def test_a_change_that_the_topic_did_not_take_is_told_before_a_newer_one(scene: Scene, kind: str) -> None:
    first, second = scene.account.states
    scene.change(first)
    scene.deployment.set(OUTCOMES_TOPIC_ARN="arn:aws:sns:eu-west-1:123456789012:nowhere")
    scene.look_later(kind)
    scene.deployment.set(OUTCOMES_TOPIC_ARN=scene.deployment.topic)
    scene.change(second)
    scene.check("callback")

    assert scene.published() == [(1, first), (2, second)]


# ── one after the other ──────────────────────────────────────────────────────────────────────────────────


def test_a_state_that_a_callback_told_and_that_is_over_is_taken_back_by_the_watch(scene: Scene) -> None:
    scene.change(scene.account.states[0])
    scene.look_later("callback")
    scene.change(scene.account.first_state)
    scene.look_later("watch")

    assert scene.published() == [(1, scene.account.states[0]), (2, scene.account.first_state)]


def test_a_change_that_nobody_else_tells_of_costs_the_watch_one_call(scene: Scene) -> None:
    scene.change(scene.account.states[0])
    before = len(scene.account.simulator.calls)
    scene.look_later("watch")

    assert len(scene.account.simulator.calls) == before + 1
    assert states_of(scene.published()) == [scene.account.states[0]]
