"""What `bridge learn` finds out about accounts of each kind, and what it writes down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import requests
from click.testing import CliRunner

from bridge.commands.learn import ask
from bridge.learning import facts
from bridge.learning.facts import Learnt, Point
from bridge.learning.learner import Account, Bounds, learn
from bridge.learning.profiles import manner_of
from bridge.local.helpdesks import HELPDESKS, Wish
from bridge.local.state import StateFolder
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.switches import SocialboardsSwitches
from bridge.stacks import local_stack
from helpdesk.clients.kapture.settings import KaptureSettings
from helpdesk.clients.socialboards.settings import SocialboardsSettings
from tests.deployment import Clock
from tests.profiles import DEFAULTS, PROFILES
from tests.terminal import Terminal

TOKEN = "canary-token-5f1c9a77"
CANARIES = ("canary-title", "canary-details", "canary-name", "canary@example.com", "canary-words", TOKEN[:12])

type Learn = Callable[..., Learnt]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reported() -> list[tuple[str, Point]]:
    return []


@pytest.fixture
def learnt_from(clock: Clock, reported: list[tuple[str, Point]]) -> Learn:
    """Learns a simulated account of Kapture; whatever is waited for, the simulator's clock passes."""

    def run(simulator: KaptureSimulator, secret: dict[str, str], **bounds: Any) -> Learnt:
        with running(simulator.app()) as url:
            return learn(
                kapture_at(url, secret),
                Bounds(**bounds),
                lambda name, point: reported.append((name, point)),
                clock=clock,
                sleep=clock.let_pass,
            )

    return run


def kapture_at(url: str, secret: dict[str, str]) -> Account:
    settings = KaptureSettings.model_validate({"url": url, "secret_arn": "arn"}, by_name=True)
    return Account(
        helpdesk="kapture",
        settings=settings,
        secret=json.dumps(secret),
        parameters=DEFAULTS,
        defaults=DEFAULTS,
        connect_timeout_s=2,
        read_timeout_s=5,
    )


@pytest.mark.parametrize("name", PROFILES)
def test_each_manner_of_an_account_is_found_and_its_setting_proposed(
    learnt_from: Learn, clock: Clock, name: str
) -> None:
    profile = PROFILES[name]

    learnt = learnt_from(profile.simulator(TOKEN, clock), profile.secret(TOKEN))

    assert {fact: learnt.facts.get(fact) for fact in profile.facts} == profile.facts
    assert {name: proposal.value for name, proposal in learnt.settings.items()} == profile.settings
    assert {point.state for point in learnt.points.values()} == {"known"}
    assert len(learnt.tickets) <= 2


def test_the_file_holds_no_key_and_no_text_of_a_customer(
    learnt_from: Learn, clock: Clock, tmp_path: Path
) -> None:
    simulator = PROFILES["documented"].simulator(TOKEN, clock)
    words = json.dumps({"status": "failed", "message": f"canary-words {TOKEN} canary-title", TOKEN: "x"})
    simulator.faults.add(FaultRule(operation="update", match="TB_UNKNOWN", fault=Fault(body=words)))
    customers = {
        "title": "canary-title",
        "ticket_details": "canary-details",
        "customer_name": "canary-name",
        "email_id": "canary@example.com",
        "canary-name": {"canary-title": "canary-details"},
    }

    with running(simulator.app()) as url:
        post(url, customers)
    learnt = learnt_from(simulator, {"token": TOKEN})
    facts.write(tmp_path / "helpdesk.kapture.json", learnt)

    text = (tmp_path / "helpdesk.kapture.json").read_text().casefold()
    assert learnt.facts["failures.unknown_sub_status"] == {"status": 200, "read_as": "refused_by_helpdesk"}
    assert [canary for canary in CANARIES if canary.casefold() in text] == []
    assert facts.read(tmp_path / "helpdesk.kapture.json") == learnt


def test_the_local_helpdesk_behaves_as_the_account_did(tmp_path: Path) -> None:
    profile = PROFILES["own_keys_and_objects"]
    state, desk = StateFolder(tmp_path / "state"), HELPDESKS[0]
    wish = local_stack.in_manner_of(profile.learnt, Wish())
    try:
        simulator = local_stack.start_simulator(state, desk, wish)
        url = local_stack.ready_url(state, desk.simulator, simulator)
        learnt = learn(kapture_at(url, {**desk.credentials, **wish.keys}), Bounds(wait_s=0), lambda *_: None)
    finally:
        state.stop_all()

    manners = {name: fact for name, fact in profile.facts.items() if not name.startswith("shown_after_s")}
    assert {name: learnt.facts.get(name) for name in manners} == manners


