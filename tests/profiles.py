"""Four accounts of Kapture as `bridge learn` describes them: the suite runs against each, and learns it."""

from datetime import UTC, datetime
from typing import Any

from bridge.learning import proposals
from bridge.learning.facts import Learnt
from bridge.learning.profiles import Manner, manner_of
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from tests.deployment import Clock

_OPERATIONS = ("add", "update", "get", "pull")


def _failure(status: int, read_as: str) -> dict[str, Any]:
    return {"status": status, "read_as": read_as}


def _failures(key: int, field: int, unknown: int) -> dict[str, Any]:
    read_as = "not_found" if unknown == 404 else "refused_by_helpdesk"
    return {
        "failures.wrong_key": _failure(key, "token_refused"),
        "failures.missing_field": _failure(field, "refused_by_helpdesk"),
        "failures.unknown_id_of_get": _failure(200, "success"),
        "failures.unknown_id_of_update": _failure(unknown, read_as),
    }


_DOCUMENTED: dict[str, Any] = {
    **_failures(401, 400, 404),
    **{f"keys.{operation}": ["token"] for operation in _OPERATIONS},
    "bodies.add": ["list"],
    "bodies.update": ["list"],
    "shown_after_s.get": 0.0,
    "shown_after_s.pull": 0.0,
    "zone.utc_offset_minutes": 330,
    **{f"marker.{field}.{way}": "whole" for field in ("title", "details") for way in ("get", "pull")},
    "escaped": "names",
    "comments_readable": False,
    "pull.without_limit": "whole",
    "pull.limit_heeded": True,
    "pull.offset_heeded": True,
    "pull.forms": ["list"],
    "get.unknown_ids": "left out",
    "get.most_ids": 100,
}

# By account: its manners, where they are not the documented ones, and the settings that must follow.
_ACCOUNTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "documented": ({}, {"SettleAfterSeconds": "60"}),
    "own_keys_and_objects": (
        {
            **{f"keys.{operation}": [operation] for operation in _OPERATIONS},
            "bodies.add": ["object"],
            "bodies.update": ["object"],
            "comments_readable": True,
            "pull.forms": ["object", "text"],
        },
        {"KaptureBodies": "object", "KaptureCommentsReadable": "true", "SettleAfterSeconds": "60"},
    ),
    "slow_and_escaping": (
        {
            "bodies.add": ["list", "object"],
            "bodies.update": ["list", "object"],
            "shown_after_s.get": 15.0,
            "shown_after_s.pull": 60.0,
            "escaped": "all",
            "get.most_ids": 20,
            "failures.too_many_ids": _failure(400, "refused_by_helpdesk"),
        },
        {"KaptureEscapedTexts": "true", "KaptureGetLimit": "20", "SettleAfterSeconds": "120"},
    ),
    "hostile": (
        {
            **_failures(200, 200, 200),
            "marker.details.get": "absent",
            "marker.details.pull": "absent",
            "escaped": "none",
            "zone.utc_offset_minutes": 240,
            "pull.offset_heeded": False,
            "get.most_ids": 10,
            "failures.too_many_ids": _failure(200, "refused_by_helpdesk"),
        },
        {
            "MarkerField": "title",
            "KaptureZone": "Asia/Dubai",
            "KaptureGetLimit": "10",
            "SettleAfterSeconds": "60",
        },
    ),
}


class Profile:
    """One of the four accounts."""

    def __init__(self, name: str) -> None:
        manners, self.settings = _ACCOUNTS[name]
        self.name = name
        self.facts = _DOCUMENTED | manners
        self.learnt = Learnt(
            helpdesk="kapture",
            address="https://acme.kapturecrm.com",
            learnt_at=datetime(2026, 11, 28, tzinfo=UTC),
            calls=0,
            tickets=(),
            facts=self.facts,
            settings=proposals.follow("kapture", self.facts, DEFAULTS, DEFAULTS),
            points={},
        )

    @property
    def manner(self) -> Manner:
        """What makes a simulator behave so."""
        return manner_of(self.learnt)

    def secret(self, token: str) -> dict[str, str]:
        """What the account's secret holds."""
        return {"token": token, **self.manner.keys}

    def simulator(self, token: str, clock: Clock) -> KaptureSimulator:
        """The simulated account."""
        switches = KaptureSwitches.model_validate(self.manner.switches)
        return KaptureSimulator(
            token=token, clock=clock, switches=switches, zone=self.manner.zone or "Asia/Kolkata"
        )


DEFAULTS = {
    "MarkerField": "details",
    "KaptureZone": "Asia/Kolkata",
    "KaptureGetLimit": "50",
    "KapturePullLimit": "0",
    "KaptureBodies": "list",
    "KaptureCommentsReadable": "false",
    "KaptureEscapedTexts": "false",
    "SettleAfterSeconds": "900",
}
PROFILES = {name: Profile(name) for name in _ACCOUNTS}
