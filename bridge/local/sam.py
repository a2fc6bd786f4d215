"""Builds and deploys template.yaml with the real SAM CLI, onto the emulator."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.local import emulator, processes
from bridge.local.state import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.local.processes import Group
    from bridge.local.state import StateFolder

STACK_NAME = "ticket-bridge"
ARTIFACTS_BUCKET = "bridge-artifacts"
LIMIT_SECONDS = 300.0
# The default of five seconds between two polls would be most of the deployment's time.
POLL_SECONDS = "0.2"
# samconfig.toml is written for AWS: this environment is not in it, so that nothing of it applies.
CONFIG_ENVIRONMENT = "bridge-local"


def start_build(state: StateFolder) -> Group:
    """Start `sam build`; returns at once. What is unchanged since the last build comes from its cache."""
    _silence_version_check(state)
    command = [
        *_sam("build"),
        *("--template-file", str(PROJECT / "template.yaml")),
        *("--build-dir", str(state.sam / "build")),
        *("--cached", "--cache-dir", str(state.sam / "cache")),
        "--parallel",
        *_parameters({}),
    ]
    return state.start("sam-build", command, env=_environment(state, {}), cwd=PROJECT)


def start_deploy(state: StateFolder, endpoint_url: str, parameters: Mapping[str, str]) -> Group:
    """Start `sam deploy` of what was built; returns at once."""
    command = [
        *_sam("deploy"),
        *("--template-file", str(state.sam / "build" / "template.yaml")),
        *("--stack-name", STACK_NAME),
        *("--region", emulator.REGION),
        *("--s3-bucket", ARTIFACTS_BUCKET),
        *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
        *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
        *_parameters(parameters),
    ]
    variables = {**emulator.client_environment(endpoint_url), "SAM_CLI_POLL_DELAY": POLL_SECONDS}
    return state.start("sam-deploy", command, env=_environment(state, variables), cwd=PROJECT)


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


def architecture() -> str:
    """This machine's architecture in Lambda's spelling, since functions run here without a container."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def _sam(command: str) -> list[str]:
    program = Path(sys.executable).parent / "sam"
    if not program.exists():
        raise BridgeError(f"The SAM CLI is missing: {program}. Set the project up again with: make setup")
    return [str(program), command, "--config-env", CONFIG_ENVIRONMENT]


def _parameters(parameters: Mapping[str, str]) -> list[str]:
    pairs = {"Architecture": architecture(), **parameters}
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in pairs.items())]


def _environment(state: StateFolder, variables: Mapping[str, str]) -> dict[str, str]:
    """The user's variables (package indexes and proxies are named there) without those of any AWS account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SAM_", "PYTHON")) and name != "VIRTUAL_ENV"
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {
        **kept,
        "PATH": path,
        "TMPDIR": str(state.scratch()),
        "ARCHITECTURE": architecture(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": emulator.REGION,
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(state.sam / "app"),
        **variables,
    }


def _silence_version_check(state: StateFolder) -> None:
    # Once a week SAM asks PyPI for its newest version, for up to five seconds where there is no network.
    app = state.sam / "app"
    app.mkdir(parents=True, exist_ok=True)
    (app / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
