"""Which release is installed, and what its CHANGELOG has to tell a user who comes from an earlier one."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from bridge.generate import releases

ROOT = Path(__file__).parents[2]
CHANGELOG = """\
# Changelog

## Unreleased

### Changed

- not released yet

## 0.10.0 - 2027-02-01

### Added

- a command
- `KaptureBudget` is drawn
  in slots

### Changed

- an event has another name:
  - its type

## 0.9.0 - 2027-01-01

### Removed

- an old path

### Fixed

- what was broken
"""


def test_a_release_is_named_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released = re.findall(r"^## (\d\S*) - \d{4}-\d\d-\d\d$", releases.CHANGELOG.read_text(), re.MULTILINE)

    assert releases.installed() == version == released[0]
    assert released[-1] == releases.FIRST
    assert all(map(releases.is_newer, released, released[1:]))


def test_no_entry_of_the_changelog_stands_there_twice() -> None:
    lines = Counter(line for line in releases.CHANGELOG.read_text().splitlines() if line.startswith("- "))

    assert [line for line, count in lines.items() if count > 1] == []


def told(running: str, *settings: str) -> list[str]:
    return [line.strip() for line in releases.upgrade_lines(running, "0.10.0", settings, CHANGELOG)]


@pytest.mark.parametrize(
    ("running", "known"),
    [
        ("0.9.0", ["- not released yet", "- an event has another name:", "- its type"]),
        ("0.8.2", ["- not released yet", "- an event has another name:", "- its type", "- an old path"]),
    ],
)
def test_what_has_to_be_known_is_what_changed_since_the_release_that_runs(
    running: str, known: list[str]
) -> None:
    assert told(running) == [f"What you have to change or to know since {running}:", *known]


def test_what_is_new_has_to_be_known_where_it_is_about_a_setting_in_use() -> None:
    assert "- `KaptureBudget` is drawn" in told("0.9.0", "KaptureBudget")
    assert "- a command" not in told("0.9.0", "KaptureBudget")


def test_the_release_that_runs_already_has_nothing_to_tell_and_a_later_one_warns() -> None:
    assert told("0.10.0") == []
    assert told("0.11.0") == ["This goes back: read first what the CHANGELOG of 0.11.0 says of that."]


def test_from_the_first_release_what_a_user_has_to_change_is_told() -> None:
    lines = releases.upgrade_lines(releases.FIRST, releases.installed(), [], releases.CHANGELOG.read_text())
    text = "\n".join(lines)

    assert "`day.proved` is `day.audited`" in text
    assert "parameters into `bridge.toml`" in text
    assert "The layer brings its own small SDK" not in text
