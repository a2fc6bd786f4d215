"""Which release of Ticket Bridge is installed, and what changed since another one, by CHANGELOG.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bridge.generate import sources
from bridge.local.state import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHANGELOG = PROJECT / "CHANGELOG.md"
# The output by which a deployed stack says its release, and what one is that says none.
OUTPUT = "Release"
FIRST = "0.1.0"
_UNRELEASED = "Unreleased"
# What is added or fixed asks nothing of anybody, unless it names a setting that is in use.
_WITHOUT_DUTIES = {"Added", "Fixed"}


def installed() -> str:
    """The release that a deployment from here makes."""
    release: str = sources.shipped()["Outputs"][OUTPUT]["Value"]
    return release


def is_newer(release: str, than: str) -> bool:
    return _order(release) > _order(than)


def upgrade_lines(running: str, coming: str, settings: Sequence[str], changelog: str) -> Iterator[str]:
    """What a user of these settings is told of the way from one release to another, line by line."""
    if is_newer(running, coming):
        yield f"This goes back: read first what the CHANGELOG of {running} says of that."
    if not is_newer(coming, running):
        return
    notes = [line for entry in _notes(running, settings, changelog) for line in entry.splitlines()]
    if notes:
        yield f"What you have to change or to know since {running}:"
    yield from (f"  {line}" for line in notes)


def _notes(running: str, settings: Sequence[str], changelog: str) -> Iterator[str]:
    """The entries of later releases that ask something of a user; the newest comes first, as there."""
    for release, section, entry in _entries(changelog):
        if release != _UNRELEASED and not is_newer(release, running):
            return
        if section not in _WITHOUT_DUTIES or any(f"`{name}`" in entry for name in settings):
            yield entry


def _entries(changelog: str) -> Iterator[tuple[str, str, str]]:
    """Release, section and text of each entry, in the changelog's order."""
    for part in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, rest = part.partition("\n")
        for section in re.split(r"^### ", rest, flags=re.MULTILINE)[1:]:
            title, _, text = section.partition("\n")
            for entry in re.split(r"^(?=- )", text, flags=re.MULTILINE)[1:]:
                yield heading.split()[0], title.strip(), entry.rstrip()


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))
