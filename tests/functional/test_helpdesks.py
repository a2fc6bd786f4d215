"""What every helpdesk must do alike, through the true handlers. Each test runs once for each account."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, Literal

import pytest
from moto import mock_aws

from bridge.simulators.faults import Drip, Fault, FaultRule
from bridge.simulators.server import running
from tests.accounts import ACCOUNTS, Account, Seen, deployed, in_each_manner, point_to
from tests.deployment import Clock, Deployment

# Powertools keeps one set of metrics a process; here the API and the consumer share it when both run.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

# Longer than a probe, a doubt's wait or a lease takes.
ROUND_S = 75


def add(name: str, **more: Any) -> dict[str, Any]:
    """A request whose id is also its ticket's title."""
    return {"operation": "add", "request_id": name, "ticket": {"title": name, **more}}


class Story:
    """A deployment that serves one account, and all that was published so far, oldest first."""

    def __init__(self, deployment: Deployment, account: Account, url: str, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.url = url
        self.clock = clock
        self.published: list[dict[str, Any]] = []

    def send(self, *requests: dict[str, Any]) -> int:
        """Sends requests, gives them to the queue's handler, and returns how many came back.

        What they made shows at the helpdesk when this returns.
        """
        self.deployment.send(*requests)
        returned = len(self.deployment.consume())
        self.clock.let_pass(self.account.settles_after_s)
        return returned

    def make(self, name: str = "earlier") -> Seen:
        """Adds a ticket before the test's own story begins."""
        assert self.send(add(name)) == 0
        [ticket] = self.tickets(name)
        return ticket

    def update(self, ticket_id: str, **changes: Any) -> dict[str, Any]:
        return {"operation": "update", "request_id": "update", "ticket_id": ticket_id, "changes": changes}

    def breaks(self, operation: str, fault: Fault, times: int | None = 1) -> None:
        """The next calls suffer a fault; without a number all of them, until it is taken away."""
        self.account.simulator.faults.add(FaultRule(operation=operation, times=times, fault=fault))

    def consume_again(self) -> int:
        """Gives what waits to the queue's handler at once, and returns how many came back."""
        self.deployment.show_all()
        return len(self.deployment.consume())

    def until_quiet(self, rounds: int = 10) -> None:
        """Lets time pass, settles doubts, and delivers, until nothing waits."""
        for _ in range(rounds):
            self.clock.let_pass(ROUND_S)
            self.deployment.resolve_doubts()
            self.consume_again()
            if not self.deployment.waiting():
                return
        assert self.deployment.waiting() == 0, "requests are still waiting"

    def tickets(self, title: str) -> list[Seen]:
        return [ticket for ticket in self.account.tickets() if ticket.title.startswith(title)]

    def events(self, request_id: str) -> list[dict[str, Any]]:
        self.published += self.deployment.outcomes()
        return [event["data"] for event in self.published if event["data"]["request_id"] == request_id]

    def types(self, request_id: str) -> list[str]:
        """The types of a request's events, oldest first; repeats of one event count once."""
        self.events(request_id)
        mine = [event for event in self.published if event["data"]["request_id"] == request_id]
        return list({event["id"]: event["type"] for event in mine}.values())

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nothing listens at the helpdesk's address for now."""
        with socket.create_server(("127.0.0.1", 0)) as closed_soon:
            port = closed_soon.getsockname()[1]
        self.point_to(f"http://127.0.0.1:{port}")
        yield
        self.point_to(self.url)

    def point_to(self, url: str) -> None:
        point_to(self.deployment, self.account, url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def account(request: pytest.FixtureRequest, clock: Clock) -> Account:
    made: Account = request.param(clock)
    return made


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch, account: Account, clock: Clock) -> Iterator[Story]:
    with running(account.simulator.app()) as url, mock_aws():
        deployment = deployed(monkeypatch, account, url, clock, SETTLE_AFTER_S="0")
        yield Story(deployment, account, url, clock)


# ── what is asked for happens ────────────────────────────────────────────────────────────────────────────


@in_each_manner()
def test_an_add_makes_a_ticket_and_tells_where_it_is(story: Story) -> None:
    ticket = {"details": "1 < 2 & 3", "requester": {"email": "a@example.com"}}
    assert story.send(add("new", **ticket)) == 0

    [made] = story.account.tickets()
    assert (made.title, made.email) == ("new", "a@example.com")
    assert made.details.startswith("1 < 2 & 3")
    [event] = story.events("new")
    assert (event["ticket_id"], event["helpdesk"]) == (made.ticket_id, story.account.name)
    assert story.types("new") == ["ticket.added"]


@in_each_manner()
def test_an_update_changes_the_state_and_writes_the_comment_once(story: Story) -> None:
    made = story.make()
    state = story.account.states[0]
    assert story.send(story.update(made.ticket_id, sub_status=state, comment="called back")) == 0

    [changed] = story.account.tickets()
    assert (changed.state, changed.comments) == (state, ("called back",))
    assert story.types("update") == ["ticket.updated"]


@in_each_manner()
def test_an_update_by_reference_finds_the_ticket_of_its_add(story: Story) -> None:
    story.send(add("new") | {"source": "shop", "reference": "order-1"})
    change = story.update("", sub_status=story.account.states[1]) | {"source": "shop", "reference": "order-1"}
    del change["ticket_id"]
    assert story.send(change) == 0

    [changed] = story.account.tickets()
    assert changed.state == story.account.states[1]


def test_a_ticket_comes_back_in_the_same_shape_from_each_helpdesk(story: Story) -> None:
    story.send(add("new", details="some words", requester={"email": "a@example.com"}))
    [made] = story.account.tickets()
    story.send(story.update(made.ticket_id, sub_status=story.account.states[0]))
    story.send({"operation": "get", "request_id": "get", "ticket_ids": [made.ticket_id]})

    [event] = story.events("get")
    ticket = event["ticket"]
    assert ticket["helpdesk"] == story.account.name
    assert ticket["ticket_id"] == event["ticket_id"] == made.ticket_id
    assert ticket["title"] == "new"
    assert ticket["details"].startswith("some words")
    assert ticket["requester"]["email"] == "a@example.com"
    assert ticket["sub_status"]["key"] == story.account.states[0]
    assert ticket["sub_status"]["name"]
    assert ticket["created_at"].endswith("Z")
    assert ticket.get("url", "http://").startswith("http")
    assert "raw" not in ticket
    assert story.deployment.call("GET", f"/tickets/{made.ticket_id}").body["tickets"] == [ticket]


def test_raw_fields_come_where_they_are_asked_for(story: Story) -> None:
    made = story.make()
    story.send({"operation": "get", "request_id": "get", "ticket_ids": [made.ticket_id], "include": ["raw"]})

    [event] = story.events("get")
    assert event["ticket"]["raw"]


@pytest.mark.parametrize("written", ["x/../{}", "{}/../{}", "{}?x=1", "{}#x", "%2e%2e/{}"])
def test_an_id_that_would_lead_elsewhere_in_a_path_reaches_no_ticket(story: Story, written: str) -> None:
    made = story.make("first")
    ticket_id = written.replace("{}", made.ticket_id)
    change = {"sub_status": story.account.states[0]}
    story.send({"operation": "get", "request_id": "get", "ticket_ids": [ticket_id]})
    story.send({"operation": "update", "request_id": "change", "ticket_id": ticket_id, "changes": change})

    outcomes = [story.events(request_id)[-1]["outcome"] for request_id in ("get", "change")]
    assert outcomes == ["rejected", "rejected"]
    assert story.account.tickets() == [made]


@in_each_manner()
def test_ids_that_do_not_exist_are_named_beside_the_tickets_that_do(story: Story) -> None:
    first, second = story.make("first"), story.make("second")
    ids = [first.ticket_id, story.account.unknown_id, second.ticket_id]
    story.send({"operation": "get", "request_id": "some", "ticket_ids": ids})
    story.send({"operation": "get", "request_id": "none", "ticket_ids": [story.account.unknown_id]})

    [some] = story.events("some")
    # Some accounts show the marker in the title only.
    assert [ticket["title"].partition(" [")[0] for ticket in some["tickets"]] == ["first", "second"]
    assert some["missing"] == [story.account.unknown_id]
    [none] = story.events("none")
    assert (none["outcome"], none["code"]) == ("rejected", "ticket_not_found")
    assert story.deployment.call("GET", f"/tickets/{story.account.unknown_id}").status == 404


def test_gets_of_one_batch_go_together(story: Story) -> None:
    tickets = [story.make(f"ticket-{number}") for number in range(4)]
    before = len(story.account.simulator.calls)
    story.send(
        *(
            {"operation": "get", "request_id": f"get-{number}", "ticket_ids": [ticket.ticket_id]}
            for number, ticket in enumerate(tickets)
        )
    )

    at_once = story.deployment.parts.helpdesk_clients[story.account.name].get_limit
    assert len(story.account.simulator.calls) == before + ceil(4 / at_once)
    for number in range(4):
        assert story.events(f"get-{number}")[0]["ticket"]["title"] == f"ticket-{number}"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────


def test_fields_that_it_cannot_take_are_all_named_without_a_call(story: Story) -> None:
    bad_add = add("bad-add") | {"ticket": story.account.bad_ticket}
    bad_update = story.update("7", **story.account.bad_changes)
    assert story.send(bad_add, bad_update) == 0

    [added], [updated] = story.events("bad-add"), story.events("update")
    assert {error["field"] for error in added["errors"]} == story.account.bad_ticket_fields
    assert {error["field"] for error in updated["errors"]} == story.account.bad_changes_fields
    assert story.account.simulator.calls == []
    posted = story.deployment.call("POST", "/tickets", bad_add)
    assert posted.status == 422
    assert {error["field"] for error in posted.body["errors"]} == story.account.bad_ticket_fields


def test_a_refusal_in_a_200_is_a_rejection_in_the_helpdesks_words(story: Story) -> None:
    story.breaks(story.account.adds, Fault(status=200, body=story.account.refusal))
    assert story.send(add("refused")) == 0

    [event] = story.events("refused")
    assert (event["outcome"], event["code"], event["message"]) == (
        "rejected",
        "refused_by_helpdesk",
        "no such queue",
    )
    assert [letter["code"] for letter in story.deployment.dead_letters()] == ["refused_by_helpdesk"]
    assert story.account.calls(story.account.adds) == 1


@in_each_manner()
def test_an_update_of_a_ticket_that_does_not_exist_is_rejected(story: Story) -> None:
    changes = {"sub_status": story.account.states[0], "comment": "c"}
    assert story.send(story.update(story.account.unknown_id, **changes)) == 0

    assert story.types("update") == ["ticket.rejected"]


# ── what has to wait ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_this_and_all_others_back_for_that_long(story: Story, status: int) -> None:
    story.breaks(story.account.adds, Fault(status=status, headers={"Retry-After": "40"}))
    assert story.send(add("held")) == 1
    assert story.send(add("next")) == 1
    story.clock.let_pass(30)
    assert story.consume_again() == 2
    assert story.account.calls(story.account.adds) == 1

    story.clock.let_pass(15)
    story.until_quiet()

    for name in ("held", "next"):
        assert story.types(name) == ["ticket.added"]
        assert len(story.tickets(name)) == 1


def test_an_outage_costs_nothing_and_work_resumes_by_itself(story: Story) -> None:
    names = [f"request-{number}" for number in range(7)]
    with story.unreachable():
        assert story.send(*map(add, names[:6])) == 6
        # The gate is closed: only a probe would be let through.
        assert story.deployment.call("POST", "/tickets", add(names[6])).status == 202
        story.clock.let_pass(ROUND_S)
        story.consume_again()
    assert story.account.simulator.calls == []
    story.until_quiet()

    assert sorted(ticket.title for ticket in story.account.tickets()) == names
    assert {kind for name in names for kind in story.types(name)} == {"ticket.added"}
    assert story.deployment.dead_letters() == []


def test_a_refused_token_holds_everything_until_the_secret_is_mended(story: Story) -> None:
    story.account.change_token("second-token")
    assert story.send(add("first"), add("second")) == 2
    before = len(story.account.simulator.calls)
    assert story.consume_again() == 2
    assert len(story.account.simulator.calls) == before, "the gate is closed"

    story.account.mend_token(story.deployment)
    assert story.consume_again() == 0

    for name in ("first", "second"):
        assert story.types(name) == ["ticket.added"]


def test_a_token_that_changes_together_with_its_secret_is_not_noticed(story: Story) -> None:
    story.make()
    story.account.change_token("second-token")
    story.account.mend_token(story.deployment)

    assert story.send(*(add(f"request-{number}") for number in range(10))) == 0

    assert len(story.tickets("request")) == 10


# ── what is in doubt ─────────────────────────────────────────────────────────────────────────────────────

LOST = {
    "reset-after": Fault(reset="after"),
    "reset-before": Fault(reset="before"),
    "500-after": Fault(status=500, act=True),
    "502-before": Fault(status=502),
    "empty-200": Fault(answer="empty"),
    "cut-json": Fault(truncate=15),
    "no-id": Fault(answer="without_id"),
}


@in_each_manner(fault=LOST, of_learnt=("reset-after", "reset-before"))
def test_an_add_whose_answer_was_lost_is_said_looked_up_and_made_once(story: Story, fault: Fault) -> None:
    story.make("shows-that-markers-come-back")
    story.breaks(story.account.adds, fault)
    assert story.send(add("lost")) == 1
    assert story.types("lost") == ["ticket.unknown"]

    counts = story.deployment.resolve_doubts()
    assert counts["found" if fault.acts else "absent"] == 1
    story.until_quiet()

    [ticket] = story.tickets("lost")
    assert story.types("lost") == ["ticket.unknown", "ticket.added"]
    assert story.events("lost")[-1]["ticket_id"] == ticket.ticket_id


def test_an_answer_that_drips_longer_than_is_waited_is_a_doubt(story: Story) -> None:
    story.make("shows-that-markers-come-back")
    story.deployment.set(READ_TIMEOUT_S="1")
    story.breaks(story.account.adds, Fault(drip=Drip(chunk_bytes=1, interval_s=0.5)))
    story.send(add("lost"))
    story.deployment.set(READ_TIMEOUT_S="15")
    story.until_quiet()

    assert story.types("lost") == ["ticket.unknown", "ticket.added"]
    assert len(story.tickets("lost")) == 1


def test_where_markers_do_not_come_back_a_doubt_is_parked_and_nothing_repeated(story: Story) -> None:
    story.account.hide_markers()
    story.breaks(story.account.adds, Fault(reset="after"))
    story.send(add("lost"))

    assert story.deployment.resolve_doubts()["parked"] == 1
    story.until_quiet()

    assert story.types("lost") == ["ticket.unknown", "ticket.parked"]
    assert len(story.tickets("lost")) == 1
    assert [letter["code"] for letter in story.deployment.dead_letters()] == ["outcome_unknown"]


@pytest.mark.parametrize(("field", "ends"), [("title", "ticket.added"), ("off", "ticket.parked")])
def test_the_marker_stands_where_the_settings_say(story: Story, field: str, ends: str) -> None:
    story.deployment.set(**{story.account.marker_variable: field})
    story.breaks(story.account.adds, Fault(reset="after"))
    story.send(add("lost", details="words"))
    [ticket] = story.account.tickets()
    assert "tb-" not in ticket.details
    assert ("tb-" in ticket.title) == (field == "title")
    story.until_quiet()

    assert story.types("lost") == ["ticket.unknown", ends]
    assert len(story.account.tickets()) == 1


@in_each_manner()
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_update_without_a_comment_is_simply_repeated(
    story: Story, when: Literal["before", "after"]
) -> None:
    made = story.make()
    story.breaks(story.account.updates, Fault(reset=when))
    assert story.send(story.update(made.ticket_id, sub_status=story.account.states[0])) == 1
    story.until_quiet()

    assert story.types("update") == ["ticket.updated"]
    [changed] = story.account.tickets()
    assert changed.state == story.account.states[0]


@in_each_manner()
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_comment_whose_answer_was_lost_is_never_written_twice(
    story: Story, when: Literal["before", "after"]
) -> None:
    made = story.make()
    before = story.update(made.ticket_id, sub_status=story.account.states[0], comment="said before")
    story.send(before | {"request_id": "before"})
    story.until_quiet()
    story.breaks(story.account.comments, Fault(reset=when))
    story.send(story.update(made.ticket_id, sub_status=story.account.states[0], comment="said once"))
    story.until_quiet()

    [changed] = story.account.tickets()
    if story.account.comments_can_be_looked_up:
        assert story.types("update") == ["ticket.unknown", "ticket.updated"]
        assert changed.comments == ("said before", "said once")
    else:
        assert story.types("update") == ["ticket.unknown", "ticket.parked"]
        assert changed.comments == ("said before", "said once")[: 2 if when == "after" else 1]


def test_a_get_that_broke_is_repeated(story: Story) -> None:
    made = story.make()
    story.breaks("*", Fault(reset="after"))
    story.send({"operation": "get", "request_id": "get", "ticket_ids": [made.ticket_id]})
    story.until_quiet()

    assert story.types("get") == ["ticket.retrieved"]


# ── what comes twice ─────────────────────────────────────────────────────────────────────────────────────


def test_a_request_that_comes_again_is_answered_again_and_not_repeated(story: Story) -> None:
    assert story.send(add("once")) == 0
    assert story.send(add("once"), add("once")) == 0
    story.until_quiet()

    assert len(story.tickets("once")) == 1
    assert story.types("once") == ["ticket.added"]
    assert story.account.calls(story.account.adds) == 1


def test_a_comment_that_comes_again_is_not_written_again(story: Story) -> None:
    made = story.make()
    change = story.update(made.ticket_id, sub_status=story.account.states[0], comment="said once")
    story.send(change)
    story.send(change)
    story.until_quiet()

    [changed] = story.account.tickets()
    assert changed.comments == ("said once",)
    assert story.types("update") == ["ticket.updated"]


def test_an_id_that_belongs_to_another_request_is_refused(story: Story) -> None:
    story.make("taken")
    story.send({"operation": "add", "request_id": "taken", "ticket": {"title": "something else"}})

    assert [event.get("code") for event in story.events("taken")] == [None, "request_id_reused"]
    assert len(story.account.tickets()) == 1


def test_the_api_asks_the_helpdesk_that_the_call_names(story: Story) -> None:
    made = story.make()
    helpdesk = story.account.name

    answer = story.deployment.call("GET", f"/tickets/{made.ticket_id}", query={"helpdesk": helpdesk})
    unreadable = story.deployment.call("GET", "/tickets/a b", query={"helpdesk": helpdesk})

    assert answer.status == 200
    assert answer.body["tickets"][0]["helpdesk"] == helpdesk
    assert unreadable.status == 422
