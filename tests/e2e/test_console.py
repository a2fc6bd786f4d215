"""The console in a real browser: what a person sees and does, on the deployed stack."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from click.testing import CliRunner
from playwright.sync_api import expect

from bridge import cli
from bridge.console.connection import LocalConnection
from bridge.console.guard import Guard
from bridge.console.server import Server
from bridge.console.view import Console
from bridge.local.emulator import client_environment
from bridge.local.sam import STACK_NAME
from bridge.local.state import PROJECT, StateFolder
from bridge.operating.operations import Operations
from bridge.simulators.server import running
from bridge.stacks.target import local
from tests.e2e.browser import PATIENCE_MS, browser, needs_browser, page_in
from tests.e2e.waiting import GENEROUS_S, judging_ten_seconds, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Route

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack

pytestmark = needs_browser
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def page(started: Browser, stack: Stack) -> Iterator[Page]:
    """The page that `bridge up` serves; nothing it does may end in an error."""
    with page_in(started) as shown:
        shown.goto(stack.console_url)
        expect(shown.locator("[data-helpdesk]")).to_have_count(2)
        yield shown


def _new_id() -> str:
    return f"console-test-{uuid.uuid4().hex[:8]}"


def _row(page: Page, request_id: str) -> Locator:
    return page.locator(f'[data-request="{request_id}"]')


def _send_add(page: Page, request_id: str, title: str) -> None:
    page.get_by_label("Title").fill(title)
    page.get_by_label("Request id (the same").fill(request_id)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#try-answer")).to_contain_text(f"Request {request_id} is in the queue.")


def _park(aws: Clients, stack: Stack) -> str:
    """A request that is rejected, and whose copy is in the dead-letter queue."""
    request_id = _new_id()
    # Kapture wants a sub-status, which only its own check knows.
    body = {
        "operation": "update",
        "request_id": request_id,
        "ticket_id": "1",
        "changes": {"comment": "no status"},
    }
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
    until(lambda: _is_parked(stack, request_id))
    return request_id


def _is_parked(stack: Stack, request_id: str) -> bool:
    """Its outcome is told a little before."""
    return any(copy.request_id == request_id for copy in Operations(local(stack)).parked().copies)


def test_a_submitted_form_becomes_a_ticket_before_ones_eyes(page: Page) -> None:
    page.get_by_label("Submit a form").check()
    page.locator("#try").get_by_role("combobox", name="Form").select_option("contact")
    submission = page.get_by_label("Submission, signed")
    title = f"Parcel {uuid.uuid4().hex[:6]}"
    submission.fill(submission.input_value().replace("Where+is+my+parcel%3F", title.replace(" ", "+")))

    page.get_by_role("button", name="Send", exact=True).click()

    answer = page.locator("#try-answer")
    expect(answer).to_contain_text("answered with 303; it is request contact:")
    request_id = answer.inner_text().rpartition(" ")[2].rstrip(".")
    expect(_row(page, request_id)).to_contain_text("succeeded")
    expect(_row(page, request_id)).to_contain_text("→ ticket")
    # The table shows the latest fifty tickets: its length tells nothing once there are more.
    expect(page.locator('[data-simulator="kapture"]').get_by_role("cell", name=title)).to_have_count(1)
    # Those who do not see it are told.
    expect(page.locator("#news")).to_contain_text(f"{request_id} succeeded")


def test_a_story_has_an_address_that_a_colleagues_console_understands(
    page: Page, started: Browser, state: StateFolder
) -> None:
    request_id, story = _new_id(), page.locator("#story")
    _send_add(page, request_id, "told")
    expect(_row(page, request_id)).to_contain_text("succeeded")
    page.get_by_role("link", name=f"Story of {request_id}").click()
    expect(story).to_contain_text("The call to Kapture began")
    expect(story).to_contain_text("succeeded, ticket")
    expect(story).to_contain_text(f"bridge trace {request_id} --state-dir {state.root}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    story.get_by_role("button", name="Copy link").click()
    expect(page.locator("#done")).to_have_text("Copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"#request={request_id}", "the key stays here"

    page.go_back()
    expect(story).to_be_hidden()
    page.go_forward()
    expect(story).to_contain_text(request_id)

    with _served(state) as url, page_in(started) as theirs:
        theirs.goto(url + link)
        expect(theirs.locator("#story")).to_contain_text("The call to Kapture began")
        theirs.get_by_role("button", name="Close the story").click()
        expect(theirs.locator("#story")).to_be_hidden()
        theirs.get_by_label("Request id, or a story").fill(f"http://127.0.0.1:1/another-key/{link}")
        theirs.keyboard.press("Enter")
        expect(theirs.locator("#story")).to_contain_text("The call to Kapture began")


def test_a_wrong_field_is_marked_where_it_stands(started: Browser, stack: Stack) -> None:
    with page_in(started, refusals=True) as page:
        page.goto(stack.console_url)
        expect(page.locator("[data-helpdesk]")).to_have_count(2)
        page.get_by_label("Requester’s e-mail").fill("nobody")
        page.get_by_role("button", name="Send", exact=True).click()

        expect(page.locator("#try-answer")).to_contain_text("invalid")
        expect(page.get_by_label("Title")).to_be_focused()
        expect(page.get_by_label("Title")).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("Requester’s e-mail")).to_have_attribute("aria-invalid", "true")


def test_what_a_stranger_writes_is_shown_as_text(page: Page) -> None:
    request_id = _new_id()
    title = f"<img src=x onerror=alert(1)> {request_id}"

    _send_add(page, request_id, title)

    expect(page.locator('[data-simulator="kapture"]').get_by_role("cell", name=title)).to_be_visible()
    expect(page.locator("main img")).to_have_count(0)


def test_a_pause_is_seen_holds_requests_and_is_taken_back(page: Page) -> None:
    kapture = page.locator('[data-helpdesk="kapture"]')
    kapture.get_by_role("button", name="Pause Kapture").click()
    try:
        expect(kapture).to_contain_text("Kapture is paused.")
        # Alarms that others have raised may stand beside it.
        expect(page.locator("#needs")).to_contain_text("Kapture is paused")
        request_id = _new_id()
        _send_add(page, request_id, "waits for the end of a pause")
        expect(_row(page, request_id)).to_contain_text("waiting")
        expect(_row(page, request_id)).to_contain_text("paused")
        expect(kapture).to_contain_text(
            "Its requests wait until it is resumed. In the queue of all helpdesks:"
        )
    finally:
        page.get_by_role("button", name="Resume Kapture").click()
    expect(kapture.locator(".state")).to_have_text("works")
    expect(page.locator("#needs")).not_to_contain_text("Kapture is paused")


def test_parked_requests_are_redriven_after_a_dry_run(page: Page, aws: Clients, stack: Stack) -> None:
    request_id = _park(aws, stack)
    expect(_row(page, request_id)).to_contain_text("rejected")
    page.locator("#needs").get_by_role("button", name="Look at them").click()
    parked = page.locator("#parked")
    expect(parked).to_be_focused()
    again = parked.locator("button.main")
    expect(again).to_be_disabled()

    expect(again).to_have_accessible_description(re.compile("First a dry run"))

    parked.get_by_label("Request id").fill(request_id)
    parked.get_by_role("button", name="Dry run").click()
    expect(parked).to_contain_text("1 request would be sent again.")

    # What was not shown by a dry run cannot be sent.
    parked.get_by_label("Request id").fill("")
    expect(again).to_be_disabled()
    parked.get_by_label("Request id").fill(request_id)
    parked.get_by_role("button", name="Dry run").click()
    expect(again).to_have_text("Send 1 again")
    again.click()
    expect(parked).to_contain_text("1 request was sent again.")

    page.get_by_role("link", name=f"Story of {request_id}").first.click()
    expect(page.locator("#story-content li").filter(has_text="Outcome published: rejected")).to_have_count(2)
    until(lambda: _is_parked(stack, request_id))


@pytest.mark.usefixtures("nothing_parked")
def test_a_wrong_request_is_found_corrected_and_sent_and_another_one_dropped(
    started: Browser, aws: Clients, stack: Stack, state: StateFolder
) -> None:
    wrong, dropped, source = _new_id(), _park(aws, stack), f"shop-{uuid.uuid4().hex[:6]}"
    ticket = {"title": f"Parcel {wrong}", "due_date": "tomorrow"}
    body = {"operation": "add", "request_id": wrong, "source": source, "ticket": ticket}
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
    with page_in(started, refusals=True) as page:
        story, needs = page.locator("#story"), page.locator("#needs")
        page.goto(stack.console_url)
        expect(_row(page, wrong)).to_contain_text("rejected")
        expect(needs).to_contain_text("Alarm dead-letters")

        page.get_by_text("Find by source").click()
        page.get_by_label("Source", exact=True).first.fill(source)
        page.get_by_label("Since").fill("2h")
        page.get_by_role("button", name="Find", exact=True).click()
        found = page.locator("#found")
        expect(found).to_contain_text("1 request at")
        # For who opens it later 2h would be another moment.
        expect(page).to_have_url(re.compile(rf"#source={source}&since=20[\d-]+T[\d:]+Z$"))
        expect(page.get_by_label("Since")).to_have_value("2h")
        found.get_by_role("link", name=f"Story of {wrong}").click()
        expect(story).to_contain_text("ticket.due_date: must be written out")

        story.get_by_role("button", name="Edit").click()
        text = page.get_by_label("The request, as JSON")
        expect(text).to_be_focused()
        text.fill(text.input_value().replace("tomorrow", "soon"))
        story.get_by_role("button", name="Check and send").click()
        expect(story).to_contain_text("Nothing is sent")
        story.get_by_role("button", name="ticket.due_date").click()
        assert text.evaluate("box => box.value.slice(box.selectionStart, box.selectionEnd)") == '"due_date"'
        text.fill(text.input_value().replace("soon", "2026-12-31"))
        story.get_by_role("button", name="Check and send").click()
        expect(page.locator("#done")).to_have_text(f"{wrong} is sent again.")
        expect(story).to_contain_text("succeeded, ticket")

        page.goto(f"{stack.console_url}#request={dropped}")
        expect(story).to_contain_text("changes.sub_status: is required by kapture")
        story.get_by_role("button", name="Drop").click()
        expect(story).to_contain_text("Say why: it is remembered.")
        story.get_by_label("Why drop").fill("the shop has closed the ticket itself")
        story.get_by_role("button", name="Drop").click()
        expect(story).to_contain_text("dropped its parked copy: the shop has closed the ticket itself")
        expect(story).to_contain_text("No copy of it is parked.")
        with judging_ten_seconds(stack, "dead-letters"):
            expect(needs).not_to_contain_text("dead-letters")
        cells = page.locator('[data-simulator="kapture"]').get_by_role("cell", name=f"Parcel {wrong}")
        expect(cells).to_have_count(1)

    told = [_trace(state, request_id) for request_id in (wrong, dropped)]
    assert "corrected it and sent it again. Wrong before: ticket.due_date." in told[0]
    assert told[0].startswith(f"{wrong} at kapture: succeeded, ticket ")
    assert "dropped its parked copy: the shop has closed the ticket itself" in told[1]
    assert "changes.sub_status: is required by kapture" in told[1]


def _trace(state: StateFolder, request_id: str) -> str:
    arguments = ["trace", request_id, "--state-dir", str(state.root)]
    return CliRunner(mix_stderr=False).invoke(cli.bridge, arguments).stdout


def test_a_refused_token_is_told_at_the_top_until_it_is_taken_again(page: Page) -> None:
    helpdesk = page.locator('[data-helpdesk="socialboards"]')
    simulator = page.locator('[data-simulator="socialboards"]')
    simulator.get_by_role("button", name="Refuse the token").click()
    expect(simulator).to_contain_text("It refuses the token that is in the secret")
    page.locator("#try").get_by_label("Helpdesk").select_option("socialboards")
    _send_add(page, _new_id(), "refused")
    try:
        expect(page.locator("#verdict")).to_contain_text("Not everything works")
        expect(page.locator("#needs")).to_contain_text("Socialboards refuses the token")
    finally:
        simulator.get_by_role("button", name="Take the token again").click()
        expect(simulator).to_contain_text("no fault is switched on")
        # Unless a probe of the stack's own has opened its gate meanwhile.
        helpdesk.locator("button").evaluate("it => it.textContent.startsWith('Resume') && it.click()")
    # The request that has waited goes first.
    expect(helpdesk.locator(".state")).to_have_text(re.compile("works|answers again"))
    expect(page.locator("#needs")).not_to_contain_text("Socialboards refuses")


def test_a_switched_on_fault_is_listed_until_it_is_off(page: Page) -> None:
    simulator = page.locator('[data-simulator="socialboards"]')

    simulator.get_by_role("button", name="Slow (3 s)").click()
    # What runs by the clock may have called it: so it has its own number of calls.
    expect(simulator.get_by_role("listitem")).to_contain_text("Slow (3 s)")
    simulator.get_by_role("button", name="Work again").click()

    expect(simulator).to_contain_text("no fault is switched on")
    expect(simulator.get_by_role("listitem")).to_have_count(0)


def test_everything_is_reached_and_done_by_keyboard_alone(page: Page) -> None:
    def tab_to(target: Locator) -> None:
        for _ in range(1000):
            page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{target} is not reached by keyboard")

    request_id = _new_id()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the requests")).to_be_focused()
    tab_to(page.get_by_label("Title"))
    page.keyboard.type("by keyboard")
    tab_to(page.get_by_label("Request id (the same"))
    page.keyboard.type(request_id)
    page.keyboard.press("Enter")
    expect(_row(page, request_id)).to_contain_text("succeeded")

    story = page.get_by_role("link", name=f"Story of {request_id}")
    tab_to(story)
    assert story.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#story")).to_contain_text("began")
    expect(page.locator("#story")).to_be_focused()
    tab_to(page.get_by_role("button", name="Close the story"))
    page.keyboard.press("Enter")
    expect(story).to_be_focused()
    # New rows come and go around it, and the focus stays.
    _seen_again(page)
    expect(story).to_be_focused()

    pause = page.locator('[data-helpdesk="socialboards"] button')
    tab_to(pause)
    page.keyboard.press("Space")
    expect(pause).to_have_text("Resume Socialboards")
    expect(pause).to_be_focused()
    page.keyboard.press("Space")
    expect(pause).to_have_text("Pause Socialboards")


# How much an element's words stand out, from 1 to 21, as WCAG counts it.
CONTRAST = """element => {
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  };
  const { color, backgroundColor } = getComputedStyle(element);
  const [less, more] = [light(color), light(backgroundColor)].sort((one, other) => one - other);
  return more / less;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_can_be_read_by_everybody(
    started: Browser, aws: Clients, stack: Stack, scheme: str, width: int
) -> None:
    request_id = _park(aws, stack)
    with page_in(started, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        page.goto(stack.console_url)
        expect(_row(page, request_id)).to_contain_text("rejected")
        page.get_by_text("Find by source").click()
        page.locator("#filters").get_by_label("State").select_option("rejected")
        page.get_by_role("button", name="Find", exact=True).click()
        page.locator("#found").get_by_role("link", name=f"Story of {request_id}").click()
        page.locator("#story").get_by_role("button", name="Edit").click()
        expect(page.get_by_label("The request, as JSON")).to_be_focused()
        page.locator("#look").click()
        for name in ("Send again", "Drop"):
            button = page.locator("#parked").get_by_role("button", name=name, exact=True)
            expect(button).to_be_disabled()
            # Axe judges no disabled buttons, and people read them all the same.
            assert button.evaluate(CONTRAST) >= 4.5, name
            expect(button).to_have_accessible_description(re.compile("dry run: only what it has counted"))
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("#parked")).to_contain_text("would be sent again")
        if not page.locator("#plots-fold").evaluate("fold => fold.open"):
            page.locator("#plots-fold > summary").click()
        outcomes = page.locator('[data-plot="outcomes"]')
        expect(outcomes.get_by_role("img")).to_have_accessible_name(re.compile(r"\d rejected"))
        outcomes.locator("summary").click()
        expect(outcomes.get_by_role("row").nth(1)).to_be_visible()
        page.locator("#calm-alarms summary").click()

        report = Axe().run(page)

        assert report.violations_count == 0, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def _alarm(name: str, words: str, *, is_raised: bool = False, has_figures: bool = True) -> dict[str, Any]:
    return {"name": name, "is_raised": is_raised, "has_figures": has_figures, "description": words}


