"""The line to a helpdesk: a transport whose calls reach a simulator in this process, or do not."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.simulators.faults import LOGIN_PAGE
from bridge.simulators.server import HelpdeskSimulator, ReceivedCall
from helpdesk.clients.transport import MIN_CALL_S, Reply
from helpdesk.errors import OutcomeUnknownError, UnavailableError
from tests.faults.checker.mishaps import TOKEN, Mishaps
from tests.faults.checker.turns import KilledError, Turns

_NEVER_ARRIVES = ("connect_refused", "dns_failure", "tls_failure")
_REFUSED = re.compile(rb'"status": "failed"|"errorCode": (?!-1)')
_HTML = {"content-type": "text/html"}
# A text that helpdesks refuse.
REFUSED = "refuse-me"
_REFUSED_REPLIES = {
    "kapture": Reply(200, {}, b'{"message": "no such state", "status": "failed"}'),
    "socialboards": Reply(200, {}, b'{"data": null, "errorCode": 7, "errorText": "no such state"}'),
}
_REFUSALS: dict[str, Any] = {
    "kapture": Reply(200, {}, json.dumps({"status": "failed", "message": "Invalid Auth Key"}).encode()),
    "socialboards": Reply(
        401, {}, json.dumps({"data": None, "errorCode": 4, "errorText": "expired"}).encode()
    ),
}


@dataclass
class Arrived:
    """A call that has reached the helpdesk, and whether that has carried it out."""

    at: float
    operation: str
    body: Any
    path: str
    acted: bool = False
    # What befell it instead of an answer.
    kind: str = ""
    # How long the gate had been closed to all but probes when it was begun.
    closed_s: float = 0.0


class Line:
    """Stands in for the layer's transport, and raises what it would raise."""

    def __init__(
        self,
        turns: Turns,
        mishaps: Mishaps,
        simulator: HelpdeskSimulator[Any],
        heard: Callable[[str, Arrived], None],
        *,
        closed_s: Callable[[str], float],
        read_timeout_s: float,
    ) -> None:
        self._turns = turns
        self._mishaps = mishaps
        self._simulator = simulator
        self._heard = heard
        self._closed_s = closed_s
        self._read_timeout_s = read_timeout_s

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """The reply, whatever its status."""
        process, name = self._turns.process, self._simulator.name
        self._turns.check(process)
        process.calls += 1
        deadly = process.fuse == process.calls
        operation = self._simulator.operation_of(method, path)
        what = f"{name} {operation} {path} {body.decode()[:160]}"
        if deadly and not process.acts_first:
            self._mishaps.tell(f"{process.name} is killed before {what}")
            self._die()
        closed_s = self._closed_s(name)
        left = deadline - self._turns.now
        if left < MIN_CALL_S:
            raise UnavailableError("out_of_time", "too little time was left to begin the call")
        # A token is minted with a lock in hand: nobody else could go on meanwhile.
        waits = operation != "token"
        if waits:
            self._turns.wait(self._mishaps.helpdesk_s())
        kind, acts = self._mishaps.of_helpdesk(name, operation) or ("", True)
        if kind in _NEVER_ARRIVES:
            self._mishaps.tell(f"{process.name}: {what}: {kind}")
            raise UnavailableError(kind, "no connection to the helpdesk")
        longest_s = min(self._read_timeout_s, left)
        lasts_s = {"hang": longest_s, "slow": 0.9 * longest_s}.get(kind, self._mishaps.helpdesk_s())
        call = Arrived(self._turns.now, operation, json.loads(body) if body and waits else None, path)
        call.kind, call.closed_s = kind, closed_s
        replies: list[Reply | None] = []

        def act() -> None:
            reply = self._reply(method, path, operation, body, headers) if acts else None
            call.acted = reply is not None and reply.status == 200 and not _REFUSED.search(reply.body)
            self._heard(name, call)
            said = kind or (reply and reply.body.decode()[:80])
            self._mishaps.tell(f"{process.name}: {what}: {'done' if acts else 'not done'}, {said}")
            replies.append(reply)

        if kind in ("hang", "slow") and waits:
            # It is carried out in the meantime, also where the caller has died.
            self._turns.at(self._turns.now + lasts_s * self._mishaps.chance.random(), act)
        else:
            act()
        if deadly:
            self._mishaps.tell(f"{process.name} is killed after it")
            self._die()
        if waits:
            self._turns.wait(lasts_s)
        return self._received(kind, replies)

    def _received(self, kind: str, replies: list[Reply | None]) -> Reply:
        if kind == "hang":
            raise OutcomeUnknownError("read_timeout", "the helpdesk did not answer in time")
        if kind == "reset":
            raise OutcomeUnknownError("connection_lost", "the connection broke before the answer")
        [reply] = replies
        return reply if reply and kind in ("", "slow") else _instead(kind, self._simulator.name)

    def _reply(
        self, method: str, path: str, operation: str, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        if REFUSED.encode() in body:
            return _REFUSED_REPLIES[self._simulator.name]
        call = ReceivedCall(
            operation=operation,
            method=method,
            path=path,
            headers={key.lower(): value for key, value in headers.items()},
            body=body,
            received_at=self._turns.now,
            origin="https://helpdesk.example",
        )
        answer = self._simulator.perform(call)
        lower = {"content-type": answer.content_type} | {k.lower(): v for k, v in answer.headers.items()}
        return Reply(answer.status, lower, answer.body)

    def _die(self) -> None:
        self._turns.kill(self._turns.process)
        raise KilledError


def _instead(kind: str, helpdesk: str) -> Reply:
    status, _, more = kind.partition("-")
    if kind == TOKEN:
        refusal: Reply = _REFUSALS[helpdesk]
        return refusal
    if kind == "login-page":
        return Reply(200, _HTML, LOGIN_PAGE.encode())
    headers = _HTML | ({"retry-after": "30"} if more == "wait" else {})
    return Reply(int(status), headers, b"<html><body>The server cannot answer this</body></html>")
