"""What a soak sends: made-up requests of every kind and trigger, and the faults that the helpdesk has."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.simulators.faults import Fault, FaultRule
from bridge.stacks.samples import ApiSend, BusSend, QueueSend, TopicSend
from tests.soak.helpdesks import SOAKED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.stacks.samples import Send
    from tests.soak.helpdesks import SoakedHelpdesk

SOURCE = "soak"
SUCCEEDED, REJECTED, PARKED = "succeeded", "rejected", "parked"
# Only an add whose title holds this word is ever refused: what refers to another add can rely on it.
_REFUSABLE = "refusable"
_RECENT = 60
_ENVELOPES = ("bare", "topic", "bus", "cloudevent", "native")
_API_SHARE = 0.15


@dataclass(frozen=True)
class Asked:
    """One request, the ways in which it is sent, and how it may end."""

    # None where the trigger gives the request its id.
    request_id: str | None
    operation: str
    sends: tuple[Send, ...]
    helpdesk: str
    may_end: frozenset[str] = frozenset({SUCCEEDED})
    # The ticket that an update or get is about, where its id is known.
    ticket_id: str | None = None
    has_comment: bool = False

    @property
    def mark(self) -> str:
        """A text that shows at the helpdesk what this request has done there."""
        return mark_of(self.request_id or "")


class Told(NamedTuple):
    """One event of the topic, or what the API has answered at once."""

    request_id: str
    kind: str
    code: str | None = None
    ticket_id: str | None = None
    attempts: int = 0
    message: str | None = None


def told_in(event: Mapping[str, Any]) -> Told:
    """What an event of the topic tells."""
    content = event["data"]
    return Told(
        content["request_id"],
        content["outcome"],
        content.get("code"),
        content.get("ticket_id"),
        content["attempts"],
        content.get("message"),
    )


def mark_of(request_id: str) -> str:
    """A text that no other request carries."""
    return f"<{request_id}>"


class Load:
    """Makes requests up: the same for the same seed, as far as the tickets known at the time are the same."""

    def __init__(self, seed: int, doubled: float, name: str) -> None:
        self._random = random.Random(seed)  # repeatable load, not cryptography
        self._doubled = doubled
        self._name = name
        self._number = 0
        self._tickets: dict[str, deque[str]] = {name: deque(maxlen=2000) for name in SOAKED}
        self._references: dict[str, deque[str]] = {name: deque(maxlen=_RECENT) for name in SOAKED}

    def learn(self, helpdesk: str, ticket_id: str) -> None:
        """Lets later requests be about this ticket."""
        self._tickets[helpdesk].append(ticket_id)

    def next(self) -> Asked:
        """The next request."""
        self._number += 1
        request_id = f"{self._name}-{self._number:06d}"
        makes = self._random.choices(
            (self._add, self._update, self._update_by_reference, self._get, self._wrong),
            weights=(66, 11, 9, 12, 2),
        )[0]
        desk = self._random.choice(list(SOAKED.values()))
        return makes(request_id, desk) or self._add(request_id, desk)

    def _add(self, request_id: str, desk: SoakedHelpdesk) -> Asked:
        refusable = self._random.random() < 0.1
        words = f"{_REFUSABLE} " if refusable else ""
        reference = f"ref-{request_id}" if not refusable and self._random.random() < 0.4 else None
        if reference:
            self._references[desk.name].append(reference)
        ticket = {"title": f"Soak {words}{mark_of(request_id)}", "details": "Made up by the soak."}
        named = {"request_id": request_id, "helpdesk": desk.name, "source": SOURCE}
        body = _without_none({**named, "reference": reference})
        sends = self._sends({"operation": "add", **body, "ticket": ticket}, "POST", "/tickets")
        ends = {SUCCEEDED, PARKED} | ({REJECTED} if refusable else set())
        return Asked(request_id, "add", sends, desk.name, frozenset(ends))

    def _update(self, request_id: str, desk: SoakedHelpdesk) -> Asked | None:
        if not self._tickets[desk.name]:
            return None
        ticket_id = self._random.choice(self._tickets[desk.name])
        return self._updating(request_id, desk, {"ticket_id": ticket_id}, ticket_id)

    def _update_by_reference(self, request_id: str, desk: SoakedHelpdesk) -> Asked | None:
        if not self._references[desk.name]:
            return None
        # Its add may not have been carried out yet.
        reference = self._random.choice(self._references[desk.name])
        return self._updating(request_id, desk, {"reference": reference}, None)

    def _updating(
        self, request_id: str, desk: SoakedHelpdesk, names: dict[str, str], ticket_id: str | None
    ) -> Asked:
        changes = desk.changes(self._random, mark_of(request_id))
        has_comment = self._random.random() < 0.4
        if has_comment:
            changes["comment"] = f"Said once {mark_of(request_id)}"
        named = {"request_id": request_id, "helpdesk": desk.name, "source": SOURCE}
        body = {**named, **names, "changes": changes}
        path = f"/tickets/{ticket_id}" if ticket_id else None
        return Asked(
            request_id,
            "update",
            self._sends({"operation": "update", **body}, "PATCH", path),
            desk.name,
            frozenset({SUCCEEDED, PARKED}),
            ticket_id,
            has_comment,
        )

    def _get(self, request_id: str, desk: SoakedHelpdesk) -> Asked | None:
        if not self._tickets[desk.name]:
            return None
        ticket_id = self._random.choice(self._tickets[desk.name])
        if self._random.random() < _API_SHARE:
            path = f"/tickets/{ticket_id}?helpdesk={desk.name}"
            send = ApiSend(trigger="api", method="GET", path=path)
            return Asked(request_id, "get", (send,), desk.name, ticket_id=ticket_id)
        named = {"operation": "get", "request_id": request_id, "helpdesk": desk.name, "source": SOURCE}
        body = {**named, "ticket_ids": [ticket_id]}
        return Asked(request_id, "get", self._sends(body, "GET", None), desk.name, ticket_id=ticket_id)

    def _wrong(self, request_id: str, desk: SoakedHelpdesk) -> Asked:
        if self._random.random() < 0.5:
            send = QueueSend(trigger="queue", body="{not json")
            return Asked(None, "add", (send,), desk.name, frozenset({REJECTED}))
        body = {
            "operation": "add",
            "request_id": request_id,
            "helpdesk": desk.name,
            "source": SOURCE,
            "ticket": {"details": "no title"},
        }
        send = QueueSend(trigger="queue", body=body)
        return Asked(request_id, "add", (send,), desk.name, frozenset({REJECTED}))

    def _sends(self, body: dict[str, Any], method: Any, path: str | None) -> tuple[Send, ...]:
        """One way to send it, or two where the producer sends it twice."""
        times = 2 if self._random.random() < self._doubled else 1
        return tuple(self._sent(body, method, path) for _ in range(times))

    def _sent(self, body: dict[str, Any], method: Any, path: str | None) -> Send:
        if path and self._random.random() < _API_SHARE:
            asked = {key: value for key, value in body.items() if key != "operation"}
            return ApiSend(trigger="api", method=method, path=path, body=asked)
        match self._random.choice(_ENVELOPES):
            case "topic":
                return TopicSend(trigger="topic", message=body)
            case "bus":
                named = {"detail-type": "Ticket Requested", "source": "com.example.soak"}
                return BusSend.model_validate({"trigger": "bus", **named, "detail": body})
            case "cloudevent":
                return QueueSend(trigger="queue", body=_cloudevent(body))
            case "native" if body["operation"] == "add" and SOAKED[body["helpdesk"]].is_native:
                ticket = body["ticket"]
                native = {"title": ticket["title"], "ticket_details": ticket["details"]}
                about = {key: value for key, value in body.items() if key not in ("operation", "ticket")}
                return QueueSend(trigger="queue", body=[{**about, **native}])
            case _:
                return QueueSend(trigger="queue", body=body)


def _cloudevent(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"event-{body['request_id']}",
        "source": "https://example.com/soak",
        "type": "com.example.soak",
        "data": body,
    }


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────


class NamedRule(NamedTuple):
    """A fault's name in the report, and the rule for the simulator."""

    name: str
    rule: FaultRule


