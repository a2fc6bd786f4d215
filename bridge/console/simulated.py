"""The simulated helpdesks of a local stack: the tickets that they hold, and ways to make them fail."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from bridge.errors import BridgeError
from bridge.simulators.faults import FaultRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.console.connection import Local
    from bridge.local.helpdesks import LocalHelpdesk

_SHOWN = 50


@dataclass(frozen=True)
class Switch:
    """One way to fail; what it does is a rule of the simulator (its control interface)."""

    name: str
    label: str
    rule: Mapping[str, Any]


# A refusal in the words of either helpdesk: in other words it would be no verdict.
_REFUSAL = {"status": "failed", "message": "no such queue", "errorCode": 7, "errorText": "no such queue"}

SWITCHES = (
    Switch(
        "refuse",
        "Refuse new tickets (400)",
        {"operation": "add", "fault": {"status": 400, "body": json.dumps(_REFUSAL)}},
    ),
    Switch("down", "Down (503)", {"fault": {"status": 503}}),
    Switch(
        "busy",
        "Busy once (429)",
        {"times": 1, "fault": {"status": 429, "headers": {"Retry-After": "20"}}},
    ),
    Switch(
        "lost",
        "Lose an answer once",
        {"operation": "add", "times": 1, "fault": {"reset": "after"}},
    ),
    Switch("slow", "Slow (3 s)", {"fault": {"delay_after_s": 3}}),
    Switch("login", "Login page", {"fault": {"html": True}}),
)
_REVOKE, _ACCEPT, _CLEAR = "revoke", "accept", "clear"


def as_json(local: Local) -> list[dict[str, Any]]:
    """Each simulator that runs: its latest tickets, and the rules by which it fails now."""
    return [_shown(desk, local) for desk in local.simulated]


def do(local: Local, helpdesk: str, what: str) -> str:
    """Set a switch, `clear` all, or `revoke` or `accept` the token; returns what holds now in words.

    Raises BridgeError.
    """
    desk = next((desk for desk in local.simulated if desk.name == helpdesk), None)
    if desk is None:
        raise BridgeError(f"{helpdesk} is not simulated here, and nothing else is made to fail")
    if what == _CLEAR:
        _call(desk, local, "DELETE", "faults")
        return f"{desk.title}'s simulator fails no more."
    if what == _REVOKE:
        return _revoked(desk, local)
    if what == _ACCEPT:
        _call(desk, local, "PUT", "token", {"token": _token_in_secret(desk, local)})
        return f"{desk.title}'s simulator takes the token that is in the secret."
    switch = next((switch for switch in SWITCHES if switch.name == what), None)
    if switch is None:
        raise BridgeError(f"There is no switch {what}")
    _call(desk, local, "POST", "faults", switch.rule)
    return f"{desk.title}'s simulator: {switch.label}."


def _token_in_secret(desk: LocalHelpdesk, local: Local) -> Any:
    content = local.aws.secretsmanager.get_secret_value(SecretId=local.stack.secret_arns[desk.name])
    return json.loads(content["SecretString"]).get(next(iter(desk.credentials)))


def _revoked(desk: LocalHelpdesk, local: Local) -> str:
    _call(desk, local, "PUT", "token", {"token": secrets.token_hex(8)})
    # Tokens that were minted before would still be taken for a while.
    _call(desk, local, "POST", "expire")
    return f"{desk.title}'s simulator refuses the token that is in the secret."


def _shown(desk: LocalHelpdesk, local: Local) -> dict[str, Any]:
    tickets = _call(desk, local, "GET", "tickets")
    labels = {_as_listed(switch.rule): switch.label for switch in SWITCHES}
    rules = []
    for rule in _call(desk, local, "GET", "faults"):
        hits = rule.pop("hits")
        spent = rule.get("times") is not None and hits >= rule["times"]
        text = _as_listed(rule)
        if not spent:
            rules.append({"label": labels.get(text, text), "hits": hits})
    return {
        "name": desk.name,
        "title": desk.title,
        "url": local.stack.urls[desk.name],
        "count": len(tickets),
        "tickets": [_row(ticket) for ticket in reversed(tickets[-_SHOWN:])],
        "faults": rules,
        "takes_token": _call(desk, local, "GET", "token")["token"] == _token_in_secret(desk, local),
    }


def _as_listed(rule: Mapping[str, Any]) -> str:
    return FaultRule.model_validate(rule).model_dump_json(exclude_defaults=True)


def _row(ticket: Mapping[str, Any]) -> dict[str, Any]:
    comments = [" ".join(comment.split()) for comment in ticket["comments"]]
    return {
        "ticket_id": str(ticket["ticket_id"]),
        "title": ticket["title"],
        "email": ticket["email"] or "",
        "state": ticket["state"],
        "comments": "; ".join(comments),
    }


def _call(desk: LocalHelpdesk, local: Local, method: str, path: str, content: Any = None) -> Any:
    try:
        return desk.control(local.stack.urls, method, path, content)
    except requests.RequestException as error:
        raise BridgeError(f"{desk.title}'s simulator does not answer: {error}") from error
