"""What is deployed, as it is built: its size, its bytecode, and what each handler loads."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import certifi
import pytest
import trustme

import certificates
from bridge.stacks.deployment import check_machines
from tests.bench.artifacts import ARCHITECTURE, FUNCTIONS, SDK_IN_LAYER, build_functions, build_layer, zipped
from tests.functional.scripted import Reply, scripted
from tests.unit.test_structure import ON_LAMBDA

HANDLERS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))

MEGABYTE = 1_000_000
# The flags of bytecode that is valid whatever the time of its source: PEP 552, hash-based and unchecked.
UNCHECKED = (1).to_bytes(4, "little")
# What no handler has a use for. Of Powertools, the resolver and the utilities are not even deployed.
NEVER = {"boto3", "s3transfer", "unittest", "charset_normalizer"}
# What one handler has to itself.
OWN = {
    "ticket_queue": {"helpdesk.work.batch", "helpdesk.work.service"},
    "ticket_api": {"helpdesk.http.api"},
    "form_intake": {"helpdesk.http.forms.submissions", "helpdesk.http.forms.form_file"},
    "callbacks": {"helpdesk.http.callbacks"},
    "resolve_doubts": {"helpdesk.work.doubts"},
    "watch": {"helpdesk.work.watch"},
    "daily_audit": {"helpdesk.work.daily_audit"},
}
HELPDESK = {
    "helpdesk.clients.transport",
    "helpdesk.clients.kapture.client",
    "helpdesk.work.helpdesks",
    "helpdesk.store.ledger",
    "helpdesk.store.gate",
}
# The public edge holds no more than it needs.
NOT_LOADED = {
    "form_intake": HELPDESK | {"requests", "helpdesk.runtime.topic"},
    "ticket_api": {"helpdesk.http.signatures", "helpdesk.runtime.topic"},
}


class Made(NamedTuple):
    """What the init of a handler loads and makes, and how many kB of bytecode it reads of what we deploy."""

    modules: int
    dataclasses: int
    named_tuples: int
    patterns: int
    kilobytes: int


# The most, with little to spare. A dataclass is half a millisecond of each start, a named tuple or a pattern
# a tenth to a fifth.
MOST = {
    "ticket_queue": Made(535, 58, 60, 160, 5000),
    "ticket_api": Made(535, 58, 60, 164, 5000),
    "form_intake": Made(460, 56, 50, 130, 4050),
    "callbacks": Made(540, 58, 66, 166, 5000),
    "resolve_doubts": Made(530, 58, 60, 160, 5000),
    "watch": Made(530, 58, 60, 160, 5000),
    "daily_audit": Made(530, 62, 60, 160, 5000),
}
LOADED = """
import collections, dataclasses, json, os, re, sys
made = dict.fromkeys(("dataclasses", "named_tuples", "patterns"), 0)

def counted(name, make):
    def counting(*arguments, **options):
        made[name] += 1
        return make(*arguments, **options)
    return counting

