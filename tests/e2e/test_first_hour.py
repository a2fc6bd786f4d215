"""docs/first-hour.md, carried out as it is written: its commands, its clicks, and what it says they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from bridge.local.state import PROJECT
from tests.e2e.browser import PATIENCE_MS, browser, needs_browser, page_in
from tests.e2e.waiting import GENEROUS_S

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from bridge.local.state import Stack, StateFolder

expect.set_options(timeout=PATIENCE_MS)

# What is pressed, what is typed (and whether it stands for the browser), what is then shown.
_PARTS = re.compile(
    r"\*\*(?P<press>[^*]+)\*\*"
    r"|(?P<instead>^Without a browser:\n\n)?^```sh\n(?P<type>.*?)^```$"
    r"|^```text\n(?P<shown>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# The demo and the start and end of a stack have tests of their own (test_local_stack.py); one runs here.
ELSEWHERE = re.compile(r"^(make |export PATH=|eval )")
# Those that may be asked again until they show what is to come.
ASKED_AGAIN = re.compile(r"bridge (outcomes|trace|doctor|parked)\b")
# What differs from one hour to the next.
_DIFFERENT = (
    re.compile(r"http://127\.0\.0\.1:\S+"),
    re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+"),
    re.compile(r"contact:[0-9a-f-]+|[0-9a-f]{32}"),
    re.compile(r"\d{12}"),
    re.compile(r"(?<=/execute-api/)[0-9a-z]+"),
    # What another test has sent may be refused as well.
    re.compile(r"\b\d+(?=  refused_by_helpdesk)|\b\d+ requests?(?= would be sent again| sent again)"),
    re.compile(r"(?<=raised since )[\d:]+|(?<=Requests parked: )\d+"),
)
_REQUEST_ID = re.compile(r'(?:(?<!\d )request |request_id": ")([\w:-]+)')


@dataclass
class Step:
    """Something to press or to type, and what is shown then."""

    press: str = ""
    type: str = ""
    instead: bool = False
    shown: list[str] = field(default_factory=list)


def _steps() -> list[Step]:
    text = (PROJECT / "docs" / "first-hour.md").read_text()
    steps: list[Step] = []
    # What stands before the first heading says how it is written.
    for part in _PARTS.finditer(text, text.index("\n## ")):
        if part["shown"]:
            steps[-1].shown = part["shown"].splitlines()
        else:
            steps.append(Step(part["press"] or "", part["type"] or "", bool(part["instead"])))
    return steps


def _alike(text: str) -> str:
    for pattern in _DIFFERENT:
        text = pattern.sub("…", text)
    return text


class Reader:
    """Somebody who does what the page says, with a browser or without one."""

    def __init__(self, stack: Stack, state: StateFolder, page: Page | None) -> None:
        self._page = page
        self._request_id = ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            **os.environ,
            "PATH": path,
            "BRIDGE_STATE_DIR": str(state.root),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "API_URL": stack.api_url,
            "API_KEY": stack.api_key,
            "KAPTURE_URL": stack.urls["kapture"],
        }

    def follow(self, steps: list[Step]) -> None:
        """Fails where something is not as the page says."""
        for step in steps:
            if step.press and self._page:
                self._press(self._page, step.press)
            elif step.type and not (step.instead and self._page) and not ELSEWHERE.match(step.type):
                self._type(step)

    def _press(self, page: Page, name: str) -> None:
        control = _control(page, name)
        if name == "contact":
            control.select_option(name)
        else:
            control.click()
        if name == "Send":
            answer = page.locator("#try-answer")
            # Its answer to the submission before is taken away first.
            expect(answer).to_contain_text("it is request contact:")
            expect(answer).not_to_contain_text(self._request_id or "nothing yet")
            self._take_id(answer.inner_text().rstrip("."))

    def _type(self, step: Step) -> None:
        seen = ""
        deadline = time.monotonic() + GENEROUS_S
        while True:
            output = self._run(step.type.replace("REQUEST_ID", self._request_id))
            if not ASKED_AGAIN.match(step.type):
                self._take_id(output)
            # Outcomes are told once: what came before counts as well.
            seen += _alike(output)
            missing = [line for line in step.shown if _alike(line).strip() not in seen]
            if not missing:
                return
            assert ASKED_AGAIN.match(step.type), f"{step.type}does not show {missing} but\n{output}"
            assert time.monotonic() < deadline, f"{step.type}never shows {missing} but\n{output}"

    def _run(self, lines: str) -> str:
        finished = subprocess.run(
            ["bash", "-ec", lines],
            check=False,
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=GENEROUS_S,
        )
        findings = lines.startswith("bridge doctor")
        assert finished.returncode in ((0, 1) if findings else (0,)), finished.stderr
        return finished.stdout

    def _take_id(self, text: str) -> None:
        if match := _REQUEST_ID.search(text):
            self._request_id = match[1]


def _control(page: Page, name: str) -> Locator:
    """What the page names so; of the simulators' switches those of Kapture."""
    if name == "contact":
        return page.locator("#try").get_by_role("combobox", name="Form")
    radio = page.get_by_role("radio", name=name, exact=True)
    if radio.count():
        return radio
    simulator = page.locator('[data-simulator="kapture"]').get_by_role("button", name=name, exact=True)
    return simulator if simulator.count() else page.get_by_role("button", name=name, exact=True)


def test_the_page_is_read_as_it_is_meant() -> None:
    steps = _steps()

    assert [step.press for step in steps if step.press].count("Send") == 2
    assert sum(step.instead for step in steps) == 3
    assert sum(bool(step.shown) for step in steps) == 11


@pytest.mark.usefixtures("nothing_parked")
@pytest.mark.parametrize("seen_in", [pytest.param("browser", marks=needs_browser), "terminal"])
def test_the_first_hour_goes_as_its_page_says(stack: Stack, state: StateFolder, seen_in: str) -> None:
    with ExitStack() as opened:
        page = None
        if seen_in == "browser":
            page = opened.enter_context(page_in(opened.enter_context(browser())))
            page.goto(stack.console_url)
            expect(page.locator("[data-helpdesk]")).to_have_count(2)
        *steps, at_last_nothing_is_found, _ = _steps()
        # That alarms clear by themselves takes a minute, and is seen in test_raised_alarms.py.
        assert at_last_nothing_is_found.type == "bridge doctor\n"
        Reader(stack, state, page).follow(steps)
