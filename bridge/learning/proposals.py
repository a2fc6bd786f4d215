"""The settings that follow from facts, each with its reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bridge.learning.facts import Proposal, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

    type Facts = Mapping[str, JsonValue]
    type Proposals = Iterator[tuple[str, str, str]]

# A ticket that shows at once today may take a minute on another day.
_LEAST_SETTLE_S = 60
# The time that was seen is of one ticket, at one hour.
_SETTLE_TIMES = 2
_SETTLE_STEP_S = 10
# Those who read the list of a day want no more of it than one answer of a usual size.
_PAGE = 100
# Of what the helpdesk allows; others may use the account as well.
_SHARE_OF_RATE = 0.8
_MINUTE_S = 60
# Offered first for their offset.
_ZONES = (
    "Asia/Kolkata",
    "UTC",
    "Asia/Dubai",
    "Asia/Singapore",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Oslo",
)


def follow(
    helpdesk: str, facts: Facts, running: Mapping[str, str], defaults: Mapping[str, str]
) -> dict[str, Proposal]:
    """By parameter, what follows for a stack that runs with these values.

    A value that is the default, and that the stack runs with, needs no saying.
    """
    proposed = _kapture(facts, running) if helpdesk == "kapture" else _usual(helpdesk, facts, running)
    return {
        name: Proposal(value=value, why=why)
        for name, value, why in proposed
        if not value == defaults.get(name) == running.get(name)
    }


def _kapture(facts: Facts, running: Mapping[str, str]) -> Proposals:
    yield from _bodies(facts, running.get("KaptureBodies", "list"))
    if "comments_readable" in facts:
        is_readable = facts["comments_readable"] is True
        yield (
            "KaptureCommentsReadable",
            _flag(is_readable),
            "a comment came back, so one whose answer was lost can be looked up"
            if is_readable
            else "the comment did not come back",
        )
    if "escaped" in facts:
        is_all = facts["escaped"] == "all"
        what = (
            "titles and details come back escaped" if is_all else "titles and details come back as they are"
        )
        yield "KaptureEscapedTexts", _flag(is_all), what
    yield from _ids(facts, int(running.get("KaptureGetLimit", "50")))
    yield from _pages(facts)
    yield from _zone(facts, running.get("KaptureZone", ""))
    yield from _marker(facts, "MarkerField", running.get("MarkerField", "details"))
    yield from _settle(facts)
    yield from _budget(facts, "KaptureBudget")


def _usual(helpdesk: str, facts: Facts, running: Mapping[str, str]) -> Proposals:
    name = f"{helpdesk.capitalize()}MarkerField"
    yield from _marker(facts, name, running.get(name, "details"))
    yield from _settle(facts)
    yield from _budget(facts, f"{helpdesk.capitalize()}Budget")


def _bodies(facts: Facts, running: str) -> Proposals:
    taken = [facts[name] for name in ("bodies.add", "bodies.update") if name in facts]
    both = [form for form in ("list", "object") if all(form in listed(forms) for forms in taken)]
    if taken and both:
        form = running if running in both else both[0]
        yield "KaptureBodies", form, f"adds and updates are taken as {' and as '.join(both)}"


def _ids(facts: Facts, running: int) -> Proposals:
    most = facts.get("get.most_ids")
    if isinstance(most, int):
        why = f"a get of {most} ids is answered whole" + ("" if most >= _PAGE else ", one of more is not")
        yield "KaptureGetLimit", str(min(most, running)), why


def _pages(facts: Facts) -> Proposals:
    without = facts.get("pull.without_limit")
    pages = facts.get("pull.limit_heeded") is True and facts.get("pull.offset_heeded") is True
    if without == "whole":
        yield "KapturePullLimit", "0", "a list without a limit is whole"
    elif without in ("cut", "refused") and pages:
        yield (
            "KapturePullLimit",
            str(_PAGE),
            f"a list without a limit is {without}, and pages work",
        )


def _zone(facts: Facts, running: str) -> Proposals:
    minutes = facts.get("zone.utc_offset_minutes")
    if not isinstance(minutes, int):
        return
    now = datetime.now(UTC)
    offset = timedelta(minutes=minutes)
    fits = [
        zone for zone in (running, *_ZONES) if zone and now.astimezone(ZoneInfo(zone)).utcoffset() == offset
    ]
    hours, rest = divmod(minutes, 60)
    zone = fits[0] if fits else f"Etc/GMT{-hours:+d}" if not rest else ""
    if zone:
        others = "" if zone == running else "; if your account is elsewhere at this offset, name its own zone"
        yield "KaptureZone", zone, f"times are printed at UTC{minutes / 60:+g} h{others}"


def _marker(facts: Facts, name: str, running: str) -> Proposals:
    fields = [running, *(field for field in ("details", "title") if field != running)]
    if not any(fact.startswith("marker.") for fact in facts):
        return
    for field in fields:
        fates = {facts.get(f"marker.{field}.{way}", "whole") for way in ("get", "pull")}
        if any(f"marker.{field}.{way}" in facts for way in ("get", "pull")) and fates <= {"whole", "changed"}:
            yield name, field, f"a marker comes back in {field}"
            return
    yield name, "off", "no marker comes back, so a lost answer is parked for a person"


def _settle(facts: Facts) -> Proposals:
    seconds = facts.get("shown_after_s.pull")
    if isinstance(seconds, int | float):
        least = max(_LEAST_SETTLE_S, math.ceil(seconds * _SETTLE_TIMES / _SETTLE_STEP_S) * _SETTLE_STEP_S)
        why = f"a new ticket was in the list after {seconds:g} s; twice that, and never less than a minute"
        yield "SettleAfterSeconds", str(least), why


def _budget(facts: Facts, name: str) -> Proposals:
    """By what a header says of a limit; the period is taken to be a minute, the usual one."""
    stated = [value for fact, value in facts.items() if fact.startswith("rate.") and fact.endswith("limit")]
    figures = [value for value in stated if isinstance(value, int | float) and value >= 1]
    if figures:
        calls = max(1, math.floor(min(figures) * _SHARE_OF_RATE))
        why = f"a header states a limit of {min(figures):g}; of its period we know nothing, a minute is usual"
        yield name, str(calls), why
        yield f"{name}PeriodSeconds", str(_MINUTE_S), "the usual period of such a limit"


def _flag(value: bool) -> str:
    return str(value).lower()
