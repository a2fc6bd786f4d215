"""Who may talk to the console, and what it says when there is no stack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.console.connection import LocalConnection
from bridge.console.guard import TOKEN_HEADER, Guard
from bridge.console.server import Server
from bridge.console.view import Console
from bridge.local.state import StateFolder
from bridge.simulators.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.console.connection import Connection


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def url(guard: Guard, tmp_path: Path) -> Iterator[str]:
    """A console without a stack."""
    server = Server(Console(LocalConnection(StateFolder(tmp_path))), guard)
    with running(server.app()) as base:
        yield f"{base}/{guard.key}/"


def test_the_page_is_served_below_the_key_and_may_load_nothing_from_elsewhere(url: str, guard: Guard) -> None:
    answer = requests.get(url, timeout=10)

    assert answer.status_code == 200
    assert guard.token in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    for name in ("page.css", "main.js"):
        assert requests.get(url + name, timeout=10).status_code == 200


def test_another_host_name_that_points_to_loopback_is_refused(url: str) -> None:
    answer = requests.get(url, headers={"Host": "rebound.example"}, timeout=10)

    assert answer.status_code == 403
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("path", ["", "api/now", "main.js"])
def test_nothing_is_shown_without_the_key(url: str, guard: Guard, path: str) -> None:
    assert requests.get(url.replace(guard.key, "guessed") + path, timeout=10).status_code == 404
    assert requests.get(url.replace(f"{guard.key}/", path), timeout=10).status_code == 404


@pytest.mark.parametrize(
    "action", ["pause", "resume", "parked", "redrive", "requests", "submissions", "simulate"]
)
def test_nothing_is_done_without_the_pages_token(url: str, action: str) -> None:
    for headers in ({}, {TOKEN_HEADER: "guessed"}):
        assert requests.post(f"{url}api/{action}", json={}, headers=headers, timeout=10).status_code == 403
    assert requests.get(f"{url}api/{action}", timeout=10).status_code == 405


def test_another_sites_page_can_do_nothing_even_with_the_token(url: str, guard: Guard) -> None:
    headers = {TOKEN_HEADER: guard.token, "Origin": "https://evil.example"}

    answer = requests.post(f"{url}api/pause", json={"helpdesk": "kapture"}, headers=headers, timeout=10)

    assert answer.status_code == 403


def test_a_stack_that_does_not_run_is_told_in_words(url: str, guard: Guard) -> None:
    headers = {TOKEN_HEADER: guard.token}

    read = requests.get(f"{url}api/now", timeout=10)
    paused = requests.post(f"{url}api/pause", json={"helpdesk": "kapture"}, headers=headers, timeout=10)

    for answer in (read, paused):
        assert answer.status_code == 503
        assert "Start one with: bridge up" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("pause", "{", ""),
        ("pause", "[" * 100_000, ""),
        ("pause", b"\xff", ""),
        ("requests", "[]", ""),
        ("pause", '{"helpdesk": 1}', "helpdesk"),
        ("pause", '{"helpdesk": "kapture", "line\\nend": 1}', "line\nend"),
        ("find", '{"most": 1001}', "most"),
        ("draft", '{"request_id": "\\ud800"}', ""),
    ],
)
def test_what_is_asked_wrongly_is_refused_by_its_field(
    url: str, guard: Guard, path: str, body: str | bytes, field: str
) -> None:
    headers = {TOKEN_HEADER: guard.token, "Content-Type": "application/json; charset=none"}

    answer = requests.post(f"{url}api/{path}", data=body, headers=headers, timeout=10)

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


class _SlowConsole(Console):
    """Its first look lasts until it is released; each look has its number."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.began, self.released = Event(), Event()
        self._looks = count(1)

    def now(self) -> dict[str, Any]:
        look = next(self._looks)
        if look == 1:
            self.began.set()
            assert self.released.wait(120)
        return {"look": look}

    def pause(self, helpdesk: str) -> dict[str, Any]:
        return {"words": f"{helpdesk} is paused"}


def test_a_look_after_an_action_is_not_one_that_began_before_it(guard: Guard, tmp_path: Path) -> None:
    console = _SlowConsole(LocalConnection(StateFolder(tmp_path)))
    with running(Server(console, guard).app()) as base, ThreadPoolExecutor() as threads:
        api = f"{base}/{guard.key}/api"

        def look() -> int:
            return int(requests.get(f"{api}/now", timeout=10).json()["look"])

        before = threads.submit(look)
        try:
            assert console.began.wait(60)
            headers = {TOKEN_HEADER: guard.token}
            requests.post(f"{api}/pause", json={"helpdesk": "kapture"}, headers=headers, timeout=10)
            after = look()
        finally:
            console.released.set()

        assert (before.result(), after) == (1, 2)
