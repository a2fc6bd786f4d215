"""The AWS emulator (MiniStack): its start on loopback, and clients that talk to it alone."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.session
import requests
from botocore.config import Config

from bridge.aws import AwsClients, refuse_web_pages
from bridge.calls import call
from bridge.errors import BridgeError
from bridge.local import processes
from bridge.local.state import EMULATOR

if TYPE_CHECKING:
    from bridge.local.processes import Group
    from bridge.local.state import StateFolder

REGION = "us-east-1"
READY_SECONDS = 60.0
PORT_ATTEMPTS = 3

# Nothing of the user's AWS set-up is read: neither files nor a profile named in the environment.
_NO_USER_SETTINGS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
# A proxy that the user's environment names must not see calls to loopback.
_CONFIG = Config(proxies={}, max_pool_connections=50, retries={"mode": "standard", "total_max_attempts": 3})
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def start_ready(state: StateFolder, *, enforce_iam: bool = False) -> str:
    """Start the emulator on a free port; returns its endpoint URL once it answers.

    With `enforce_iam` functions may do only what their roles allow, and services what queues let in.
    Raises BridgeError with the end of its log when it does not.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        port = _free_port()
        command = [sys.executable, "-m", "bridge.local.guarded_emulator"]
        env = {**_environment(state, port), "AUTH": str(enforce_iam).lower()}
        group = state.start(EMULATOR, command, env=env, cwd=state.root)
        endpoint_url = f"http://127.0.0.1:{port}"
        if _answers(group, f"{endpoint_url}/_ministack/ready"):
            return endpoint_url
        # Another program may have taken the port between our choice and the start.
        port_was_taken = "already in use" in state.end_of_log(EMULATOR)
        state.stop([group])
        if not port_was_taken or attempt == PORT_ATTEMPTS:
            break
    raise BridgeError(f"The emulator did not start. {state.end_of_log(EMULATOR)}")


class Clients(AwsClients):
    """AWS clients that talk to the emulator."""

    endpoint_url: str

    def __init__(self, endpoint_url: str) -> None:
        super().__init__(session(), endpoint_url)


def session() -> boto3.Session:
    """Makes clients that know nothing of the user's own AWS set-up."""
    bare = botocore.session.Session(session_vars=_NO_USER_SETTINGS)
    bare.set_default_client_config(_CONFIG)
    return refuse_web_pages(
        boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            botocore_session=bare,
        )
    )


def client_environment(endpoint_url: str) -> dict[str, str]:
    """The variables with which an AWS tool talks to the emulator."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def bare_environment(state: StateFolder) -> dict[str, str]:
    """What every program here needs, and nothing else of the user's variables."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    folder = str(state.temporary)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return {**kept, "PATH": path, "HOME": folder, "TMPDIR": folder}


def _environment(state: StateFolder, port: int) -> dict[str, str]:
    # Lambda workers inherit these, and a function must not see what the user has set.
    folder = state.temporary
    return {
        **bare_environment(state),
        **CREDENTIALS,
        "STATE_DIR": str(folder / "emulator"),
        "S3_DATA_DIR": str(folder / "s3"),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        # Also makes queue URLs hold this address and not the one that a caller used.
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        # With a Docker daemon in reach it would remove containers of other emulators.
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
    }


def _answers(group: Group, url: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and processes.exit_code(group) is None:
        processes.check_stop()
        try:
            call("GET", url, timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