dataclasses._process_class = counted("dataclasses", dataclasses._process_class)
collections.namedtuple = counted("named_tuples", collections.namedtuple)
re._compiler.compile = counted("patterns", re._compiler.compile)
__import__(sys.argv[1])
modules = dict(sys.modules)
cached = [getattr(module, "__cached__", None) or "" for module in modules.values()]
size = sum(os.path.getsize(path) for path in cached if path.startswith(sys.argv[2]))
print(json.dumps([sorted(modules), made | {"modules": len(modules), "kilobytes": size // 1000}]))
"""
# Over TLS to a helpdesk and to AWS.
CALLS = """
import sys, time
from helpdesk.clients.transport import Transport
from helpdesk.runtime.aws import Clients

def ended(call):
    try:
        call()
    except Exception as error:
        return getattr(error, "code", type(error).__name__)
    return "answered"

helpdesk = Transport(sys.argv[1], connect_timeout_s=5, read_timeout_s=5, connections=1)
print(
    ended(lambda: helpdesk.send("GET", "/", b"", {}, time.monotonic() + 20)),
    ended(lambda: Clients(1).dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "x"}})),
)
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
def inits(built: Path) -> dict[str, tuple[set[str], Made]]:
    """By handler, the modules that its init has loaded, and what it has made."""
    base = Path(sys.base_prefix) / "bin" / "python3.13"
    places = [built / "unzipped" / "functions", built / "unzipped" / "layer" / "python"]
    environment = ON_LAMBDA | {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "LAMBDA_TASK_ROOT": str(places[0]),
    }
    inits = {}
    for handler in HANDLERS:
        command = [str(base), "-S", "-c", LOADED, handler, str(built / "unzipped")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        modules, made = json.loads(done.stdout)
        inits[handler] = (set(modules), Made(**made))
    return inits


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_loads_what_it_uses_and_not_what_the_others_do(
    handler: str, inits: dict[str, tuple[set[str], Made]]
) -> None:
    loaded, _ = inits[handler]
    others = [OWN.get(other, set()) for other in HANDLERS if other != handler]

    wrong = loaded & NEVER.union(NOT_LOADED.get(handler, set()), *others)
    assert sorted(wrong) == []
    assert loaded >= OWN.get(handler, set())


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_start_loads_and_makes_no_more_than_it_did(
    handler: str, inits: dict[str, tuple[set[str], Made]]
) -> None:
    _, made = inits[handler]

    more = {
        name: (count, most)
        for name, count, most in zip(Made._fields, made, MOST[handler], strict=True)
        if count > most
    }
    assert more == {}


def test_the_layers_libraries_are_for_the_machine_that_is_asked_for(built: Path, tmp_path: Path) -> None:
    other = "x86_64" if ARCHITECTURE == "arm64" else "arm64"
    layers = {ARCHITECTURE: built / "layer", other: build_layer(tmp_path / "layer", other)}

    for architecture, layer in layers.items():
        assert list(layer.rglob("*.so"))
        check_machines(layer, architecture)


def test_a_layer_for_a_machine_that_lambda_does_not_have_is_not_built(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        build_layer(tmp_path / "layer", "riscv64")

    assert "ARCHITECTURE is arm64 or x86_64, and not riscv64" in capfd.readouterr().err


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


def test_every_authority_is_there_and_no_other(built: Path) -> None:
    certifi_s = built / "unzipped" / "layer" / "python" / "certifi"
    files = [path.read_text() for path in (certifi_s / "hashed").iterdir()]
    bundle = Path(certifi.where()).read_text()
    listed = re.findall("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", bundle, re.DOTALL)

    assert sorted(map(ssl.PEM_cert_to_DER_cert, files)) == sorted(map(ssl.PEM_cert_to_DER_cert, listed))
    assert not (certifi_s / "cacert.pem").exists()


def test_clients_of_the_layer_trust_the_authorities_in_it_and_no_other(built: Path, tmp_path: Path) -> None:
    layer = built / "unzipped" / "layer" / "python"
    # The same package with one more authority, which shadows the layer's.
    shutil.copytree(layer / "certifi", tmp_path / "certifi")
    known = trustme.CA()
    known.cert_pem.write_to_path(str(tmp_path / "known.pem"))
    certificates.main(tmp_path / "known.pem", tmp_path / "certifi" / "hashed")

    def outcome_of(authority: trustme.CA) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with scripted(Reply(), Reply(body=b"{}"), tls=context) as server:
            environment = ON_LAMBDA | {
                "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, layer))),
                "AWS_ENDPOINT_URL": server.url,
            }
            base = Path(sys.base_prefix) / "bin" / "python3.13"
            return subprocess.check_output(
                [base, "-S", "-c", CALLS, server.url], env=environment, text=True
            ).strip()

    assert outcome_of(known) == "answered answered"
    assert outcome_of(trustme.CA()) == "tls_failure SSLError"


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
