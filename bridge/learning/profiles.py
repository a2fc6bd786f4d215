"""Makes a simulated helpdesk behave as an account did: facts become switches, a zone and keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.learning.facts import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from bridge.learning.facts import Learnt

    type Facts = Mapping[str, JsonValue]

_OPERATIONS = ("add", "update", "get", "pull")
# It opens nothing, as a key that the account's secret did not hold.
_NOBODYS = "key-that-nobody-has"
_HIGHEST_NUMBER_TRIED = 100
_SHARE_OF_LAG = 0.75


@dataclass(frozen=True)
class Manner:
    """How a simulator has to behave. `keys` are what its secret holds besides the token, by operation."""

    switches: Mapping[str, Any]
    keys: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None


def manner_of(learnt: Learnt) -> Manner:
    """The manner that a file of facts describes."""
    if learnt.helpdesk == "socialboards":
        return Manner(_socialboards(learnt.facts))
    zone = learnt.settings.get("KaptureZone")
    keys = {
        operation: f"local-key-for-{operation}"
        for operation in _OPERATIONS
        if listed(learnt.facts.get(f"keys.{operation}")) == [operation]
    }
    closed = {operation: _NOBODYS for operation in _OPERATIONS if learnt.facts.get(f"keys.{operation}") == []}
    switches = _kapture(learnt.facts)
    if keys or closed:
        switches["keys"] = keys | closed
    return Manner(switches, keys, zone.value if zone else None)


def _kapture(facts: Facts) -> dict[str, Any]:
    switches = {"failure_status": _failure_status(facts), "escaped": facts.get("escaped")}
    forms = [listed(facts.get(name)) for name in ("bodies.add", "bodies.update") if name in facts]
    common = [form for form in ("list", "object") if forms and all(form in taken for taken in forms)]
    switches["body_form"] = common[0] if len(common) == 1 else None
    switches["pull_message"] = "varying" if {"object", "text"} & {*listed(facts.get("pull.forms"))} else None
    switches["ignore_offset"] = _negated(facts.get("pull.offset_heeded"))
    switches["notes_returned"] = facts.get("comments_readable")
    most = facts.get("get.most_ids")
    switches["get_most_ids"] = most if isinstance(most, int) and most < _HIGHEST_NUMBER_TRIED else None
    switches["marker_returned"] = _is_returned(facts)
    switches["get_lag_s"], switches["pull_lag_s"] = _lag(facts, "get"), _lag(facts, "pull")
    return {name: value for name, value in switches.items() if value is not None}


def _socialboards(facts: Facts) -> dict[str, Any]:
    is_by_cause = _failure_status(facts) == "by_cause"
    switches = {
        "failure_status": "by_cause" if is_by_cause else 200,
        "mint_failure": facts.get("mint_failure"),
        "unverified_calls": "missing" if facts.get("calls.missing") else "served",
        "pascal_case": facts.get("pascal_case"),
        "marker_returned": _is_returned(facts),
        "list_lag_s": _lag(facts, "pull"),
    }
    return {name: value for name, value in switches.items() if value is not None}


def _failure_status(facts: Facts) -> Any:
    """The status of every failure where it is the same; else each has that of its cause."""
    names = ("missing_field", "wrong_key", "unknown_id_of_update", "too_many_ids")
    failures = [facts.get(f"failures.{name}") for name in names]
    read = [failure for failure in failures if isinstance(failure, dict) and failure["read_as"] != "success"]
    statuses = {failure["status"] for failure in read}
    if not statuses:
        return None
    return statuses.pop() if len(statuses) == 1 else "by_cause"


def _is_returned(facts: Facts) -> bool | None:
    fates = {facts[name] for name in facts if name.startswith("marker.details.")}
    return None if not fates else bool(fates & {"whole", "changed"})


def _lag(facts: Facts, way: str) -> float | None:
    """Between the last read that did not show a ticket and the first that did."""
    seconds = facts.get(f"shown_after_s.{way}")
    return float(seconds) * _SHARE_OF_LAG if isinstance(seconds, int | float) else None


def _negated(value: JsonValue) -> bool | None:
    return not value if isinstance(value, bool) else None