def post(url: str, ticket: dict[str, Any]) -> None:
    """Adds a ticket of somebody else."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(
            f"{url}/add-ticket-from-other-source.html/v.2.0",
            json=[ticket],
            headers={"Authorization": f"Basic {TOKEN}"},
            timeout=5,
        ).raise_for_status()


def test_a_second_run_says_what_has_changed_and_nothing_else(learnt_from: Learn, clock: Clock) -> None:
    simulator = PROFILES["documented"].simulator(TOKEN, clock)
    first = learnt_from(simulator, {"token": TOKEN})
    same = learnt_from(simulator, {"token": TOKEN})
    simulator.switches = simulator.switches.model_copy(update={"escaped": "all", "pull_lag_s": 25.0})
    other = learnt_from(simulator, {"token": TOKEN})

    assert list(facts.changes(first, same)) == []
    assert list(facts.changes(same, other)) == ["shown_after_s.pull: 0.0 -> 30.0", "escaped: names -> all"]


def test_a_key_that_opens_little_is_named(learnt_from: Learn, clock: Clock) -> None:
    switches = KaptureSwitches(keys={"pull": "another", "update": "another"})
    simulator = KaptureSimulator(token=TOKEN, clock=clock, switches=switches)

    learnt = learnt_from(simulator, {"token": TOKEN}, wait_s=4)

    assert learnt.points["keys"].said == "no key of the secret opens update, pull: put theirs into it"
    assert learnt.facts["keys.add"] == ["token"]
    assert learnt.points["ids of a get"].state == "known"
    # The local helpdesk refuses them too.
    assert manner_of(learnt).switches["keys"].keys() == {"pull", "update"}
    assert manner_of(learnt).keys == {}


def test_every_point_ends_where_the_helpdesk_cannot_be_reached(
    clock: Clock, reported: list[tuple[str, Point]]
) -> None:
    account = kapture_at("http://127.0.0.1:9", {"token": TOKEN})

    learnt = learn(account, Bounds(), lambda name, point: reported.append((name, point)), clock=clock)

    assert {point.state for point in learnt.points.values() if point is not learnt.points["rate"]} == {
        "unknown"
    }
    assert [name for name, _ in reported] == list(learnt.points)
    assert (learnt.tickets, learnt.settings) == ((), {})
    assert learnt.calls < 20


def test_a_run_ends_when_it_is_asked_to_wait(learnt_from: Learn, clock: Clock) -> None:
    simulator = PROFILES["documented"].simulator(TOKEN, clock)
    headers = {"Retry-After": "7", "X-RateLimit-Limit": "100", "X-RateLimit-Reset": "soon"}
    refusal = Fault(status=429, headers=headers)
    simulator.faults.add(FaultRule(operation="pull", match="20", fault=refusal))

    learnt = learnt_from(simulator, {"token": TOKEN})

    assert [call.status for call in simulator.calls].count(429) == 1
    assert simulator.calls[-1].status == 429
    assert learnt.points["latency"].said == "the helpdesk asks us to wait (HTTP 429)"
    assert learnt.facts["rate.x-ratelimit-limit"] == 100
    assert learnt.settings["KaptureBudget"].value == "80"


def test_a_run_makes_no_more_calls_than_it_says(learnt_from: Learn, clock: Clock) -> None:
    simulator = PROFILES["slow_and_escaping"].simulator(TOKEN, clock)

    learnt = learnt_from(simulator, {"token": TOKEN}, rate=True)

    assert len(simulator.calls) == learnt.calls <= Bounds(rate=True).most_calls("kapture")
    assert [call.operation for call in simulator.calls].count("add") == 4


@pytest.mark.parametrize(("rate", "answers", "questions"), [(False, "y\n", 1), (True, "y\ny\n", 2)])
def test_it_says_what_it_will_make_and_asks_about_the_rate_once_more(
    rate: bool, answers: str, questions: int
) -> None:
    account, bounds = kapture_at("http://127.0.0.1:9", {"token": TOKEN}), Bounds(rate=rate)
    with CliRunner(mix_stderr=False).isolation(Terminal(answers)) as (_, said):
        ask(account, bounds)

    text = said.getvalue().decode() if said else ""
    assert text.count("[y/N]") == questions
    assert f"at most {bounds.most_calls('kapture')} calls in at most 10 minutes" in text
    with CliRunner().isolation(Terminal("n\n")), pytest.raises(click.exceptions.Exit):
        ask(account, bounds)


SOCIALBOARDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as proposed": (
        {},
        {
            "calls.missing": [],
            "mint_failure": "oauth",
            "pascal_case": False,
            "comments_readable": True,
            "marker.details.pull": "whole",
            "shown_after_s.pull": 0.0,
        },
    ),
    "otherwise": (
        {
            "failure_status": "by_cause",
            "mint_failure": "envelope",
            "unverified_calls": "missing",
            "pascal_case": True,
            "list_lag_s": 15.0,
            "marker_returned": False,
        },
        {
            "calls.missing": ["get", "note", "status"],
            "mint_failure": "envelope",
            "pascal_case": True,
            "marker.details.pull": "absent",
            "marker.title.pull": "whole",
            "shown_after_s.pull": 15.0,
        },
    ),
}


@pytest.mark.parametrize("name", SOCIALBOARDS)
def test_socialboards_is_learnt_in_the_same_way(clock: Clock, name: str) -> None:
    switches, manners = SOCIALBOARDS[name]
    simulator = SocialboardsSimulator(
        token=TOKEN, client_id="client", clock=clock, switches=SocialboardsSwitches.model_validate(switches)
    )
    with running(simulator.app()) as url:
        account = Account(
            helpdesk="socialboards",
            settings=SocialboardsSettings.model_validate({"url": url, "secret_arn": "arn"}, by_name=True),
            secret=json.dumps({"refresh_token": TOKEN, "client_id": "client"}),
        )
        learnt = learn(account, Bounds(), lambda *_: None, clock=clock, sleep=clock.let_pass)

    assert {fact: learnt.facts.get(fact) for fact in manners} == manners
    assert TOKEN not in learnt.model_dump_json()
