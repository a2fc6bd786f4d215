"""The families of schedules: each makes one out of a seed, and lets it happen."""

from collections.abc import Callable

from tests.faults.checker.mishaps import Risks
from tests.faults.checker.world import HELPDESKS, World

type Family = Callable[[str], World]

_HOUR_S = 3600.0


def basic(seed: str) -> World:
    """Requests of all kinds, with kills, lost answers and second deliveries."""
    world = World(
        f"basic:{seed}",
        Risks(aws=0.02, helpdesk=0.15, kill=0.2, twice=0.1, kept=0.05),
        SETTLE_AFTER_S="30",
        GIVE_UP_AFTER_HOURS="12",
    )
    _some_requests(world, world.chance.choice((5.0, 60.0, 700.0)))
    world.know_markers()
    world.tick("reconcile", 60.0, 13 * _HOUR_S + world.began_at)
    world.run(14 * _HOUR_S)
    return world


def _some_requests(world: World, within_s: float) -> None:
    chance = world.chance
    adds: dict[str, list[tuple[str, str]]] = {name: [] for name in HELPDESKS}
    ready = {name: world.make_ticket(name, f"{name} before") for name in HELPDESKS}
    for _ in range(chance.randint(2, 14)):
        helpdesk, after_s = chance.choice(HELPDESKS), chance.uniform(2, within_s)
        kind = chance.choice(("add", "add", "update", "reference", "get"))
        if kind == "add":
            reference = f"order-{len(world.asked)}"
            added = world.add(helpdesk, after_s, reference=reference)
            adds[helpdesk].append((added.name, reference))
        elif kind == "update":
            world.update(
                helpdesk,
                after_s,
                f"{helpdesk} before",
                comment=chance.random() < 0.6,
                ticket_id=ready[helpdesk],
            )
        elif kind == "reference" and adds[helpdesk]:
            title, reference = chance.choice(adds[helpdesk])
            world.update(helpdesk, after_s, title, comment=chance.random() < 0.6, reference=reference)
        else:
            world.get(helpdesk, after_s, [ready[helpdesk]])


FAMILIES: dict[str, tuple[Family, int]] = {"basic": (basic, 1000)}
