"""Hours and days in which a helpdesk answers with one kind of failure, on a clock that is put forward.

OUTAGE_HOURS=6 OUTAGE_REQUESTS_A_MINUTE=50 is the size that is measured by hand: minutes for each kind.
"""

import os
from collections.abc import Callable

import pytest

from tests.faults.checker.mishaps import OUTAGES, Outage, Risks
from tests.faults.checker.promises import broken
from tests.faults.checker.world import HELPDESKS, Asked, World

HOURS = float(os.environ.get("OUTAGE_HOURS", "0.25"))
A_MINUTE = float(os.environ.get("OUTAGE_REQUESTS_A_MINUTE", "1"))
_MINUTE_S, _DAY_S = 60.0, 86_400.0
_BEFORE_S = 5 * _MINUTE_S
# As deployed by default, but that a batch may hold 25: six hours at fifty a minute are 18,000 requests.
_BATCH, _BATCHES = 10, 5
# So many requests in a row mean one ticket: nobody writes thousands of comments on one.
_OF_ONE_TICKET = 500


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


def _world(seed: str, **variables: str) -> World:
    world = World(seed, Risks(), calm_after_s=1200.0, **variables)
    world.batch, world.concurrency = _BATCH, _BATCHES
    world.know_markers()
    return world


def _ask_for_each_kind(world: World, helpdesk: str, requests: int) -> None:
    for number in range(requests):
        if number % _OF_ONE_TICKET == 0:
            before = f"before-{number}"
            ticket_id = world.make_ticket(helpdesk, before)
        after_s = 2 + number * _MINUTE_S / A_MINUTE
        match number % 5:
            case 0:
                world.add(helpdesk, after_s, reference=f"order-{number}")
            case 1:
                title, reference = f"add-{number - 1}", f"order-{number - 1}"
                world.update(helpdesk, after_s, title, reference=reference)
            case 2:
                world.update(helpdesk, after_s, before, comment=True, ticket_id=ticket_id)
            case 3:
                world.get(helpdesk, after_s, [ticket_id])
            case _:
                world.add(helpdesk, after_s)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("helpdesk", HELPDESKS)
@pytest.mark.parametrize("kind", OUTAGES)
def test_an_outage_of_any_kind_costs_nothing_but_time(kind: str, helpdesk: str) -> None:
    world = _world(f"{kind} at {helpdesk}")
    begins = world.began_at + _BEFORE_S
    ends = begins + HOURS * 3600
    world.mishaps.outages.append(Outage(helpdesk, kind, begins, ends))
    world.mishaps.calm_at = ends
    _ask_for_each_kind(world, helpdesk, int((_BEFORE_S + HOURS * 3600) / _MINUTE_S * A_MINUTE))
    world.tick("resolve_doubts", _MINUTE_S, ends + 3600)

    world.run(_BEFORE_S + HOURS * 3600 + 3600)

    assert broken(world) == []
    outcomes = [(asked, asked.finals[0]) for asked in world.asked.values()]
    assert {event["data"]["outcome"] for _, event in outcomes} == {"succeeded"}
    assert max(event["at"] for _, event in outcomes) - ends < 15 * _MINUTE_S
    # Those of the batches that were under way when it began, by which it was noticed.
    in_doubt = [asked for asked in world.asked.values() if asked.was_in_doubt]
    assert len(in_doubt) <= (1 if A_MINUTE == 1 else _BATCH * _BATCHES)


# ── what can never be carried out ────────────────────────────────────────────────────────────────────────

# The settings with which requests come back most often, and are kept for the longest.
OFTEN = {"MAX_DELAY_S": "1", "DOUBT_S": "1", "GIVE_UP_AFTER_HOURS": "312"}


def _forever(kind: str) -> Callable[[World, str], Asked]:
    def asked(world: World, helpdesk: str) -> Asked:
        world.mishaps.outages.append(Outage(helpdesk, kind, world.began_at, world.began_at + 20 * _DAY_S))
        return world.add(helpdesk, 2)

    return asked


def _lists_nothing(world: World, helpdesk: str) -> Asked:
    """An add is in doubt, and no list can be read."""
    world.mishaps.hidden_until[helpdesk] = world.began_at + 20 * _DAY_S
    world.mishaps.lost_operations, world.mishaps.most_lost = {"add"}, 1
    return world.add(helpdesk, 2)


def _comments_are_lost(world: World, helpdesk: str) -> Asked:
    """A comment is never answered."""
    world.mishaps.lost_operations, world.mishaps.most_lost = {"update", "add_note"}, 1000
    ticket_id = world.make_ticket(helpdesk, "before")
    return world.update(helpdesk, 2, "before", comment=True, ticket_id=ticket_id)


def _reference_is_unknown(world: World, helpdesk: str) -> Asked:
    return world.update(helpdesk, 2, "nothing", reference="nobody-knows")


# One kind of each sort; by hand all of them.
_FOREVER = (
    OUTAGES if HOURS > 1 else ("hang", "500", "connect_refused", "429-wait", "404-page", "token-refused")
)
WAITS: dict[str, Callable[[World, str], Asked]] = {
    **{kind: _forever(kind) for kind in _FOREVER},
    "list-unreadable": _lists_nothing,
    "comment-never-answered": _comments_are_lost,
    "reference-unknown": _reference_is_unknown,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("helpdesk", HELPDESKS)
@pytest.mark.parametrize("why", WAITS)
def test_what_can_never_be_carried_out_ends_before_sqs_takes_it(why: str, helpdesk: str) -> None:
    world = _world(f"never: {why} at {helpdesk}", **OFTEN)
    asked = WAITS[why](world, helpdesk)
    world.tick("resolve_doubts", 30 * _MINUTE_S, world.began_at + 14 * _DAY_S)

    world.run(14 * _DAY_S)

    assert [event["data"]["outcome"] for event in asked.finals[:1]] in (["parked"], ["rejected"])
    # SQS has taken nothing out of the queue: the copy beside the outcome is ours.
    assert not [line for line in world.broken if "SQS" in line]
    assert len(world.letters.messages) == 1
