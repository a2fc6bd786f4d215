"""The transport of a run: bounded in calls and time, and it keeps each exchange with the helpdesk."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpdesk.clients.replies import json_in
from helpdesk.clients.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from helpdesk.clients.transport import Reply

_RATE_HEADER = re.compile(r"(x-)?(rate-?limit|retry-after)[a-z-]{0,30}")
_FIGURE = re.compile(r"\d{1,12}(\.\d{1,6})?")
_DEEPEST = 4


class EndedError(Exception):
    """The run is over: it has used its calls or its time, or the helpdesk asks us to wait."""


class EnoughError(Exception):
    """As many calls were made as a question may make."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call. Only its shapes are ever written down."""

    operation: str
    request: Any
    # None where no answer came.
    status: int | None
    # None where the answer was no JSON.
    reply: Any
    rate: Mapping[str, float]
    seconds: float


class Recorder(Transport):
    """The functions' own transport, for one run. Calls come one after the other.

    `operation_of` names a call by its method and path.
    """

    def __init__(
        self,
        base_url: str,
        *,
        operation_of: Callable[[str, str], str],
        most_calls: int,
        most_s: float,
        clock: Callable[[], float],
        **limits: Any,
    ) -> None:
        super().__init__(base_url, connections=1, **limits)
        self.exchanges: list[Exchange] = []
        self.most_calls = most_calls
        self.most_s = most_s
        self.enough: int | None = None
        self._operation_of = operation_of
        self._clock = clock
        self._ends_at = clock() + most_s
        self._ended = ""

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """As the transport's. Raises EndedError once the run is over."""
        self._check()
        began = time.monotonic()
        reply = None
        try:
            reply = super().send(method, path, body, headers, deadline)
        finally:
            self.exchanges.append(
                Exchange(
                    operation=self._operation_of(method, path),
                    request=_json(body),
                    status=reply.status if reply else None,
                    reply=json_in(reply) if reply else None,
                    rate=_rate_in(reply.headers) if reply else {},
                    seconds=time.monotonic() - began,
                )
            )
        if reply.status == 429 or (reply.status == 503 and "retry-after" in reply.headers):
            self._ended = f"the helpdesk asks us to wait (HTTP {reply.status})"
            raise EndedError(self._ended)
        return reply

    def _check(self) -> None:
        if self.enough is not None and len(self.exchanges) >= self.enough:
            raise EnoughError
        if len(self.exchanges) >= self.most_calls:
            self._ended = self._ended or f"the run has made its {self.most_calls} calls"
        elif self._clock() > self._ends_at:
            self._ended = self._ended or f"the run has taken its {self.most_s:.0f} seconds"
        if self._ended:
            raise EndedError(self._ended)


def shape(content: Any, names: Collection[str], words: Collection[str], depth: int = 0) -> str:
    """The shape of JSON: `names` and `words` stand as they are, whatever else is counted or called text."""
    match content:
        case dict():
            shown = [
                f"{name}: {shape(value, names, words, depth + 1)}"
                for name, value in content.items()
                if name in names and depth < _DEEPEST
            ]
            others = len(content) - len(shown)
            return "{" + ", ".join([*shown, *([f"{others} more"] if others else [])]) + "}"
        case list():
            first = f" of {shape(content[0], names, words, depth + 1)}" if content else ""
            return f"[{len(content)}{first}]"
        case str():
            is_word = content.strip().casefold() in words
            return json.dumps(content.strip()) if is_word else "text" if content else '""'
        case None:
            return "null"
        case bool():
            return "boolean"
    return "number"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _rate_in(headers: Mapping[str, str]) -> dict[str, float]:
    """What headers say of a rate, where it is a figure."""
    return {
        name: float(value)
        for name, value in headers.items()
        if _RATE_HEADER.fullmatch(name) and _FIGURE.fullmatch(value.strip())
    }