TROUBLED: dict[str, Any] = {
    "stack": "production",
    "is_local": False,
    "region": "eu-west-1",
    "at": 1795294800.0,
    "every_s": 1,
    "problems": [],
    "alarms": [
        _alarm("token-refused", "The helpdesk refuses our token.", is_raised=True),
        _alarm("dead-letters", "Requests were rejected or parked."),
        _alarm("paused", "An operator has paused."),
        _alarm("key-ends", "A key ends soon.", has_figures=False),
    ],
    "helpdesks": [
        {
            "name": "kapture",
            "title": "Kapture",
            "state": "closed",
            "words": "Kapture refuses the token (closed since 2026-11-22T03:15:00Z). 3 requests wait.",
            "needs_token": True,
            "refused_keys": ["pull"],
            "doubts": ["order-1"],
            "budget": {"limit": 60, "period_s": 60.0, "used": 57},
        }
    ],
    "queues": {"waiting": 1204, "parked": 0},
    "requests": [],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_trouble_is_told_at_the_top_in_the_alarms_words(
    started: Browser, tmp_path: Path, scheme: str
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": 360, "height": 800}}
    with _shown(started, tmp_path, TROUBLED, **options) as page:
        # The closed gate and the alarm about it are one thing.
        expect(page.locator("#verdict")).to_have_text("Not everything works: 2 things need a person")
        expect(page.locator("#needs")).to_contain_text("Alarm token-refused")
        expect(page.locator("#needs")).to_contain_text("Kapture refuses our key for pull")
        expect(page.locator("#needs")).to_contain_text("The helpdesk refuses our token.")
        expect(page.locator("#needs")).to_contain_text("Put one into its secret")
        expect(page.locator("#figures")).to_contain_text("1204")
        expect(page.locator("[data-helpdesk]")).to_contain_text("57 of 60 calls in the last 60 seconds")
        expect(page).to_have_title("Not everything works: 2 things need a person – Ticket Bridge")
        assert Axe().run(page).violations_count == 0


def test_raised_alarms_are_listed_and_the_others_folded(started: Browser, tmp_path: Path) -> None:
    with _shown(started, tmp_path, TROUBLED) as page:
        expect(page.locator("#alarms > li")).to_have_count(1)
        expect(page.locator("#alarms")).to_contain_text("The helpdesk refuses our token.")
        others = page.locator("#calm-alarms")
        expect(others.locator("summary")).to_have_text("2 alarms are quiet, 1 alarm has no figures yet")
        expect(others.locator("li").first).to_be_hidden()

        others.locator("summary").press("Enter")

        expect(others.locator("li").filter(has_text="key-ends").locator(".state")).to_have_text("no figures")


CALM = TROUBLED | {
    "alarms": [_alarm("paused", "An operator has paused.")],
    "helpdesks": [
        TROUBLED["helpdesks"][0] | {"state": "open", "needs_token": False, "refused_keys": [], "words": ""}
    ],
    "queues": {"waiting": 0, "parked": 0},
}
KAPTURE = CALM["helpdesks"][0]
RAISED = {"alarms": [_alarm("paused", "An operator has paused.", is_raised=True)]}
FAILS = {"name": "kapture", "title": "Kapture", "count": 0, "tickets": [], "faults": [], "takes_token": False}
DOWN = KAPTURE | {"state": "closed", "words": "Kapture is down."}
TRIED = KAPTURE | {"state": "trial", "words": "Kapture answers again."}


HEADLINES: dict[str, tuple[dict[str, Any], str, str]] = {
    "calm": ({}, "Everything works", "works"),
    "alarm_lags_after_resume": (RAISED, "It works again; an alarm has yet to clear", "works"),
    "pause_and_its_alarm": (
        RAISED | {"helpdesks": [KAPTURE | {"state": "paused", "words": "Kapture is paused."}]},
        "Not everything works: 1 thing needs a person",
        "paused",
    ),
    "closed_and_nothing_waits": ({"helpdesks": [DOWN]}, "Kapture is not called; nothing to do", "not called"),
    "closed": ({"helpdesks": [DOWN], "queues": {"waiting": 3}}, "Requests wait; nothing to do", "not called"),
    "closed_and_its_alarm": (
        {
            "helpdesks": [DOWN],
            "queues": {"waiting": 3},
            "alarms": [_alarm("helpdesk-down", "A helpdesk is down.", is_raised=True)],
        },
        "Requests wait; nothing to do",
        "not called",
    ),
    "probe_succeeded": (
        {"helpdesks": [TRIED], "queues": {"waiting": 3}},
        "Requests wait; nothing to do",
        "answers again",
    ),
    "probe_succeeded_and_nothing_waits": ({"helpdesks": [TRIED]}, "Everything works", "answers again"),
    "key_refused": (
        {"helpdesks": [KAPTURE | {"refused_keys": ["pull"]}]},
        "Not everything works: 1 thing needs a person",
        "works in part",
    ),
    "simulator_refuses_the_token": (
        {"simulators": [FAILS]},
        "A simulated helpdesk is made to fail",
        "made to fail",
    ),
    "simulator_takes_the_token_again": (
        {"helpdesks": [DOWN | {"needs_token": True}], "simulators": [FAILS | {"takes_token": True}]},
        "Kapture is not called; nothing to do",
        "not called",
    ),
}


def test_headline_and_helpdesk_never_contradict_each_other(started: Browser, tmp_path: Path) -> None:
    with _shown(started, tmp_path, CALM) as page:
        for case, (differs, headline, chip) in HEADLINES.items():
            with page.expect_response("**/api/now"):
                page.route("**/api/now", _seeing(CALM | differs))
            expect(page.locator("#verdict"), case).to_have_text(headline)
            expect(page.locator("[data-helpdesk] .state"), case).to_have_text(chip)


def test_what_an_action_says_comes_with_a_look_that_began_after_it(started: Browser, tmp_path: Path) -> None:
    held: list[Route] = []
    paused = CALM | {"helpdesks": [KAPTURE | {"state": "paused", "words": "Kapture is paused."}]}
    with _shown(started, tmp_path, CALM) as page:
        chip, done = page.locator("[data-helpdesk] .state"), page.locator("#done")
        expect(chip).to_have_text("works")
        page.route("**/api/pause", lambda route: route.fulfill(json={"words": "kapture is paused"}))
        with page.expect_request("**/api/now"):
            page.route("**/api/now", lambda route: held.append(route))  # noqa: PLW0108 - it needs a function

        page.locator("[data-helpdesk] button").click()
        with page.expect_request("**/api/now"):
            # This one began before the pause.
            held.pop().fulfill(json=CALM)
        expect(done).to_be_hidden()
        held.pop().fulfill(json=paused)

        expect(done).to_have_text("kapture is paused")
        expect(chip).to_have_text("paused")
        page.unroute("**/api/now")


def test_what_may_not_be_read_is_named_and_the_rest_is_shown(started: Browser, tmp_path: Path) -> None:
    partly = TROUBLED | {"alarms": None, "problems": ["alarms: AccessDenied: not authorized"], "queues": {}}
    with _shown(started, tmp_path, partly) as page:
        expect(page.locator("#verdict")).to_have_text("Not everything can be read")
        expect(page.locator("#why")).to_contain_text("alarms: AccessDenied: not authorized")
        expect(page.locator("#needs")).to_contain_text("Kapture is not called")
        # No number where none is known.
        expect(page.locator("#figures dd")).to_have_text(["–", "1", "–", "–"])
        expect(page.locator("#alarms-words")).to_have_text("The alarms could not be read.")


QUIET = [None] * 60
SERIES: dict[str, Any] = {
    "from": 1795291260.0,
    "step_s": 60,
    "every_s": 60,
    "outcomes": {
        "succeeded": [0] * 30 + [4, 9] + [0] * 28,
        "rejected": [0] * 31 + [1] + [0] * 28,
        "parked": [0] * 60,
        "unknown": [0] * 60,
    },
    "latencies": [
        {
            "title": "Kapture",
            "p50": [*QUIET[:28], 80, 90, None, 70, *QUIET[:28]],
            "p99": [*QUIET[:28], 800, 3900, None, 700, *QUIET[:28]],
        },
        {"title": "Socialboards", "p50": QUIET, "p99": QUIET},
    ],
    "waiting": [*QUIET[:20], *range(20), *[0] * 20],
    "doubts": [*QUIET[:20], *[0] * 40],
}


def test_the_last_hour_is_drawn_with_its_gaps_and_told_in_words(started: Browser, tmp_path: Path) -> None:
    with _shown(started, tmp_path, CALM, SERIES, timezone_id="Asia/Kolkata") as page:
        pictures = page.locator("[data-plot]").get_by_role("img")
        expect(pictures).to_have_count(3)
        expect(pictures.nth(0)).to_have_accessible_name(
            "Requests by outcome in the last hour: 13 succeeded, 1 rejected, 0 parked, 0 in doubt."
            " The most in a minute: 10, at 02:02."
        )
        expect(pictures.nth(2)).to_have_accessible_name(
            "Latency of a request at Kapture in the last hour: the median (p50) was 70 ms at 02:02."
            " In the slowest minute, 02:00, 99 % of requests took no longer than 3.9 s (p99)."
        )
        # In the browser's zone, as round times.
        expect(pictures.nth(0)).to_contain_text("01:45")
        # Two minutes, none, and one: two strokes.
        strokes = page.locator('[data-plot="latency Kapture"] .picture .line-0 .stroke')
        assert (strokes.get_attribute("d") or "").count("M") == 2
        expect(page.locator('[data-plot="latency Socialboards"]')).to_contain_text(
            "No request was tried at Socialboards in the last hour."
        )

        kapture = page.locator('[data-plot="latency Kapture"]')
        kapture.locator("summary").press("Enter")
        expect(kapture.get_by_role("row")).to_have_text(
            ["Minutep50p99", "02:0270 ms700 ms", "02:0090 ms3.9 s", "01:5980 ms800 ms"]
        )


def test_plots_that_may_not_be_read_cost_one_line(started: Browser, tmp_path: Path) -> None:
    words = "These credentials may not do cloudwatch:GetMetricData."
    with _shown(started, tmp_path, CALM, {"error": words}, refusals=True) as page:
        expect(page.locator("#plots-words")).to_have_text(f"The figures cannot be read. {words}")
        expect(page.locator("#verdict")).to_have_text("Everything works")


def test_nobody_asks_for_plots_that_are_folded(started: Browser, tmp_path: Path) -> None:
    asked: list[str] = []
    with _shown(started, tmp_path, CALM, SERIES) as page:
        expect(page.locator("[data-plot]")).to_have_count(4)
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))

        page.locator("#plots-fold > summary").press("Enter")
        _seen_again(page)
        assert "series" not in asked
        page.locator("#plots-fold > summary").press("Enter")

        expect(page.locator("[data-plot]").first).to_be_visible()
        assert "series" in asked


