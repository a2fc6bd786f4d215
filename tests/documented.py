"""The commands that README and docs tell people to run."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4,}(.+)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command as a page writes it."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The command's words, without a comment behind it."""
        return shlex.split(self.text, comments=True)

    @property
    def without_options(self) -> list[str]:
        """Program and arguments, also of a command that goes on in the next line."""
        words = re.sub(r"--endpoint-url \S+", "", self.text).split()
        return [word for word in words if re.fullmatch(r"[a-z0-9-]+", word) and not word.startswith("--")]


def commands(program: str) -> list[Command]:
    """Every command of a program, each once."""
    unique: dict[Command, None] = {}
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(_FENCED.findall(text))
        lines = [*blocks.splitlines(), *_INDENTED.findall(_FENCED.sub("", text))]
        # A command may be broken where the page's line ends.
        lines += [re.sub(r"\s+", " ", command) for command in _INLINE.findall(_FENCED.sub("", text))]
        for line in lines:
            command = line.strip().removeprefix("$ ")
            if command.startswith(f"{program} "):
                unique[Command(page.name, command)] = None
    return list(unique)
