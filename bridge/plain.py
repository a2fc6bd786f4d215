"""Shows texts of others in a terminal without letting them steer it."""

from __future__ import annotations

import shlex


def plain(text: str) -> str:
    """The text in one line; what is no letter or blank, such as the start of a colour, is written out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def plain_lines(text: str) -> str:
    """The same for each line of the text."""
    return "\n".join(plain(line) for line in text.split("\n"))


def as_argument(text: str) -> str:
    """The text as the last argument of a command to copy: one word, and no option."""
    word = shlex.quote(plain(text))
    return f"-- {word}" if text.startswith("-") else word
