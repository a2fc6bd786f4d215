"""The families of schedules: each makes one out of a seed, and lets it happen."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.faults.checker.mishaps import LOST, OUTAGES, REFUSED, TOKEN, Outage, Risks
from tests.faults.checker.world import HELPDESKS, World

type Family = Callable[[str], World]

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
_MINUTE_S = 60.0
_RISKS = Risks(aws=0.02, helpdesk=0.15, kill=0.2, twice=0.2, kept=0.05)


def basic(seed: str) -> World:
    """Requests of all kinds, with kills, lost answers and second deliveries."""
    # No helpdesk here shows its tickets late: only a lease that is too short makes such a look too early.
    world = World(f"basic:{seed}", _RISKS, SETTLE_AFTER_S="0", GIVE_UP_AFTER_HOURS="12")
    within_s = world.chance.choice((2.0, 5.0, 60.0, 700.0))
    # Enough at one moment for more outcomes in a batch than SNS takes at once.
    _some_requests(world, within_s, most=30 if within_s == 2.0 else 18)
    world.know_markers()
    world.tick("resolve_doubts", world.chance.choice((15.0, _MINUTE_S)), world.began_at + 13 * _HOUR_S)
    world.run(14 * _HOUR_S)
    return world


def outage(seed: str) -> World:
    """A helpdesk that answers with one kind of failure for minutes or hours."""
    kill = 0.02 * (int(seed) % 2)
    world = World(f"outage:{seed}", Risks(kill=kill, twice=0.02))
    chance = world.chance
    helpdesk, begins = chance.choice(HELPDESKS), world.began_at + chance.uniform(0, 60)
    lasts_s = math.exp(chance.uniform(math.log(5 * _MINUTE_S), math.log(6 * _HOUR_S)))
    kind = chance.choice((*OUTAGES, TOKEN, TOKEN, "paused"))
    if kind == "paused":
        world.turns.at(begins, lambda: world.pause(helpdesk))
        world.turns.at(begins + lasts_s, lambda: world.resume(helpdesk))
        # No call comes in between, but for those that were under way.
        kind = ""
    operations: frozenset[str] = frozenset()
    if kind == TOKEN and helpdesk == "kapture":
        # Each operation has a key of its own.
        operations = frozenset(chance.sample(("add", "update", "get", "pull"), chance.randint(1, 3)))
    world.mishaps.outages.append(Outage(helpdesk, kind, begins, begins + lasts_s, operations=operations))
    world.mishaps.calm_at = begins + lasts_s
    # What is under way when it begins; one that dies then closes no gate.
    may_act = kill or kind in (*LOST, "503")
    world.most_in_doubt = world.concurrency * world.batch + 2 if may_act else 0
    world.soon_s = 15 * _MINUTE_S + 60
    world.may_park = lambda asked, _: world.hides_comment(asked) and asked.was_in_doubt
    _some_requests(world, lasts_s, helpdesk, chance.randint(4, 30))
    world.know_markers()
    world.tick("resolve_doubts", _MINUTE_S, world.began_at + 80 * _HOUR_S)
    world.run(lasts_s + 80 * _HOUR_S)
    return world


def trials(seed: str) -> World:
    """Reads alone are answered, or the helpdesk comes and goes."""
    world = World(f"trials:{seed}", Risks())
    chance = world.chance
    world.batch, world.concurrency = chance.choice(((1, 4), (10, 1)))
    under_way = world.batch * world.concurrency
    helpdesk, kind, begins = chance.choice(HELPDESKS), chance.choice(LOST), world.began_at + 5
    if chance.random() < 0.5:
        tens = 6
        ends = begins + chance.uniform(60, 300)
        world.mishaps.outages.append(Outage(helpdesk, kind, begins, ends, spares_reads=True))
        # Trials come after 1, 2, 4 and so on up to 60 seconds.
        world.most_in_doubt = under_way + 12
    else:
        on_s, times, tens = 40.0, 4, 20
        for place in range(times):
            ends = begins + on_s + place * 2 * on_s
            world.mishaps.outages.append(Outage(helpdesk, kind, ends - on_s, ends))
        # A trial each, and what a gate that has just opened forgives.
        world.most_in_doubt = times * (under_way + 3)
    world.mishaps.calm_at = ends
    for place in range(10 * tens):
        # Ten at once.
        world.add(helpdesk, 2 + place // 10 * (ends - begins) / tens)
    world.know_markers()
    world.tick("resolve_doubts", _MINUTE_S, ends + 5 * _HOUR_S)
    world.run(ends - world.began_at + 6 * _HOUR_S)
    return world


def order(seed: str) -> World:
    """Updates of one ticket that arrive in another order than they occurred in, some of them refused."""
    risks = replace(_RISKS, helpdesk=0.08, kill=0.1)
    world = World(f"order:{seed}", risks, SETTLE_AFTER_S="30", GIVE_UP_AFTER_HOURS="12")
    chance = world.chance
    world.batch = chance.choice((3, 25))
    within_s = chance.choice((0.5, 10.0, 300.0))
    for helpdesk in HELPDESKS:
        ticket_id = world.make_ticket(helpdesk, "before")
        for _ in range(chance.randint(2, 6)):
            world.update(
                helpdesk,
                2 + chance.uniform(0, within_s),
                "before",
                comment=(helpdesk == "socialboards" or world.kapture_shows_comments)
                and chance.random() < 0.3,
                occurred_at=world.began_at - chance.randint(1, 10),
                bad=chance.random() < 0.15,
                ticket_id=ticket_id,
            )
    world.know_markers()
    world.tick("resolve_doubts", _MINUTE_S, world.began_at + 13 * _HOUR_S)
    world.run(14 * _HOUR_S)
    return world


def changes(seed: str) -> World:
    """Tickets that people change, told by the watch and by callbacks at once."""
    world = World(f"changes:{seed}", replace(_RISKS, helpdesk=0.05, kill=0.1), WATCH_MINUTES="1")
    chance = world.chance
    number = 1000
    for helpdesk in HELPDESKS:
        ticket_id = world.make_ticket(helpdesk, "before")
        if chance.random() < 0.7:
            world.get(helpdesk, 2, [ticket_id], include=["watch"])
        world.watched.append((helpdesk, ticket_id))
        # After the first look, from which changes are told.
        after_s = chance.uniform(500, 600)
        for _ in range(chance.randint(1, 6)):
            number += 1
            after_s += chance.choice((0.2, 1.0, 5.0, 90.0)) * chance.uniform(0.2, 2)
            _changed_at(world, after_s, helpdesk, ticket_id, number)
    world.know_markers()
    world.tick("watch", _MINUTE_S, world.began_at + 1500)
    world.tick("resolve_doubts", _MINUTE_S, world.began_at + 1500)
    world.later(2000, lambda: None)
    world.run(2000)
    return world


def _changed_at(world: World, after_s: float, helpdesk: str, ticket_id: str, number: int) -> None:
    world.later(after_s, lambda: world.change_by_hand(helpdesk, ticket_id, number))
    for _ in range(world.chance.choice((1, 1, 2))):
        called_s = after_s + world.chance.uniform(0, 3)
        world.later(called_s, lambda: world.call_back(helpdesk, ticket_id))


def budgets(seed: str) -> World:
    """Few calls are allowed; requests that take one, many, or one after the other."""
    # In every second one calls are slow, so that those drawn at once are made one long after the other.
    is_slow = int(seed) % 2
    risks = replace(_RISKS, aws=0.01, helpdesk=0.3 if is_slow else 0.05, kill=0.05)
    world = World(f"budgets:{seed}", risks)
    chance = world.chance
    if is_slow:
        world.mishaps.kinds = ("slow",)
    else:
        # Many draw at the same moment.
        world.mishaps.longest_aws_s = 0.04
    allowed = chance.choice((1, 4, 10, 30, 300))
    world.restart(
        SETTLE_AFTER_S="30",
        GIVE_UP_AFTER_HOURS="8",
        KAPTURE_GET_LIMIT=chance.choice(("20", "50")),
        # A day of more pages than are allowed at once cannot be looked at.
        KAPTURE_PULL_LIMIT=chance.choice(("0", "3")) if allowed >= 30 else "0",
        KAPTURE_BUDGET=str(allowed),
        SOCIALBOARDS_BUDGET=str(allowed),
    )
    if allowed < 10:
        # One look at a doubt takes the pulls of three days: with fewer calls it may never come about.
        world.may_park = lambda _asked, _data: True
    within_s = chance.choice((0.0, 2.0, 120.0))
    for helpdesk in HELPDESKS:
        world.budgets[helpdesk] = (allowed, _MINUTE_S)
        ids = [world.make_ticket(helpdesk, f"before {place}") for place in range(10)]
        for _ in range(chance.randint(3, 10)):
            after_s = 2 + chance.uniform(0, within_s)
            kind = chance.choice(("add", "get", "update"))
            if kind == "add":
                world.add(helpdesk, after_s)
            elif kind == "get":
                many = [str(int(ids[0]) + place) for place in range(chance.choice((1, 60, 100)))]
                asked = world.get(helpdesk, after_s, [ids[0], *many[1:]])
                get_limit = 50 if helpdesk == "socialboards" else int(world.variables["KAPTURE_GET_LIMIT"])
                # What takes more calls than are ever allowed is refused.
                asked.is_bad = math.ceil(len(many) / get_limit) > allowed
            else:
                status = {} if helpdesk == "kapture" else {"sub_status": "pending"}
                world.update(helpdesk, after_s, "before 0", comment=True, ticket_id=ids[0], changes=status)
    world.know_markers()
    world.tick("resolve_doubts", _MINUTE_S, world.began_at + 10 * _HOUR_S)
    world.run(11 * _HOUR_S)
    return world


def refield(seed: str) -> World:
    """Another marker field or zone, while it is not known what became of some adds."""
    risks = replace(_RISKS, helpdesk=0.4, kill=0.1)
    world = World(f"refield:{seed}", risks, SETTLE_AFTER_S="60", GIVE_UP_AFTER_HOURS="2")
    chance = world.chance
    # A look counts that was made a minute after the call.
    world.show_late(chance.choice((0.0, 55.0, 55.0)))
    world.mishaps.kinds = LOST
    world.may_park = lambda _asked, _data: True
    if chance.random() < 0.4:
        world.restart(KAPTURE_ZONE="America/Los_Angeles", SOCIALBOARDS_ZONE="Asia/Tokyo")
    else:
        fields = ["details", "title", "off"]
        chance.shuffle(fields)
        _refield(world, fields[0])
        for place in (1, 2):
            world.later(chance.uniform(5, 200) * place, partial(_refield, world, chance.choice(fields)))
    for _ in range(chance.randint(2, 6)):
        world.add(chance.choice(HELPDESKS), 2 + chance.uniform(0, 200))
    if chance.random() < 0.5:
        world.know_markers()
    world.tick("resolve_doubts", _MINUTE_S, world.began_at + 4 * _HOUR_S)
    world.run(5 * _HOUR_S)
    return world


def _refield(world: World, field: str) -> None:
    world.restart(MARKER_FIELD=field, SOCIALBOARDS_MARKER_FIELD=field)


def doubts(seed: str) -> World:
    """Nothing can be looked up, or one request cannot be carried out, for days."""
    world = World(f"doubts:{seed}", Risks())
    chance = world.chance
    helpdesk, days = (
        chance.choice(HELPDESKS),
        chance.choice((chance.uniform(0.5, 2.5), chance.uniform(3, 13))),
    )
    ends = world.began_at + days * _DAY_S
    if chance.random() < 0.5:
        # With which requests come back most often, and are kept for the longest.
        world.restart(MAX_DELAY_S="1", DOUBT_S="1", GIVE_UP_AFTER_HOURS="312")
    world.mishaps.calm_at = ends
    world.may_park = lambda _asked, _data: True
    kind = chance.choice(("hidden", "hidden", "comment", "late", "late", *REFUSED))
    if kind == "late":
        # It is in doubt when it has waited for days, and until SQS would take it.
        world.mishaps.outages.append(Outage(helpdesk, "dns_failure", world.began_at, ends))
        world.mishaps.lost_operations, world.mishaps.most_lost = {"add", "update", "add_note"}, 1
        world.mishaps.hidden_until[helpdesk] = world.began_at + 20 * _DAY_S
    elif kind in REFUSED:
        world.mishaps.outages.append(Outage(helpdesk, kind, world.began_at, ends))
    else:
        # The calls that matter are answered by nobody: once, or whenever they are made.
        world.mishaps.lost_operations = {"add", "update", "add_note"}
        world.mishaps.most_lost = 1000 if kind == "comment" else 1
        world.mishaps.hidden_until[helpdesk] = ends if kind == "hidden" else 0.0
    ticket_id = world.make_ticket(helpdesk, "before")
    added = world.add(helpdesk, 2, reference="order")
    world.update(helpdesk, 3, "before", comment=True, ticket_id=ticket_id)
    by_reference = world.update(helpdesk, 4, added.name, reference="order")
    # Where its add is given up, it has no ticket.
    by_reference.is_bad = kind in ("comment", "late") or days > 2.5
    world.know_markers()
    world.tick("resolve_doubts", 20 * _MINUTE_S, world.began_at + 14 * _DAY_S)
    world.run(15 * _DAY_S)
    return world


def _some_requests(world: World, within_s: float, only: str | None = None, most: int = 14) -> None:
    chance = world.chance
    adds: dict[str, list[tuple[str, str, str, float]]] = {name: [] for name in HELPDESKS}
    ready = {name: world.make_ticket(name, f"{name} before") for name in HELPDESKS}
    for _ in range(chance.randint(2, most)):
        helpdesk, after_s = only or chance.choice(HELPDESKS), chance.uniform(2, within_s)
        kind = chance.choice(("add", "add", "update", "reference", "get"))
        comment = chance.random() < 0.6
        if kind == "add":
            # Names that are one where they are only put side by side.
            place, other = divmod(len(adds[helpdesk]), 2)
            source, reference = ("shop#1", str(place)) if other else ("shop", f"1#{place}")
            added = world.add(helpdesk, after_s, reference=reference, source=source)
            adds[helpdesk].append((added.name, source, reference, after_s))
            if chance.random() < 0.2:
                world.send_again(added, after_s + chance.choice((0.0, 1.0, 100.0)))
        elif kind == "update":
            world.update(helpdesk, after_s, f"{helpdesk} before", comment=comment, ticket_id=ready[helpdesk])
        elif kind == "reference" and adds[helpdesk]:
            title, source, reference, added_s = chance.choice(adds[helpdesk])
            after_s = max(after_s, added_s)
            world.update(helpdesk, after_s, title, comment=comment, reference=reference, source=source)
        else:
            world.get(helpdesk, after_s, [ready[helpdesk]])


# Each family, and its share of a thousand schedules.
FAMILIES: dict[str, tuple[Family, int]] = {
    "basic": (basic, 380),
    "outage": (outage, 100),
    "trials": (trials, 20),
    "order": (order, 150),
    "changes": (changes, 150),
    "budgets": (budgets, 80),
    "refield": (refield, 100),
    "doubts": (doubts, 20),
}
