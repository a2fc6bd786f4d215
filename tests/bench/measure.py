"""Runs functions in processes of their own, against canned AWS and a simulated helpdesk, both over TLS."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from tests.bench.artifacts import LAYER, Artifact

HERE = Path(__file__).parent
BASE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3.13")
AWS_LATENCY_S = 0.005
# Lambda gives a whole processor for 1,769 MB, and a share of it for less.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
SHARE_OF_512_MB = 512 / 1769

type Batch = tuple[str, int]


@dataclass(frozen=True)
class Took:
    """Seconds of one batch, or of an init."""

    wall: float
    cpu: float

    @property
    def throttled(self) -> float:
        """The same on the processor share of 512 MB: work is stretched, waiting is not."""
        return self.cpu / SHARE_OF_512_MB + max(self.wall - self.cpu, 0.0)


@dataclass(frozen=True)
class Run:
    """What one process did."""

    init: Took
    batches: tuple[Took, ...]
    modules: int
    memory_mb: float
    log_lines: int


class Scene:
    """Where the functions run: certificates, canned AWS and a helpdesk whose latency can be set."""

    def __init__(self, folder: Path, authority: trustme.CA, aws_url: str, helpdesk_url: str) -> None:
        self._folder = folder
        self._authority = authority
        self._aws_url = aws_url
        self._helpdesk_url = helpdesk_url
        self.helpdesk: KaptureSimulator

    def trust(self, packages: Path) -> None:
        """Adds our own authority to the bundles and the folders of authorities in these packages."""
        own = self._folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(own))
        for bundle in packages.rglob("certifi/cacert.pem"):
            with bundle.open("ab") as file:
                file.write(b"\n" + own.read_bytes())
        for folder in packages.rglob("certifi/hashed"):
            subprocess.run(
                [sys.executable, str(LAYER / "certificates.py"), str(own), str(folder)], check=True
            )

    def set_latency(self, seconds: float) -> None:
        """How long the helpdesk takes for any call from now on."""
        self.helpdesk.reset()
        self.helpdesk.faults.add(FaultRule(operation="*", fault=Fault(delay_before_s=seconds)))

    def aws_calls(self) -> dict[str, int]:
        """The calls since the last look."""
        trusted = ssl.create_default_context(cadata=self._authority.cert_pem.bytes().decode())
        with urllib.request.urlopen(f"{self._aws_url}/_calls", context=trusted) as answer:
            calls: dict[str, int] = json.load(answer)
        return calls

    def run(
        self,
        artifact: Artifact,
        module: str,
        batches: Sequence[Batch] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Run:
        """Starts a worker, gives it the batches one after the other, and reads what they took."""
        order, result = self._folder / "order.json", self._folder / "result.json"
        order.write_text(json.dumps({"module": module, "batches": list(batches), "started_at": time.time()}))
        done = subprocess.run(
            [BASE_PYTHON, "-S", str(HERE / "worker.py"), str(order), str(result)],
            env=self._environment(artifact) | dict(variables or {}),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(
                f"{artifact.name}: {module} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        measured: dict[str, Any] = json.loads(result.read_text())
        return Run(
            Took(measured["init"]["wall"], measured["init"]["cpu"]),
            tuple(Took(batch["wall"], batch["cpu"]) for batch in measured["batches"]),
            measured["modules"],
            measured["memory_mb"],
            len(done.stdout.splitlines()),
        )

    def _environment(self, artifact: Artifact) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, artifact.path)),
            "LAMBDA_TASK_ROOT": str(artifact.path[0]),
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self._aws_url,
            "POWERTOOLS_SERVICE_NAME": "bench",
            "KAPTURE_URL": self._helpdesk_url,
            "KAPTURE_SECRET_ARN": "token",
            "KAPTURE_CALLBACK_SECRET_ARN": "callback",
            "REQUESTS_QUEUE_URL": f"{self._aws_url}/123456789012/requests",
            "DEAD_LETTER_QUEUE_URL": f"{self._aws_url}/123456789012/dead-letters",
            "OUTCOMES_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:outcomes",
            "LEDGER_TABLE": "ledger",
            "MARKER_KEY_SECRET_ARN": "marker-key",
            "FORM_SECRET_FOLDER": "bench/forms",
        }
        return environment | ({"PYTHONDONTWRITEBYTECODE": "1"} if artifact.compiles else {})


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """A scene that lasts as long as the block."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    pem = folder / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    helpdesk = KaptureSimulator(token="bench")
    aws = subprocess.Popen(
        [sys.executable, str(HERE / "canned_aws.py"), str(AWS_LATENCY_S), str(pem)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert aws.stdout
        port = int(aws.stdout.readline())
        with running(helpdesk.app(), ssl_context=context) as url:
            made = Scene(folder, authority, f"https://127.0.0.1:{port}", url)
            made.helpdesk = helpdesk
            yield made
    finally:
        aws.terminate()
        aws.wait()