_WAIT_A_SECOND = {"Retry-After": "1"}
_ADD, _UPDATE, _GET, _MINT, _RARE = "add", "update", "get", "mint", "rare"
_EVERY = (_ADD, _UPDATE, _GET)
_ALL = (*_EVERY, _MINT, _RARE)
_SHARES = {_MINT: 1 / 6, _RARE: 1 / 60}


def faults(desk: SoakedHelpdesk, share: float, seed: int, read_timeout_s: float) -> list[NamedRule]:
    """A mix of faults that befalls this share of the helpdesk's calls; less where much hangs on one call."""
    late_s = read_timeout_s + 0.3
    weights: list[tuple[str, float, Fault, tuple[str, ...]]] = [
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
        ("200-success-without-id", 4, Fault(answer="without_id"), (_ADD,)),
        ("wrong-id-echoed", 4 * desk.echoes_ids, Fault(answer="wrong_id"), (_UPDATE,)),
        ("read-timeout-after-commit", 2, Fault(delay_after_s=late_s), _EVERY),
        ("read-timeout-before-commit", 1, Fault(delay_before_s=late_s), _EVERY),
        # These close the gate for everybody for a second or more, and that is many calls.
        ("429-with-retry-after", 0.2, Fault(status=429, headers=_WAIT_A_SECOND), _EVERY),
        ("503-with-retry-after", 0.1, Fault(status=503, headers=_WAIT_A_SECOND), _EVERY),
        ("200-html-login-page", 0.05, Fault(html=True), _EVERY),
    ]
    no = FaultRule(
        operation=desk.adds, match=_REFUSABLE, share=share, seed=seed, fault=Fault(body=desk.says_no)
    )
    rules = [NamedRule("200-failed-body", no)]
    calls = [(desk.adds, _ADD), *((call, _UPDATE) for call in desk.updates)]
    calls += [*((call, _GET) for call in desk.gets), *((call, _MINT) for call in desk.mints)]
    calls += [(call, _RARE) for call in desk.rare]
    for call, kind in calls:
        of_this = share * _SHARES.get(kind, 1)
        mine = [one for one in weights if kind in one[3] and one[1]]
        total = sum(weight for _, weight, _, _ in mine)
        left = 1.0
        for number, (name, weight, fault, _) in enumerate(mine):
            # A rule is asked only where those before it have let the call through.
            wanted = of_this * weight / total
            rule = FaultRule(operation=call, share=wanted / left, seed=seed + number, fault=fault)
            rules.append(NamedRule(name, rule))
            left -= wanted
    return rules
