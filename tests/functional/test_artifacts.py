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
# requests and what it brings are a hundred; the form intake calls no helpdesk.
MOST_MODULES = 550
MOST_OF_FORM_INTAKE = 480
LOADED = """
import json, os, sys
__import__(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
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
    others = [OWN.get(other, set()) for other in HANDLERS if other != handler]

    wrong = loaded[handler] & NEVER.union(NOT_LOADED.get(handler, set()), *others)
    assert sorted(wrong) == []
    assert loaded[handler] >= OWN.get(handler, set())
    assert len(loaded[handler]) <= (MOST_OF_FORM_INTAKE if handler == "form_intake" else MOST_MODULES)


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
