"""A call as it was sent."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """What a call brings for its verification; header names are in lower case."""

    headers: Mapping[str, str]
    raw: bytes
    path_secret: str | None = None
