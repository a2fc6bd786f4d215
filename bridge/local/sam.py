"""Builds and deploys with the real SAM CLI: onto the emulator, or into an AWS account."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.local import emulator, processes
from bridge.local.state import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.local.processes import Group
    from bridge.local.state import StateFolder

STACK_NAME = "ticket-bridge"
ARTIFACTS_BUCKET = "bridge-artifacts"
LIMIT_SECONDS = 300.0
# The default of five seconds between two polls would be most of the deployment's time.
POLL_SECONDS = "0.2"
# Of a samconfig.toml that lies around nothing applies: this environment is not in it.
CONFIG_ENVIRONMENT = "bridge"
_CHANGE_SET = re.compile(r"arn:[\w-]+:cloudformation:\S+:changeSet/\S+")


@dataclass(frozen=True)
class Site:
    """Where a stack is deployed, and what the SAM CLI needs to reach it."""

    stack: str
    region: str
    architecture: str
    profile: str | None = None
    # None for an AWS account, and empty for an emulator that is not up yet, which is enough to build.
    endpoint_url: str | None = None

    @property
    def place(self) -> list[str]:
        """Options by which the AWS CLI and the SAM CLI find the account and the region."""
        return ["--region", self.region, *(["--profile", self.profile] if self.profile else [])]

    @property
    def arguments(self) -> list[str]:
        """Options of `sam deploy`."""
        arguments = ["--stack-name", self.stack, *self.place]
        if self.endpoint_url is not None:
            return [
                *arguments,
                *("--s3-bucket", ARTIFACTS_BUCKET),
                *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
            ]
        return [*arguments, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the SAM CLI. The emulator's has none of any AWS account."""
        if self.endpoint_url is None:
            return {name: value for name, value in os.environ.items() if not name.startswith("SAM_")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_"))}
        return {
            **kept,
            **emulator.client_environment(self.endpoint_url),
            "SAM_CLI_POLL_DELAY": POLL_SECONDS,
        }


def architecture() -> str:
    """This machine's architecture in Lambda's spelling, since functions run here without a container."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def built(state: StateFolder, site: Site) -> Path:
    """The folder into which is built. SAM's cache knows no architecture, so each has a folder."""
    return state.sam / site.architecture / "build"


def start_build(state: StateFolder, site: Site, template: Path) -> Group:
    """Start `sam build`; returns at once. What is unchanged since the last build comes from its cache.

    Raises BridgeError where what it needs is missing.
    """
    environment = _environment(state, site)
    if shutil.which("make", path=environment["PATH"]) is None:
        raise BridgeError(
            "make is missing: the SAM CLI builds functions and layer with it. Install it, for example with"
            " apt install make, or xcode-select --install"
        )
    _silence_version_check(state)
    command = [
        *_sam("build"),
        *("--template-file", str(template)),
        *("--build-dir", str(built(state, site))),
        *("--cached", "--cache-dir", str(state.sam / site.architecture / "cache")),
        "--parallel",
        *_overrides(state, {"Architecture": site.architecture}),
    ]
    return state.start("sam-build", command, env=environment, cwd=template.parent)


def start_change_set(state: StateFolder, site: Site, parameters: Mapping[str, str]) -> Group:
    """Start `sam deploy` of what was built, as far as its change set; returns at once.

    A running stack's other parameters keep their values.
    """
    command = [
        *_sam("deploy"),
        *("--template-file", str(built(state, site) / "template.yaml")),
        *site.arguments,
        *("--no-execute-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
        *_overrides(state, {"Architecture": site.architecture, **parameters}),
    ]
    return state.start("sam-deploy", command, env=_environment(state, site), cwd=state.root)


def change_set(state: StateFolder, group: Group) -> str | None:
    """The ARN of the change set; None where nothing would change. Raises BridgeError as `finish`."""
    finish(state, group)
    found = _CHANGE_SET.search(state.log(group.name).read_text())
    return found[0] if found else None


def finish(state: StateFolder, group: Group) -> None:
    """Wait for a build or a deployment. Raises BridgeError with the end of its log when it fails."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (status := processes.exit_code(group)) is None and time.monotonic() < deadline:
        processes.check_stop()
        time.sleep(0.05)
    state.stop([group])
    if status != 0:
        title = group.name.replace("-", " ")
        how = f"did not end in {LIMIT_SECONDS:.0f} s" if status is None else f"failed with status {status}"
        raise BridgeError(f"{title} {how}. {state.end_of_log(group.name)}")


def _sam(command: str) -> list[str]:
    program = Path(sys.executable).parent / "sam"
    if not program.exists():
        raise BridgeError(f"The SAM CLI is missing: {program}. Install ticket-bridge again")
    return [str(program), command, "--config-env", CONFIG_ENVIRONMENT]


def _overrides(state: StateFolder, parameters: Mapping[str, str]) -> list[str]:
    # In a file any value is kept as it is; on a command line SAM takes quotes and blanks for its own.
    # JSON is YAML as well, and SAM reads no file that is called JSON.
    file = state.temporary / "parameters.yaml"
    write_json(file, dict(parameters))
    return ["--parameter-overrides", f"file://{file}"]


def _environment(state: StateFolder, site: Site) -> dict[str, str]:
    """The user's variables too: package indexes and proxies are named there."""
    kept = {
        name: value
        for name, value in site.environment.items()
        if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {
        **kept,
        "PATH": path,
        "TMPDIR": str(state.scratch()),
        "ARCHITECTURE": site.architecture,
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(state.sam / "app"),
    }


def _silence_version_check(state: StateFolder) -> None:
    # Once a week SAM asks PyPI for its newest version, for up to five seconds where there is no network.
    app = state.sam / "app"
    app.mkdir(parents=True, exist_ok=True)
    (app / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