def test_a_stack_that_is_not_there_is_told_and_found_again_when_it_is(
    started: Browser, state: StateFolder, stack: Stack, tmp_path: Path
) -> None:
    own = StateFolder(tmp_path / "own")
    with _served(own) as url, page_in(started, refusals=True) as page:
        page.goto(url)
        expect(page.locator("#verdict")).to_have_text("The stack cannot be reached")
        expect(page.locator("#why")).to_contain_text("Start one with: bridge up")

        own.root.mkdir()
        for name in ("processes.json", "stack.json"):
            shutil.copy(state.root / name, own.root / name)
        expect(page.locator("[data-helpdesk]")).to_have_count(2)

        (own.root / "stack.json").unlink()
        expect(page.locator("#verdict")).to_have_text("The stack cannot be reached")


def test_a_stopped_console_is_told_and_found_again_when_it_is_back(
    started: Browser, state: StateFolder, stack: Stack
) -> None:
    guard = Guard()
    with page_in(started, refusals=True) as page:
        with _served(state, guard) as url:
            page.goto(url)
            expect(page.locator("[data-helpdesk]")).to_have_count(2)
        expect(page.locator("#why")).to_contain_text("The console itself does not answer")

        with _served(state, guard, port=int(url.split(":")[2].partition("/")[0])):
            expect(page.locator("#verdict")).not_to_have_text("The stack cannot be reached")


