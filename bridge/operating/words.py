"""Says in people's words what a gate, a code and a step of a request mean."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from helpdesk.store.gate import ASKED_TO_WAIT, KEY_MISSING, OUTAGE, OVER_BUDGET, TOKEN_REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from helpdesk.store.gate import GateState, RefusedKey
    from helpdesk.store.ledger import Receipt

# What people call a state, and the attributes of the ledger that say so.
STATES = {
    "waiting": {"state": "released"},
    "working": {"state": "claimed"},
    "in-doubt": {"state": "unknown"},
    "succeeded": {"state": "done", "kind": "succeeded"},
    "rejected": {"state": "done", "kind": "rejected"},
    "parked": {"state": "done", "kind": "parked"},
}
PAUSED = "paused"
# The helpdesk has answered 429.
RATE_LIMITED = "rate_limited"
_CLOSED = {
    TOKEN_REFUSED: "token refused",
    OUTAGE: "it is down",
    ASKED_TO_WAIT: "it asked us to wait",
}
# Why a request waits; {0} is the helpdesk.
_WAITS = {
    PAUSED: "{0} is paused",
    OVER_BUDGET: "the budget of calls to {0} is used up",
    TOKEN_REFUSED: "{0} refused the token",
    KEY_MISSING: "the secret of {0} has no key for it",
    "login_page": "{0} asked us to log in",
    RATE_LIMITED: "{0} answered 429 (too many calls)",
    "helpdesk_down": "{0} answered 503 and asked us to wait",
    "in_doubt": "it is in doubt, and is searched for",
    "in_flight": "another run makes its call",
    "ticket_busy": "another update of its ticket goes first",
    "unknown_reference": "no ticket has its reference yet",
    "ledger_unavailable": "the ledger did not answer",
    "ledger_moved_on": "another run was quicker",
    "secret_unreadable": "the secret with the token of {0} cannot be read",
    "secret_malformed": "the secret with the token of {0} is malformed",
    "marker_key_malformed": "the secret with the markers' key is malformed",
    "internal_error": "our function has a fault, which its log names",
    "out_of_time": "the run had no time left for its call",
    "connect_timeout": "{0} could not be reached",
    "connect_refused": "{0} could not be reached",
    "dns_failure": "the name of {0} could not be looked up",
    "tls_failure": "{0} has shown no valid certificate",
}
# How a call ended whose effect is not known.
_LOST = {
    "read_timeout": "{0} did not answer in time",
    "connection_lost": "the connection broke before {0} answered",
    "helpdesk_failed": "{0} answered that it has failed",
    "crashed": "our function died during the call to {0}",
}
# What closes a gate, beside an answer that says so itself (http_...).
OF_AN_OUTAGE = {
    RATE_LIMITED,
    "helpdesk_down",
    "connect_timeout",
    "connect_refused",
    "dns_failure",
    "tls_failure",
    "read_timeout",
    "connection_lost",
    "helpdesk_failed",
}
# The helpdesk has read the request and refused it.
_REFUSED = {"refused_by_helpdesk", "not_found", "conflict", "too_large"}
_FREED = {
    "absent": "Searched: not there, so it is made again.",
    "found": "Searched: the comment is there. What is missing of the update follows.",
    "resumed": "No call of it was under way, so it is carried out again.",
    "redriven": "An operator sent it again.",
}


def state_of(receipt: Receipt) -> str:
    """Where a request stands, as people call it."""
    if receipt.ended and receipt.outcome:
        return receipt.outcome.kind
    return next(name for name, attributes in STATES.items() if attributes["state"] == receipt.state)


def title(helpdesk: str | None) -> str:
    """A helpdesk's name as people write it."""
    return helpdesk.capitalize() if helpdesk else "the helpdesk"


def capital(words: str) -> str:
    """The words at the beginning of a sentence."""
    return words[:1].upper() + words[1:]


def clock_time(seconds: float) -> str:
    """A moment in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def near_time(seconds: float) -> str:
    """A moment in UTC, to the second; without its day where that is today."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at.strftime("%H:%M:%SZ" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M:%SZ")


# ── why a helpdesk is not called ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outage:
    """A helpdesk that is not called. `since` is 0 where it is not known: of a pause.

    `cause` is the code of the call that closed its gate, if that is known.
    """

    helpdesk: str
    reason: str
    since: float
    next_try_at: float
    cause: str = ""

    @property
    def short(self) -> str:
        """For the middle of a sentence."""
        if self.reason == PAUSED:
            return f"{title(self.helpdesk)} is paused"
        if self.reason == OUTAGE and self.cause == RATE_LIMITED:
            return f"{title(self.helpdesk)} is closed (it answers 429, too many calls)"
        return f"{title(self.helpdesk)} is closed ({_CLOSED.get(self.reason, self.reason)})"

    def sentence(
        self, waiting: int | None, at: Callable[[float], str] = near_time, *, is_only: bool = True
    ) -> str:
        """What happens and what there is to do, beside so many requests that wait; None is not known.

        Unless it is the only helpdesk, those of others wait in the same queue.
        """
        if not is_only and waiting:
            return f"{self._said('Its requests wait', at)} In the queue of all helpdesks: {waiting}."
        if self.reason == PAUSED and not waiting:
            return self._said("New requests wait", at)
        known = {None: "Requests wait", 0: "No request waits", 1: "1 request waits"}
        return self._said(known.get(waiting, f"{waiting} requests wait"), at)

    def _said(self, wait: str, at: Callable[[float], str]) -> str:
        name = title(self.helpdesk)
        if self.reason == PAUSED:
            return f"{name} is paused. {wait} until it is resumed."
        if self.reason == TOKEN_REFUSED:
            return f"{name} refuses the token (closed since {at(self.since)}). {wait} for a valid token."
        if self.reason == ASKED_TO_WAIT:
            return f"{name} asked us to wait until {at(self.next_try_at)}. {wait}; nothing to do."
        is_due = self.next_try_at <= time.time()
        tried = "its next try is due" if is_due else f"it is tried again at {at(self.next_try_at)}"
        if self.cause == RATE_LIMITED:
            return f"{name} answers 429, too many calls (since {at(self.since)}). {wait}: {tried}."
        return f"{name} is down (closed since {at(self.since)}). {wait}; nothing to do: {tried}."


