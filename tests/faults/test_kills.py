"""Functions that are killed in the middle: the handler runs in a process of its own, which gets SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.simulators.faults import Answer, Fault, FaultRule
from bridge.simulators.server import HelpdeskSimulator, ReceivedCall
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.directory import STAFF
from tests.accounts import ACCOUNTS, Account, SocialboardsAccount, at
from tests.faults.aws import AwsOnLoopback, Mishap
from tests.faults.scene import Scene, add, get

_ROOT = Path(__file__).parents[2]
_PATH = [_ROOT / "layers/helpdesk", _ROOT / "functions", _ROOT]


class Deadly:
    """Strikes when a call that holds the text has arrived at the helpdesk, before or after that acts."""

    text: str | None = None
    acts_first = True
    deaths = 0
    strike: Callable[[], None]

    def __init__(self, helpdesk: HelpdeskSimulator[Any]) -> None:
        self._perform = helpdesk.perform
        helpdesk.perform = self.perform  # type: ignore[method-assign]  # whichever helpdesk it is

    def perform(self, call: ReceivedCall) -> Answer:
        if self.text is None or self.text not in f"{call.path} {call.body.decode()}":
            return self._perform(call)
        answer = self._perform(call) if self.acts_first else Answer(status=500)
        self.deaths += 1
        self.strike()
        return answer


@pytest.fixture(scope="session")
def _forking() -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _PATH))}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.worker"],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@dataclass
class Worker:
    """Runs handlers in processes of their own, one at a time. `kill` ends the one that runs."""

    scene: Scene
    folder: Path
    forking: subprocess.Popen[str]
    pid: int = 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def invoke(self, handler: str, event: Any, *, dies: bool = False) -> Any:
        """What the handler returned, or None where it was killed."""
        answer, log = self.folder / "answer.json", self.folder / "log"
        order = {"handler": handler, "event": event, "dies": dies, "environment": dict(os.environ)}
        order |= {"answer": str(answer), "log": str(log), "passed": self.scene.clock.passed}
        assert self.forking.stdin
        assert self.forking.stdout
        self.forking.stdin.write(json.dumps(order) + "\n")
        self.forking.stdin.flush()
        self.pid = int(self.forking.stdout.readline())
        status = int(self.forking.stdout.readline())
        assert status in (0, -signal.SIGKILL), log.read_text()
        return json.loads(answer.read_text()) if status == 0 else None

    def consume(self, records: list[dict[str, Any]] | None = None, *, dies: bool = False) -> bool:
        """Gives a batch to the queue's handler. Whether it survived; if not, the batch comes back."""
        records = self.scene.deployment.receive() if records is None else records
        self.scene.is_read = False
        answer = self.invoke("ticket_queue", {"Records": records}, dies=dies)
        if answer is None:
            self.scene.deployment.hidden += [record["receiptHandle"] for record in records]
            return False
        self.scene.deployment.let_go(records, answer)
        return True


@pytest.fixture
def deadly(account: Account) -> Deadly:
    return Deadly(account.simulator)


@pytest.fixture
def worker(wired: Scene, deadly: Deadly, tmp_path: Path, _forking: subprocess.Popen[str]) -> Worker:
    worker = Worker(wired, tmp_path, _forking)
    deadly.strike = worker.kill
    # Shows that markers come back.
    wired.make("earlier")
    return worker


@dataclass(frozen=True)
class Step:
    """Where a function dies: at a call to AWS, at the helpdesk, or just before it answers."""

    name: str
    mishap: Callable[[Worker, str], Mishap] | None = None
    at_helpdesk: bool = False
    acts_first: bool = True
    before_answer: bool = False
    # Its call may have been made.
    doubt: bool = False
    # It was made.
    made: bool = True

    def prepare(self, worker: Worker, aws: AwsOnLoopback, deadly: Deadly, about: str) -> None:
        if self.mishap:
            aws.mishaps.append(self.mishap(worker, about))
        if self.at_helpdesk:
            deadly.text, deadly.acts_first = about, self.acts_first

    def clear(self, aws: AwsOnLoopback, deadly: Deadly) -> None:
        aws.mishaps.clear()
        deadly.text = None


def _claim(lost: Any) -> Callable[[Worker, str], Mishap]:
    return lambda worker, about: Mishap("UpdateItem", f"#{about}", lost=lost, strike=worker.kill)