def test_a_deployed_stack_is_shown_with_the_operators_credentials(
    started: Browser, aws: Clients, stack: Stack
) -> None:
    """The emulator in place of AWS: nothing local is known of it but its address."""
    environment = client_environment(stack.endpoint_url)
    with (
        _console_command("--stack", STACK_NAME, environment=environment) as url,
        page_in(started) as page,
    ):
        page.goto(url)
        expect(page.locator("#where")).to_contain_text("deployed in us-east-1")
        expect(page.locator("#simulators")).to_be_hidden()
        expect(page.get_by_label("Submit a form")).to_be_hidden()
        request_id = _new_id()
        page.get_by_label("Title").fill("sent to a deployed stack")
        page.get_by_label("Request id (the same").fill(request_id)
        send = page.get_by_role("button", name="Send", exact=True)
        send.click()
        expect(page.locator("#try-answer")).to_contain_text("Tick first that what you send is real.")

        page.get_by_label("what I send is real").check()
        send.click()

        expect(_row(page, request_id)).to_contain_text("succeeded")
        # The ledger gives what the log does not hold.
        expect(_row(page, request_id).locator("a[href^=http]")).to_have_count(1)
        rejected = _park(aws, stack)
        expect(_row(page, rejected)).to_contain_text("sub_status")
        expect(page.locator('[data-plot="outcomes"]')).to_be_visible()


