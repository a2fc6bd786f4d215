"""What a soak sends, made-up requests of every kind and envelope, and the faults that its helpdesks have."""

import json
import random
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.simulators.faults import Fault, FaultRule
from tests.soak.helpdesks import ADD, GET, MINT, RARE, SOAK_HELPDESKS, UPDATE, SoakHelpdesk

# That of the functions: what comes later is lost.
READ_TIMEOUT_S = 1.0
SUCCEEDED, REJECTED, PARKED = "succeeded", "rejected", "parked"
# Only an add whose title holds this word is ever refused, so an update by reference can rely on its add.
_REFUSABLE = "refusable"
_ENVELOPES = ("bare", "topic", "bus", "cloudevent", "native")
_NATIVE_KEYS = {"details": "ticket_details"}
_API_SHARE = 0.15
_REFERENCE_SHARE = 0.45


class Message(NamedTuple):
    """A message to the queue of requests, which shows it after a delay."""

    text: str
    delay_s: int = 0


class ApiCall(NamedTuple):
    """A call of the API."""

    method: str
    path: str
    query: dict[str, str] | None
    body: dict[str, Any] | None


@dataclass(frozen=True)
class SoakRequest:
    """One request, all that is sent for it, and how it may end."""

    # Empty where the message's id becomes the request's.
    request_id: str
    operation: str
    helpdesk: str
    sends: tuple[Message | ApiCall, ...]
    may_end: tuple[str, ...]
    has_comment: bool = False


def mark_of(request_id: str) -> str:
    """A text that shows at the helpdesk what this request has done there."""
    return f"<{request_id}>"


def comment_of(request_id: str) -> str:
    """The first line of the request's comment."""
    return f"Said once {mark_of(request_id)}"


class Load:
    """Makes requests up: the same for the same seed, as far as the tickets known at the time are the same."""

    def __init__(self, seed: int, doubled: float) -> None:
        self._random = random.Random(seed)  # repeatable load, not cryptography
        self._doubled = doubled
        self._name = f"soak-{seed}"
        self._number = 0
        self._tickets: dict[str, deque[str]] = {name: deque(maxlen=2000) for name in SOAK_HELPDESKS}
        self._references: dict[str, deque[str]] = {name: deque(maxlen=60) for name in SOAK_HELPDESKS}

    def add_ticket(self, helpdesk: str, ticket_id: str) -> None:
        """Lets later requests be about this ticket."""
        self._tickets[helpdesk].append(ticket_id)

    def next(self) -> SoakRequest:
        """The next request."""
        self._number += 1
        request_id = f"{self._name}-{self._number:06d}"
        kinds = (self._add, self._update, self._get, self._invalid)
        [make] = self._random.choices(kinds, weights=(66, 20, 12, 2))
        helpdesk = self._random.choice(list(SOAK_HELPDESKS.values()))
        return make(request_id, helpdesk) or self._add(request_id, helpdesk)

    def _add(self, request_id: str, helpdesk: SoakHelpdesk) -> SoakRequest:
        refusable = self._random.random() < 0.1
        words = ["Soak", _REFUSABLE] if refusable else ["Soak"]
        title = " ".join([*words, mark_of(request_id)])
        fields: dict[str, Any] = {"ticket": {"title": title, "details": "Made up by the soak."}}
        if not refusable and self._random.random() < 0.4:
            fields["reference"] = f"ref-{request_id}"
            self._references[helpdesk.name].append(fields["reference"])
        may_end = (SUCCEEDED, PARKED, REJECTED) if refusable else (SUCCEEDED, PARKED)
        return self._request(request_id, "add", helpdesk, fields, may_end, ("POST", "/tickets"))

    def _update(self, request_id: str, helpdesk: SoakHelpdesk) -> SoakRequest | None:
        # The add of a reference may not have been executed yet.
        by_reference = self._random.random() < _REFERENCE_SHARE
        known = (self._references if by_reference else self._tickets)[helpdesk.name]
        if not known:
            return None
        target = self._random.choice(known)
        changes = helpdesk.changes(self._random, mark_of(request_id))
        has_comment = self._random.random() < 0.4
        if has_comment:
            changes["comment"] = comment_of(request_id)
        fields = {"reference" if by_reference else "ticket_id": target, "changes": changes}
        route = None if by_reference else ("PATCH", f"/tickets/{target}")
        may_end = (SUCCEEDED, PARKED)
        return self._request(request_id, "update", helpdesk, fields, may_end, route, has_comment)

    def _get(self, request_id: str, helpdesk: SoakHelpdesk) -> SoakRequest | None:
        if not self._tickets[helpdesk.name]:
            return None
        ticket_id = self._random.choice(self._tickets[helpdesk.name])
        route = ("GET", f"/tickets/{ticket_id}")
        return self._request(request_id, "get", helpdesk, {"ticket_ids": [ticket_id]}, (SUCCEEDED,), route)

    def _invalid(self, request_id: str, helpdesk: SoakHelpdesk) -> SoakRequest:
        if self._random.random() < 0.5:
            return SoakRequest("", "add", helpdesk.name, (Message("{not json"),), (REJECTED,))
        fields = {"ticket": {"details": "no title"}}
        return self._request(request_id, "add", helpdesk, fields, (REJECTED,), None)

    def _request(
        self,
        request_id: str,
        operation: str,
        helpdesk: SoakHelpdesk,
        fields: dict[str, Any],
        may_end: tuple[str, ...],
        route: tuple[str, str] | None,
        has_comment: bool = False,
    ) -> SoakRequest:
        """The request, sent in one way, or in two where its producer gets no answer in time."""
        named = {"operation": operation, "request_id": request_id, "helpdesk": helpdesk.name}
        body = {**named, "source": "soak", **fields}
        sends = [self._send(body, route)]
        if self._random.random() < self._doubled:
            sends.append(self._send(body, route, delay_s=self._random.choice((0, 0, 1, 2, 4))))
        return SoakRequest(request_id, operation, helpdesk.name, tuple(sends), may_end, has_comment)

    def _send(
        self, body: dict[str, Any], route: tuple[str, str] | None, delay_s: int = 0
    ) -> Message | ApiCall:
        if route and self._random.random() < _API_SHARE:
            if route[0] == "GET":
                return ApiCall(*route, {"helpdesk": body["helpdesk"]}, None)
            return ApiCall(*route, None, {key: body[key] for key in body if key != "operation"})
        return Message(json.dumps(_wrapped(body, self._random.choice(_ENVELOPES))), delay_s)


