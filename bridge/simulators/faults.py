"""Faults on demand for a simulated helpdesk: what a call suffers, which call does, how it is delivered."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

ANY_OPERATION = "*"
LOGIN_PAGE = (
    "<!DOCTYPE html><html><head><title>Sign in</title></head>"
    '<body><form method="post" action="/login">'
    '<input name="user"><input name="password" type="password"></form></body></html>'
)
WRONG_ID = "999999999999"
# SO_LINGER on with zero seconds: closing sends RST and drops what is still unsent.
_LINGER_ZERO = struct.pack("ii", 1, 0)

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderText = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]


class ControlError(ValueError):
    """What was posted to the control interface is wrong; `errors` names every bad key."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


def posted[ModelT: BaseModel](model: type[ModelT], payload: object, where: str = "") -> ModelT:
    """The payload as a model. Raises ControlError with one line per bad key, each starting with `where`."""
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False):
            # A mapping's bad key is reported as ("headers", <key>, "[key]"): the last part says nothing.
            key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
            name = ".".join(part for part in (where, key) if part)
            lines.append(f"{name}: {problem['msg']}" if name else problem["msg"])
        raise ControlError(lines) from error


class Posted(BaseModel):
    """What somebody posts, in exactly these keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Drip(Posted):
    """The body leaves in pieces of `chunk_bytes`, `interval_s` apart."""

    chunk_bytes: Annotated[int, Field(ge=1)]
    interval_s: Seconds


class Fault(Posted):
    """What one call suffers. A fault with nothing set lets the call through unharmed.

    `status`, `body`, `html` and `redirect` replace the answer. `headers`, `content_type`, `drip` and
    `truncate` apply to whichever answer is sent, `answer` alters the true one. `reset` breaks the connection
    instead. `act` says whether the helpdesk does what it was asked all the same; unset means no where the
    fault replaces the answer or resets before acting, else yes.
    """

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: str | None = None
    html: bool = False
    redirect: HeaderText | None = None
    headers: dict[HeaderName, HeaderText] = {}
    content_type: HeaderText | None = None
    delay_before_s: Seconds = 0
    delay_after_s: Seconds = 0
    act: bool | None = None
    reset: Literal["before", "after"] | None = None
    drip: Drip | None = None
    truncate: Annotated[int, Field(ge=0)] | None = None
    answer: Literal["empty", "without_id", "wrong_id", "numeric_id"] | None = None

    @property
    def replaces_answer(self) -> bool:
        """Whether the true answer is never seen."""
        return self.html or any(part is not None for part in (self.status, self.body, self.redirect))

    @property
    def acts(self) -> bool:
        """Whether the helpdesk performs the operation."""
        if self.act is not None:
            return self.act
        return self.reset != "before" and not self.replaces_answer

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        shapes_answer = self.drip or self.truncate is not None or self.answer
        if self.reset and (self.replaces_answer or shapes_answer or self.headers or self.content_type):
            raise ValueError("reset: leaves no answer, so nothing else may describe one")
        if self.reset and self.act is not None and self.act != (self.reset == "after"):
            raise ValueError(f"act: contradicts reset {self.reset!r}")
        if sum(map(bool, (self.html, self.redirect is not None, self.body is not None))) > 1:
            raise ValueError("body, html, redirect: only one can be the answer")
        if self.answer and self.replaces_answer:
            raise ValueError("answer: alters the true answer, which status, body, html or redirect replace")
        if not self.acts and not self.reset and not self.replaces_answer:
            raise ValueError("act: false needs a status, body, html, redirect or reset to answer with")
        if framing := {
            name for name in self.headers if name.lower() in {"content-length", "transfer-encoding"}
        }:
            raise ValueError(f"headers: {sorted(framing)} would break the HTTP framing")
        return self


class FaultRule(Posted):
    """Which calls suffer a fault.

    The next `times` matching calls (null: all of them, until cleared), or a `share` of them drawn from a
    random generator of the rule's own, seeded with `seed`. `match` must occur in the raw request body.
    """

    operation: str = ANY_OPERATION
    match: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    seed: int = 0
    fault: Fault

    @model_validator(mode="after")
    def _times_or_share(self) -> Self:
        if self.times is not None and self.share is not None:
            raise ValueError("times, share: only one may be given")
        return self


@dataclass
class _ArmedRule:
    rule: FaultRule
    hits: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.rule.seed)  # noqa: S311 - repeatable tests, not cryptography

    def strikes(self, operation: str, body: bytes) -> bool:
        rule = self.rule
        if rule.operation not in (ANY_OPERATION, operation):
            return False
        if rule.match is not None and rule.match.encode() not in body:
            return False
        if rule.times is not None and self.hits >= rule.times:
            return False
        if rule.share is not None and self.chance.random() >= rule.share:
            return False
        self.hits += 1
        return True


class FaultScript:
    """An ordered list of rules; the first that strikes decides what a call suffers. Safe across threads."""

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = {ANY_OPERATION, *operations}
        self._armed: list[_ArmedRule] = []
        self._lock = threading.Lock()

    def add(self, *rules: FaultRule) -> None:
        """Append rules. Raises ControlError for an operation this helpdesk does not have."""
        unknown = [
            f"operation: {rule.operation!r} is not one of {sorted(self._operations)}"
            for rule in rules
            if rule.operation not in self._operations
        ]
        if unknown:
            raise ControlError(unknown)
        with self._lock:
            self._armed += map(_ArmedRule, rules)

    def post(self, payload: object) -> None:
        """Append the rule, or list of rules, read from JSON: all of them or, with a ControlError, none."""
        if isinstance(payload, list):
            self.add(*[posted(FaultRule, rule, f"[{position}]") for position, rule in enumerate(payload)])
        else:
            self.add(posted(FaultRule, payload))

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def pick(self, operation: str, body: bytes) -> Fault | None:
        """The fault of this call, counted against its rule, or None."""
        with self._lock:
            return next((armed.rule.fault for armed in self._armed if armed.strikes(operation, body)), None)

    def as_json(self) -> list[dict[str, object]]:
        """The rules in order, each with its `hits` so far."""
        with self._lock:
            return [
                armed.rule.model_dump(mode="json", exclude_defaults=True) | {"hits": armed.hits}
                for armed in self._armed
            ]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP answer of a simulated helpdesk."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, content: object, status: int = 200) -> Answer:
        return cls(status=status, body=json.dumps(content, ensure_ascii=False).encode())

    def response(self) -> web.Response:
        headers = {"Content-Type": self.content_type, **self.headers}
        return web.Response(status=self.status, body=self.body, headers=headers)


async def deliver(
    request: web.Request, fault: Fault, act: Callable[[], Answer], id_paths: Collection[str]
) -> web.StreamResponse | None:
    """Make the call suffer the fault; None means that the connection was reset and no answer can be sent.

    `act` performs the operation and returns the true answer, whose ticket ids are at `id_paths`.
    """
    await asyncio.sleep(fault.delay_before_s)
    true_answer = act() if fault.acts else None
    await asyncio.sleep(fault.delay_after_s)
    if fault.reset:
        _reset_connection(request)
        return None
    answer = _answer_under(fault, true_answer, id_paths)
    if fault.drip:
        return await _dripped(request, answer, fault.drip)
    return answer.response()


def _answer_under(fault: Fault, true_answer: Answer | None, id_paths: Collection[str]) -> Answer:
    headers = dict(fault.headers)
    if fault.redirect is not None:
        headers["Location"] = fault.redirect
        status, body, content_type = fault.status or 302, b"", "text/html; charset=utf-8"
    elif fault.html:
        status, body, content_type = fault.status or 200, LOGIN_PAGE.encode(), "text/html; charset=utf-8"
    elif true_answer is None or fault.replaces_answer:
        status, body, content_type = fault.status or 200, (fault.body or "").encode(), "application/json"
    else:
        status, content_type = true_answer.status, true_answer.content_type
        body = _altered(true_answer.body, fault.answer, id_paths)
        headers = {**true_answer.headers, **headers}
    return Answer(
        status=status,
        body=body[: fault.truncate],
        content_type=fault.content_type or content_type,
        headers=headers,
    )


def _altered(body: bytes, alteration: str | None, id_paths: Collection[str]) -> bytes:
    if alteration is None:
        return body
    if alteration == "empty":
        return b""

    def altered(content: object, path: str = "") -> object:
        if isinstance(content, list):
            return [altered(item, path) for item in content]
        if not isinstance(content, dict):
            return altered_id(content) if is_id(content, path) else content
        parts = [(key, value, f"{path}.{key}" if path else key) for key, value in content.items()]
        return {
            key: altered(value, below)
            for key, value, below in parts
            if not (alteration == "without_id" and is_id(value, below))
        }

    def is_id(content: object, path: str) -> bool:
        return path in id_paths and isinstance(content, str | int)

    def altered_id(ticket_id: object) -> object:
        if alteration == "wrong_id":
            return int(WRONG_ID) if isinstance(ticket_id, int) else WRONG_ID
        return int(str(ticket_id)) if str(ticket_id).isdigit() else ticket_id

    return json.dumps(altered(json.loads(body)), ensure_ascii=False).encode()


async def _dripped(request: web.Request, answer: Answer, drip: Drip) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Type": answer.content_type, **answer.headers}
    )
    response.content_length = len(answer.body)
    try:
        await response.prepare(request)
        for start in range(0, len(answer.body), drip.chunk_bytes):
            await response.write(answer.body[start : start + drip.chunk_bytes])
            await asyncio.sleep(drip.interval_s)
        await response.write_eof()
    except ConnectionError:
        # The client gave up waiting, which is what a drip is for.
        pass
    return response


def _reset_connection(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return  # The client has gone already.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