def outage_in(helpdesk: str, state: GateState) -> Outage | None:
    """Why a helpdesk with this gate is not called; None where it is called."""
    if state.paused:
        return Outage(helpdesk, PAUSED, 0.0, 0.0)
    if not state.closed:
        return None
    return Outage(helpdesk, state.reason or OUTAGE, state.closed_at, state.next_probe_at)


def refused_keys(helpdesk: str, refused: Mapping[str, RefusedKey]) -> Iterator[str]:
    """A sentence for each key that the helpdesk does not take, by the names of their operations."""
    name = title(helpdesk)
    for operation, key in sorted(refused.items()):
        if key.is_replaced:
            yield f"{name} refused our key for {operation}; the secret has changed since: not tried yet."
        elif key.code == KEY_MISSING:
            yield f"The secret of {name} holds no key for {operation}."
        else:
            yield f"{name} refuses our key for {operation} since {near_time(key.since)}: {key.code}."


# ── the steps of a request ───────────────────────────────────────────────────────────────────────────────


def reason(code: str, helpdesk: str | None) -> str:
    """Why a request waits, for the middle of a sentence."""
    name = title(helpdesk)
    if closed := _CLOSED.get(code.removeprefix("gate_closed_")) if code.startswith("gate_closed_") else None:
        return f"{name} is closed ({closed})"
    if code.startswith("http_"):
        return f"{name} answered {code.removeprefix('http_')}"
    if code in _LOST:
        return _LOST[code].format(name)
    return _WAITS.get(code, code).format(name)


def lost(code: str, helpdesk: str | None, operation: str | None) -> str:
    """What is known of a call whose effect is not."""
    name = title(helpdesk)
    if code.startswith("http_"):
        what = f"{name} answered {code.removeprefix('http_')}"
    else:
        what = _LOST.get(code, f"{{0}} sent an answer that says neither success nor failure ({code})").format(
            name
        )
    return f"{capital(what)}: {may_exist(operation)}"


def may_exist(operation: str | None) -> str:
    """The doubt itself."""
    return (
        "the ticket may or may not exist"
        if operation == "add"
        else "the change may or may not have been made"
    )


def step(entry: str, helpdesk: str | None, operation: str | None, before: str) -> str:
    """An entry of a request's history as a sentence; `before` is the state that it found."""
    word, _, code = entry.partition(" ")
    name = title(helpdesk)
    match word:
        case "claimed":
            return f"The call to {name} began."
        case "succeeded" if before == "unknown":
            return f"Searched: the {'ticket' if operation == 'add' else 'update'} is there."
        case "succeeded":
            return f"{name} {'made the ticket' if operation == 'add' else 'took the update'}."
        case "rejected" if code in _REFUSED:
            return f"{name} refused it ({code})."
        case "rejected":
            return f"Ticket Bridge rejected it ({code})."
        case "unknown":
            return f"{lost(code, helpdesk, operation)}."
        case "parked":
            return f"Given up ({code}): it is parked for a person."
        case "released":
            return f"Nothing was done. It waits because {reason(code, helpdesk)}."
        case "freed":
            return _FREED.get(code, "It may be carried out again.")
    return entry


def ended(outcome: str | None, code: str | None) -> str:
    """The log's line that an outcome was published."""
    state = "in doubt" if outcome == "unknown" else outcome
    # It is about a request that took the id of this one, which it leaves as it is.
    whose = " of another request with this id" if code == "request_id_reused" else ""
    return f"Outcome{whose} published: {state}" + (f" ({code})." if code else ".")


def searched(fields: dict[str, object], helpdesk: str | None, *, markers_seen: bool) -> str:
    """The log's line that a doubt was looked up, and is one still."""
    if fields.get("operation") != "add":
        return "Not settled yet; looked up again each minute."
    if not fields.get("searched", True):
        return f"{title(helpdesk)} could not be searched; it is searched again each minute."
    settle_s = fields.get("settle_after_s")
    after = f"after {settle_s / 60:g} minutes without it" if isinstance(settle_s, int | float) else "later"
    if markers_seen:
        return f"Searched: not there yet; made again {after}."
    return (
        f"Searched: not there yet; parked for a person {after}, because {title(helpdesk)} shows no markers."
    )
