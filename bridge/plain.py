"""Shows texts of others in a terminal without letting them steer it."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text in one line; what is no letter or blank, such as the start of a colour, is written out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def plain_lines(text: str) -> str:
    """The same for each line of the text."""
    return "\n".join(plain(line) for line in text.split("\n"))
