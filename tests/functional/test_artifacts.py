"""What is deployed, as it is built: its size, its bytecode, and what each handler loads."""

import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.bench.artifacts import FUNCTIONS, SDK_IN_LAYER, build_functions, build_layer, zipped
from tests.unit.test_structure import ON_LAMBDA

HANDLERS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))

MEGABYTE = 1_000_000
# The flags of bytecode that is valid whatever the time of its source: PEP 552, hash-based and unchecked.
UNCHECKED = (1).to_bytes(4, "little")
# What no handler has a use for. Of Powertools, the resolver and the utilities are not even deployed.
NEVER = {"boto3", "s3transfer", "unittest"}
# What one handler has to itself, beside its wiring.
OWN = {
    "ticket_queue": {"helpdesk.consumer"},
    "ticket_api": {"helpdesk.api"},
    "form_intake": {"helpdesk.form_intake", "helpdesk.intake.forms"},
    "callbacks": {"helpdesk.callbacks"},
    "reconcile": {"helpdesk.reconcile"},
    "watch": {"helpdesk.watch"},
    "daily_proof": {"helpdesk.prover"},
}
HELPDESK = {"helpdesk.transport", "helpdesk.kapture", "helpdesk.service", "helpdesk.ledger", "helpdesk.gate"}
# The public edge holds no more than it needs.
NOT_LOADED = {
    "form_intake": HELPDESK | {"requests", "helpdesk.outcomes"},
    "ticket_api": {"helpdesk.intake.signatures", "helpdesk.outcomes"},
}
# requests and what it brings are a hundred; the form intake calls no helpdesk.
MOST_MODULES = 570
MOST_OF_FORM_INTAKE = 480
LOADED = """
import json, os, sys
__import__(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The functions and the layer, unzipped again as Lambda does it."""
    folder = tmp_path_factory.mktemp("built")
    build_functions(folder / "functions")
    build_layer(folder / "layer")
    for name in ("functions", "layer"):
        with zipfile.ZipFile(BytesIO(zipped(folder / name))) as archive:
            archive.extractall(folder / "unzipped" / name)
    return folder


@pytest.fixture(scope="module")
def loaded(built: Path) -> dict[str, set[str]]:
    """The modules that each handler has loaded when its init is over."""
    base = Path(sys.base_prefix) / "bin" / "python3.13"
    places = [built / "unzipped" / "functions", built / "unzipped" / "layer" / "python"]
    environment = ON_LAMBDA | {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "LAMBDA_TASK_ROOT": str(places[0]),
    }
    modules: dict[str, set[str]] = {}
    for handler in HANDLERS:
        done = subprocess.run(
            [base, "-S", "-c", LOADED, handler], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        modules[handler] = set(json.loads(done.stdout))
    return modules


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_loads_what_it_uses_and_not_what_the_others_do(
    handler: str, loaded: dict[str, set[str]]
) -> None:
    others = [{f"helpdesk.wiring.{other}"} | OWN.get(other, set()) for other in HANDLERS if other != handler]

    wrong = loaded[handler] & NEVER.union(NOT_LOADED.get(handler, set()), *others)
    assert sorted(wrong) == []
    assert loaded[handler] >= OWN.get(handler, set())
    assert len(loaded[handler]) <= (MOST_OF_FORM_INTAKE if handler == "form_intake" else MOST_MODULES)


def test_every_module_has_bytecode_that_stays_valid_in_a_zip(built: Path) -> None:
    modules = [path for path in (built / "unzipped").rglob("*.py") if path.stat().st_size]
    assert len(modules) > 300

    for module in modules:
        bytecode = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        assert bytecode.read_bytes()[4:8] == UNCHECKED, module


def test_the_layer_is_small(built: Path) -> None:
    whole, without_sdk = zipped(built / "layer"), zipped(built / "layer", SDK_IN_LAYER)

    assert len(without_sdk) <= 5 * MEGABYTE
    assert len(whole) <= 6.5 * MEGABYTE


def test_every_time_zone_is_there(built: Path) -> None:
    check = """
import zoneinfo
zoneinfo.reset_tzpath(())
print(len([zoneinfo.ZoneInfo(name) for name in zoneinfo.available_timezones()]))
"""
    environment = {"PYTHONPATH": str(built / "unzipped" / "layer" / "python")}
    base = Path(sys.base_prefix) / "bin" / "python3.13"
    done = subprocess.run(
        [base, "-S", "-c", check], env=environment, capture_output=True, text=True, check=True
    )

    assert int(done.stdout) > 500
