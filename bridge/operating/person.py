"""Whom or what is to be forgotten, and how it is recognised in texts, messages and files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helpdesk.errors import RejectedError
from helpdesk.intake.envelopes import unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What is made or downloaded, or holds earlier states of files.
_NOT_LOOKED_INTO = {".git", ".venv", "node_modules", "__pycache__", ".aws-sam"}
_LARGEST_FILE = 200_000_000
# Shorter ids stand in every second file.
_SHORTEST_ID = 4
_DEEPEST = 8


@dataclass
class Subject:
    """An e-mail address, a ticket of a helpdesk, or ids of requests; `request_ids` grow as they are found."""

    email: str | None = None
    ticket_id: str | None = None
    helpdesk: str | None = None
    request_ids: set[str] = field(default_factory=set)

    def is_named_in(self, value: Any, depth: int = 0) -> bool:
        """Whether the person's address is in a value: in any text of it, in capitals or not, also in JSON
        within JSON."""
        if self.email is None or depth > _DEEPEST:
            return False
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if isinstance(value, list | tuple | set | frozenset):
            return any(self.is_named_in(inner, depth + 1) for inner in value)
        if not isinstance(value, str):
            return False
        if _words([self.email]).search(value):
            return True
        # Within JSON the address may be escaped.
        return value.lstrip()[:1] in ("{", "[") and self.is_named_in(_parsed(value), depth + 1)

    def is_named_in_message(self, body: str) -> bool:
        """The same for a message, in whatever envelope."""
        if self.is_named_in(body):
            return True
        try:
            # An envelope may carry its content in base64.
            return self.is_named_in(unwrap(body).body)
        except RejectedError:
            return False

    def files(self, folders: list[Path]) -> Iterator[tuple[Path, int]]:
        """The files that name the person or one of the requests, and in how many lines."""
        words = [word for word in self.request_ids if len(word) >= _SHORTEST_ID]
        words += [self.email] if self.email else []
        if not words:
            return
        pattern = _words(words)
        for path in sorted(set(_files_in(folders))):
            try:
                with path.open(errors="replace") as file:
                    lines = sum(1 for line in file if pattern.search(line))
            except OSError:
                # A socket, or another user's.
                continue
            if lines:
                yield path, lines


def _words(words: list[str]) -> re.Pattern[str]:
    """Any of the words, and not as a part of a longer address or id."""
    any_of = "|".join(map(re.escape, words))
    return re.compile(rf"(?<![\w.+-])(?:{any_of})(?![\w-]|\.\w)", re.IGNORECASE)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _files_in(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if name not in _NOT_LOOKED_INTO]
            for name in names:
                path = folder.joinpath(place, name)
                if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
                    yield path