def _finish(lost: Any) -> Callable[[Worker, str], Mishap]:
    return lambda worker, about: Mishap("UpdateItem", f"#{about}", spared=1, lost=lost, strike=worker.kill)


def _publish(lost: Any) -> Callable[[Worker, str], Mishap]:
    return lambda worker, about: Mishap("PublishBatch", about, lost=lost, strike=worker.kill)


STEPS = [
    Step("killed-before-claim", _claim("before"), made=False),
    Step("killed-after-claim", _claim("after"), doubt=True, made=False),
    Step("killed-after-send-before-it-acts", at_helpdesk=True, acts_first=False, doubt=True, made=False),
    Step("killed-after-send", at_helpdesk=True, doubt=True),
    Step("killed-after-answer", _finish("before"), doubt=True),
    Step("killed-after-record", _finish("after")),
    Step("killed-before-publish", _publish("before")),
    Step("killed-after-publish", _publish("after")),
    Step("killed-before-the-batch-is-answered", before_answer=True),
]
_each_step = pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])


def _die(worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step, about: str) -> None:
    step.prepare(worker, aws, deadly, about)
    assert not worker.consume(dies=step.before_answer), "the function has survived"
    step.clear(aws, deadly)


@at(*ACCOUNTS)
@_each_step
def test_add(worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step) -> None:
    scene = worker.scene
    scene.deployment.send(add("dies"))
    _die(worker, aws, deadly, step, "dies")
    assert len(scene.tickets("dies")) == (1 if step.made else 0)

    scene.until_quiet(rounds=3)

    assert scene.types("dies") == ["ticket.unknown"] * step.doubt + ["ticket.added"]
    assert len(scene.tickets("dies")) == 1
    assert scene.letters == []


@pytest.mark.parametrize("step", [STEPS[4], STEPS[5]], ids=lambda step: step.name)
def test_a_reference_means_the_ticket_that_was_added_before_the_kill(
    worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step
) -> None:
    scene = worker.scene
    scene.deployment.send(add("dies", reference="ours-1"))
    _die(worker, aws, deadly, step, "dies")
    scene.until_quiet(rounds=3)

    scene.deployment.send(scene.update("later", None, reference="ours-1"))
    scene.until_quiet(rounds=1)

    assert scene.types("later") == ["ticket.updated"]


@at(*ACCOUNTS)
@pytest.mark.parametrize("step", [STEPS[place] for place in (1, 3, 4, 6)], ids=lambda step: step.name)
def test_update_with_a_comment(worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step) -> None:
    scene = worker.scene
    ticket_id = _commented_before(scene)
    changes = scene.account.comment("said once")
    scene.deployment.send(scene.update("dies", ticket_id, changes=changes))
    _die(worker, aws, deadly, step, "said once" if step.at_helpdesk else "dies")

    scene.until_quiet(rounds=3)

    comments = scene.ticket("earlier").comments
    if scene.account.comments_can_be_looked_up:
        assert scene.types("dies")[-1] == "ticket.updated"
        assert comments == ("said before", "said once")
    else:
        ends = ["ticket.unknown", "ticket.parked"] if step.doubt else ["ticket.updated"]
        assert scene.types("dies") == ends
        assert comments == ("said before", "said once")[: 2 if step.made or not step.doubt else 1]


@at(*ACCOUNTS)
def test_a_comment_that_waits_for_its_ticket_survives_a_kill(worker: Worker, aws: AwsOnLoopback) -> None:
    scene = worker.scene
    _commented_before(scene)
    changes = scene.account.comment("said once")
    scene.deployment.send(scene.update("dies", None, changes=changes, reference="ours-1"))
    aws.mishaps.append(Mishap("UpdateItem", "#dies", lost="after", strike=worker.kill))
    assert not worker.consume(), "the function has survived"
    aws.mishaps.clear()
    scene.deployment.send(add("late", reference="ours-1"))

    scene.until_quiet(rounds=6)

    assert scene.types("dies")[-1] == "ticket.updated"
    assert scene.ticket("late").comments == ("said once",)


def _commented_before(scene: Scene) -> str:
    """The ticket that is there already; by its comment it shows that markers come back, where comments do."""
    ticket_id = scene.ticket("earlier").ticket_id
    changes = scene.account.comment("said before")
    scene.deployment.send(scene.update("before", ticket_id, changes=changes))
    assert scene.consume() == []
    return ticket_id


