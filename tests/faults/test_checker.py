"""A thousand seeded schedules of everything that can go wrong; each promise holds in each of them.

CHECKER_SCHEDULES=20000 runs more. CHECKER_SEED=family:seed runs one, and tells its story.
"""

import os
import sys
from typing import Any

import pytest

from tests.faults.checker.families import FAMILIES
from tests.faults.checker.promises import broken
from tests.faults.checker.world import World

_SCHEDULES = int(os.environ.get("CHECKER_SCHEDULES", "1000"))
_TOLD = os.environ.get("CHECKER_SEED", "")
# Parts of a family, for as many processes.
_PARTS = 4


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


def _story(world: World) -> str:
    return "\n".join(f"{at - world.began_at:12.3f} {line}" for at, line in world.mishaps.story)


def _parts() -> list[Any]:
    if _TOLD:
        family, _, seed = _TOLD.partition(":")
        return [pytest.param(family, range(int(seed), int(seed) + 1), id=_TOLD)]
    parts = []
    shares = sum(share for _, share in FAMILIES.values())
    for family, (_, share) in FAMILIES.items():
        most = max(_SCHEDULES * share // shares, 1)
        parts += [
            pytest.param(family, range(part, most, _PARTS), id=f"{family}-{part + 1}")
            for part in range(min(_PARTS, most))
        ]
    return parts


@pytest.mark.parametrize(("family", "seeds"), _parts())
@pytest.mark.timeout(3600)
def test_every_promise_holds_in_every_schedule(
    family: str, seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in seeds:
        world = FAMILIES[family][0](str(seed))
        wrong = broken(world)
        if _TOLD:
            with capsys.disabled():
                sys.stdout.write(f"\n{_story(world)}\n")
        assert not wrong, f"CHECKER_SEED={family}:{seed}\n{_story(world)}\n" + "\n".join(wrong)
