"""Deliberate faults of the layer, one at a time: does the checker notice? Run by hand, as a module.

    python -m tests.faults.checker.mutants [--schedules 300] [--families basic,order] [name ...]

Each fault of mutants.toml is a text of the layer that becomes another, in a copy that is first on the path.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_LAYER = _ROOT / "layers/helpdesk/helpdesk"
_LISTED = Path(__file__).with_suffix(".toml")
_ENVIRONMENT = {"AWS_DEFAULT_REGION": "eu-west-1", "POWERTOOLS_METRICS_DISABLED": "true"}


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    file: str
    old: str
    new: str


def main() -> int:
    """How many faults were not noticed, or are gone."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--families", default="", help="names with commas; all of them by default")
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.judge:
        return _judge(options.schedules, options.families)
    mutants = [Mutant(**listed) for listed in tomllib.loads(_LISTED.read_text())["mutant"]]
    chosen = [mutant for mutant in mutants if not options.names or mutant.name in options.names]
    runs = ["--judge", "--schedules", str(options.schedules), "--families", options.families]
    with ThreadPoolExecutor(2) as two:
        verdicts = list(two.map(lambda mutant: _verdict(mutant, runs), chosen))
    caught, missed, gone = (verdicts.count(verdict) for verdict in ("caught", "missed", "gone"))
    _say(f"{caught} of {len(chosen)} caught, {missed} missed, {gone} gone")
    return len(chosen) - caught


def _verdict(mutant: Mutant, runs: list[str]) -> str:
    began = time.monotonic()
    text = (_LAYER / mutant.file).read_text()
    if mutant.old not in text:
        _say(f"{mutant.name:32} gone: {mutant.file} no longer says {mutant.old!r}")
        return "gone"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(_LAYER, Path(folder, "helpdesk"))
        Path(folder, "helpdesk", mutant.file).write_text(text.replace(mutant.old, mutant.new, 1))
        path = os.pathsep.join((folder, str(_ROOT), str(_ROOT / "functions")))
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": path}
        command = [sys.executable, "-m", "tests.faults.checker.mutants", *runs]
        ran = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
    if "ModuleNotFoundError" in ran.stderr:
        # Else each would count as caught.
        raise ImportError(ran.stderr)
    verdict = "missed" if ran.returncode == 0 else "caught"
    told = (ran.stdout.strip() or ran.stderr.strip()).splitlines()[-1:]
    _say(f"{mutant.name:32} {verdict} in {time.monotonic() - began:3.0f} s  {''.join(told)[:150]}")
    return verdict


def _judge(schedules: int, families: str) -> int:
    """Runs the families in turn until a promise is broken; 1 where one is."""
    from tests.faults.checker.families import FAMILIES
    from tests.faults.checker.promises import broken

    shares = sum(share for _, share in FAMILIES.values())
    for family, (run, share) in FAMILIES.items():
        if families and family not in families.split(","):
            continue
        for seed in range(max(schedules * share // shares, 3)):
            if wrong := broken(run(str(seed))):
                _say(f"{family}:{seed} {wrong[0]}")
                return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
