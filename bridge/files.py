"""Reads what a person has written; all that is wrong with it is said in its own terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError


def text_of(path: Path) -> str:
    """The text of a file. Raises BridgeError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BridgeError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BridgeError(f"{path}: is no text in UTF-8") from error


def wrong_fields(error: ValidationError) -> Iterator[str]:
    """Each wrong field, by its dotted path, and what is wrong with it."""
    for bad in error.errors(include_url=False, include_input=False):
        yield f"{'.'.join(map(str, bad['loc']))}: {bad['msg'].removeprefix('Value error, ')}"