# What each step of an update does, and the text in its call.
FOUR = {
    "set_assignee": "assigneeId",
    "set_category": '"id": 15597',
    "set_status": '"status"',
    "add_note": "said once",
}
_RECORDED = {
    "set_assignee": "assignee",
    "set_category": "category",
    "set_status": "status",
    "add_note": "comment",
}


@at(SocialboardsAccount)
@pytest.mark.parametrize("killed", ["before-it-acts", "after-it-acts", "before-record", "after-record"])
@pytest.mark.parametrize("operation", FOUR)
def test_update_of_four_steps(
    worker: Worker, aws: AwsOnLoopback, deadly: Deadly, account: Account, operation: str, killed: str
) -> None:
    scene = worker.scene
    ticket_id = _commented_before(scene)
    assert isinstance(account.simulator, SocialboardsSimulator)
    known = len(account.simulator.tickets[0].changes)
    changes = {"assignee": STAFF.id, "queue": "15597", "sub_status": "pending", "comment": "said once"}
    scene.deployment.send(scene.update("dies", ticket_id, changes=changes))
    if killed.endswith("acts"):
        deadly.text, deadly.acts_first = FOUR[operation], killed.startswith("after")
    else:
        lost: Any = killed.partition("-")[0]
        done = Mishap("UpdateItem", f"#dies.*{_RECORDED[operation]}", lost=lost, strike=worker.kill)
        # The claim names the comment as the marker's place, and the step is also remembered before its call.
        done.spared = 2 if operation == "add_note" else 0
        aws.mishaps.append(done)
    assert not worker.consume(), "the function has survived"
    before = len(scene.helpdesk.calls)
    aws.mishaps.clear()
    deadly.text = None

    scene.until_quiet(rounds=4)

    assert scene.types("dies")[-1] == "ticket.updated"
    assert scene.letters == []
    [ticket] = account.simulator.tickets
    assert account.tickets()[0].comments == ("said before", "said once")
    # A value that is set once more is no second effect.
    effects = [change.action for change in ticket.changes[known:] if change.before != change.after]
    assert sorted(effects) == [
        "note_created",
        "ticket_assigned_to_user",
        "ticket_category_changed",
        "ticket_status_changed",
    ]
    assert ticket.category
    assert (ticket.status, ticket.assignee, ticket.category.id) == ("pending", STAFF, 15597)
    again = {call.operation for call in scene.helpdesk.calls[before:]}
    earlier = list(FOUR)[: list(FOUR).index(operation) + killed.startswith("after-record")]
    assert not again & {*earlier}, "what was remembered as done is not done again"


@at(*ACCOUNTS)
@pytest.mark.parametrize("step", [STEPS[1], STEPS[3]], ids=lambda step: step.name)
def test_update_that_may_be_repeated(worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step) -> None:
    scene = worker.scene
    ticket = scene.ticket("earlier")
    scene.deployment.send(scene.update("dies", ticket.ticket_id))
    _die(worker, aws, deadly, step, ticket.ticket_id if step.at_helpdesk else "dies")

    scene.until_quiet(rounds=2)

    assert scene.types("dies") == ["ticket.updated"]
    assert scene.ticket("earlier").state == scene.account.states[0]


@at(*ACCOUNTS)
@pytest.mark.parametrize("step", [STEPS[3]], ids=lambda step: step.name)
def test_get(worker: Worker, aws: AwsOnLoopback, deadly: Deadly, step: Step) -> None:
    scene = worker.scene
    ticket_id = scene.ticket("earlier").ticket_id
    scene.deployment.send(get("dies", ticket_id))
    _die(worker, aws, deadly, step, ticket_id if step.at_helpdesk else "dies")

    scene.until_quiet(rounds=1)

    assert scene.types("dies") == ["ticket.retrieved"]