def _seen_again(page: Page) -> None:
    """Waits for the next look."""
    before = page.locator("#where").inner_text()
    expect(page.locator("#where")).not_to_have_text(before)


@contextmanager
def _shown(
    started: Browser, folder: Path, now: dict[str, Any], series: dict[str, Any] | None = None, **options: Any
) -> Iterator[Page]:
    """The page of a stack that is as told; the minute of a look is that of the test."""
    with _served(StateFolder(folder)) as url, page_in(started, **options) as page:
        refused = 503 if series and "error" in series else 200
        page.route("**/api/choices", lambda route: route.fulfill(json={"forms": [], "switches": []}))
        page.route("**/api/series", lambda route: route.fulfill(json=series or SERIES, status=refused))
        page.route("**/api/now", _seeing(now))
        page.goto(url)
        yield page


def _seeing(now: dict[str, Any]) -> Callable[[Route], None]:
    return lambda route: route.fulfill(json=now | {"at": time.time()})


@contextmanager
def _served(state: StateFolder, guard: Guard | None = None, port: int = 0) -> Iterator[str]:
    guard = guard or Guard()
    with running(Server(Console(LocalConnection(state)), guard).app(), port=port) as base:
        yield f"{base}/{guard.key}/"


@contextmanager
def _console_command(*arguments: str, environment: dict[str, str]) -> Iterator[str]:
    """`bridge console` in the foreground; Ctrl-C ends it with status 0."""
    command = [sys.executable, "-m", "bridge.cli", "console", *arguments]
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    ) as started:
        killer = threading.Timer(GENEROUS_S, started.kill)
        killer.start()
        try:
            assert started.stdout is not None
            yield started.stdout.readline().strip()
            started.send_signal(signal.SIGINT)
            assert started.wait(GENEROUS_S) == 0
        finally:
            killer.cancel()
            started.kill()