def _wrapped(body: dict[str, Any], envelope: str) -> Any:
    """What the queue gets from the trigger of this envelope."""
    match envelope:
        case "topic":
            message = json.dumps(body)
            return {"Type": "Notification", "MessageId": "soak", "TopicArn": "soak", "Message": message}
        case "bus":
            named = {"id": "soak", "source": "com.example.soak", "detail-type": "Ticket Requested"}
            return {**named, "detail": body}
        case "cloudevent":
            named = {"specversion": "1.0", "source": "https://example.com/soak", "type": "com.example.soak"}
            return {**named, "id": f"event-{body['request_id']}", "data": body}
        case "native" if body["operation"] == "add" and SOAK_HELPDESKS[body["helpdesk"]].has_native_spelling:
            native = {_NATIVE_KEYS.get(key, key): value for key, value in body["ticket"].items()}
            return [{key: body[key] for key in body if key not in ("operation", "ticket")} | native]
        case _:
            return body


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────

_LATE_S = READ_TIMEOUT_S + 0.3
_WAIT_A_SECOND = {"Retry-After": "1"}
_EVERY = (ADD, UPDATE, GET)
_ALL = (*_EVERY, MINT, RARE)
_WRONG_ID = "wrong-id-echoed"
# A name, a weight, the fault, and the kinds of calls that it may befall.
_FAULTS: tuple[tuple[str, float, Fault, tuple[str, ...]], ...] = (
    ("reset-before-commit", 12, Fault(reset="before"), _ALL),
    ("reset-after-commit", 14, Fault(reset="after"), _EVERY),
    ("500-before-commit", 10, Fault(status=500), _ALL),
    ("500-after-commit", 12, Fault(status=500, act=True), _EVERY),
    ("502-after-commit", 6, Fault(status=502, body="<html>Bad Gateway</html>", act=True), _EVERY),
    ("503-without-retry-after", 6, Fault(status=503), _EVERY),
    ("429-without-retry-after", 10, Fault(status=429), _ALL),
    ("200-empty", 8, Fault(answer="empty"), _EVERY),
    ("200-invalid-json", 8, Fault(body='{"status":', act=True), _ALL),
    ("200-truncated-json", 6, Fault(truncate=20), _EVERY),
    ("200-success-without-id", 4, Fault(answer="without_id"), (ADD,)),
    (_WRONG_ID, 4, Fault(answer="wrong_id"), (UPDATE,)),
    ("read-timeout-after-commit", 2, Fault(delay_after_s=_LATE_S), _EVERY),
    ("read-timeout-before-commit", 1, Fault(delay_before_s=_LATE_S), _EVERY),
    # These close the gate to everybody for a second or more, and that is many calls.
    ("429-with-retry-after", 0.2, Fault(status=429, headers=_WAIT_A_SECOND), _EVERY),
    ("503-with-retry-after", 0.1, Fault(status=503, headers=_WAIT_A_SECOND), _EVERY),
    ("200-html-login-page", 0.05, Fault(html=True), _EVERY),
)
# How much of the share befalls these kinds, since much depends on each of their calls.
_OF_THE_SHARE = {MINT: 1 / 6, RARE: 1 / 60}


def faults(helpdesk: SoakHelpdesk, share: float, seed: int) -> list[tuple[str, FaultRule]]:
    """Rules for a mix of faults that befalls this share of the helpdesk's calls, with the faults' names."""
    # Of all bodies, only an add's holds the word.
    no = FaultRule(match=_REFUSABLE, share=share, seed=seed, fault=Fault(body=helpdesk.refusal))
    rules = [("200-failed-body", no)]
    for call, kind in helpdesk.calls.items():
        fitting = [
            (name, weight, fault)
            for name, weight, fault, kinds in _FAULTS
            if kind in kinds and (helpdesk.echoes_ids or name != _WRONG_ID)
        ]
        total = sum(weight for _, weight, _ in fitting)
        left = 1.0
        for number, (name, weight, fault) in enumerate(fitting):
            # A rule sees only the calls that those before it have let through.
            part = share * _OF_THE_SHARE.get(kind, 1) * weight / total
            rule = FaultRule(operation=call, share=part / left, seed=seed + number, fault=fault)
            rules.append((name, rule))
            left -= part
    return rules