@pytest.mark.parametrize(
    "lost", ["before", "after"], ids=["killed-before-accepting", "killed-after-accepting"]
)
def test_a_call_that_is_repeated_makes_one_ticket(worker: Worker, aws: AwsOnLoopback, lost: Any) -> None:
    scene = worker.scene
    event = scene.deployment.api_event("POST", "/tickets", add("posted"))
    aws.mishaps.append(Mishap("SendMessage", "posted", lost=lost, strike=worker.kill))
    assert worker.invoke("ticket_api", event) is None
    aws.mishaps.clear()

    # Whoever calls has seen a 502, and calls again.
    assert worker.invoke("ticket_api", event)["statusCode"] == 202
    scene.until_quiet(rounds=1)

    assert scene.types("posted") == ["ticket.added"]
    assert len(scene.tickets("posted")) == 1


@pytest.mark.parametrize("lost", ["before", "after"], ids=["killed-before-settling", "killed-after-settling"])
@pytest.mark.parametrize("made", [True, False], ids=["found", "absent"])
def test_a_run_of_resolve_doubts_that_dies_is_made_up_for_by_the_next(
    worker: Worker, aws: AwsOnLoopback, deadly: Deadly, lost: Any, made: bool
) -> None:
    scene = worker.scene
    step = STEPS[3] if made else STEPS[2]
    scene.deployment.send(add("dies"))
    _die(worker, aws, deadly, step, "dies")
    scene.clock.let_pass(75)
    scene.deployment.show_all()
    scene.consume_all()
    assert scene.types("dies") == ["ticket.unknown"]

    aws.mishaps.append(Mishap("UpdateItem", "#dies", lost=lost, strike=worker.kill))
    assert worker.invoke("resolve_doubts", {}) is None
    aws.mishaps.clear()
    scene.until_quiet(rounds=2)

    assert scene.types("dies") == ["ticket.unknown", "ticket.added"]
    assert len(scene.tickets("dies")) == 1


# ── a record that kills each function ────────────────────────────────────────────────────────────────────


def _deliver_until_quiet(worker: Worker) -> None:
    scene = worker.scene
    for _ in range(20):
        while records := scene.deployment.receive():
            worker.consume(records)
        if not scene.deployment.waiting():
            return
        scene.clock.let_pass(75)
        scene.deployment.resolve_doubts()
        scene.deployment.show_all()
    raise AssertionError("requests are still waiting")


def _assert_only_the_poison_is_parked(worker: Worker, others: list[str]) -> None:
    scene = worker.scene
    assert scene.types("poison")[-1] == "ticket.parked"
    assert scene.parked("poison") == ["crashed"]
    assert {name: scene.types(name)[-1] for name in others} == dict.fromkeys(others, "ticket.added")
    assert [len(scene.tickets(name)) for name in others] == [1] * 9


_OTHERS = [f"other-{number}" for number in range(9)]


@pytest.mark.parametrize("fault", ["crash-loop-record"])
def test_a_record_that_kills_functions_is_parked_and_the_other_nine_succeed(
    worker: Worker, deadly: Deadly, fault: str
) -> None:
    worker.scene.deployment.send(add("poison"), *(add(name) for name in _OTHERS))
    deadly.text, deadly.acts_first = "poison", False
    # The others are answered meanwhile.
    worker.scene.helpdesk.faults.add(
        FaultRule(match="poison", fault=Fault(status=500, act=True, delay_after_s=30))
    )
    deadly.strike = lambda: threading.Timer(0.7, worker.kill).start()

    _deliver_until_quiet(worker)

    assert deadly.deaths == 5
    _assert_only_the_poison_is_parked(worker, _OTHERS)


@pytest.mark.parametrize("fault", ["crash-loop-record"])
def test_a_record_that_kills_functions_at_once_takes_no_other_with_it(
    worker: Worker, aws: AwsOnLoopback, fault: str
) -> None:
    worker.scene.deployment.send(add("poison"), *(add(name) for name in _OTHERS))
    poisoned = threading.Event()

    def die() -> None:
        poisoned.set()
        time.sleep(0.3)
        worker.kill()

    def wait_for_it() -> None:
        # Claimed and not yet sent when the function dies: as while connections are opened.
        if poisoned.wait(0.3):
            time.sleep(0.5)
            poisoned.clear()

    claims = '"claimed_at"'
    aws.mishaps += [
        Mishap("UpdateItem", f"#poison.*{claims}", lost="held", strike=die),
        Mishap("UpdateItem", f"#other.*{claims}", lost="held", strike=wait_for_it),
    ]
    _deliver_until_quiet(worker)

    _assert_only_the_poison_is_parked(worker, _OTHERS)
