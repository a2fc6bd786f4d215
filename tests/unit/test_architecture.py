"""docs/architecture.md says what is there: its files, its rooms, its items, its words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers/helpdesk/helpdesk"
PAGE = (ROOT / "docs/architecture.md").read_text()
# What is looked for in the page's own tables and lists.
FILES = sorted(set(re.findall(r"`([\w*/.-]+\.(?:py|md|yaml))`", PAGE)))
# The tools that work on a stack have one kind of item of their own.
CODE = "\n".join(
    path.read_text() for path in sorted([*LAYER.rglob("*.py"), *ROOT.glob("bridge/operating/*.py")])
)


def _section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


WORDS = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", _section("Words"), re.MULTILINE)[2:]
KINDS = re.findall(r"`(\w+)#", _section("Items of the table"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_page_names_is_there(name: str) -> None:
    assert any([*ROOT.glob(name), *LAYER.glob(name)])


def test_the_page_names_every_room_of_the_layer() -> None:
    rooms = [path.parent.name for path in LAYER.glob("*/__init__.py")]

    assert [room for room in rooms if f"{room}/" not in _section("The floors")] == []


@pytest.mark.parametrize("word", [word for words in WORDS for word in words.split(", ")])
def test_a_word_of_the_glossary_is_one_of_the_codes(word: str) -> None:
    pattern = re.escape(word).replace(r"\ ", r"[ _]")

    assert re.search(pattern, CODE, re.IGNORECASE)


def test_the_page_names_every_kind_of_item() -> None:
    kinds = set(re.findall(r'f?"(\w+)#(?:\{|")', CODE))

    assert sorted(kinds - set(KINDS)) == []
    assert sorted(set(KINDS) - kinds) == []
