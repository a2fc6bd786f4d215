"""A real browser on the console's page."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next((path for name in _NAMES if (path := shutil.which(name))), None)
# Only a failure waits for so long.
PATIENCE_MS = 120_000
# The console says so of a look that takes long, and looks again.
_TOO_SLOW = "504"

needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no browser; mend it with: sudo apt-get install --yes chromium"
)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def page_in(started: Browser, *, refusals: bool = False, **options: Any) -> Iterator[Page]:
    """A page of its own. What it writes to the browser's console as an error fails the test.

    `refusals` says that answers with an error status are expected: the browser itself writes of each.
    """
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        of_the_browser = message.text.startswith("Failed to load resource")
        is_expected = of_the_browser and (refusals or _TOO_SLOW in message.text)
        if message.type in ("error", "warning") and not is_expected:
            complaints.append(message.text)

    context = started.new_context(**options)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
    finally:
        context.close()
    assert complaints == []
