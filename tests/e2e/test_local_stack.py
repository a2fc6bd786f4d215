"""What `bridge up`, `bridge down` and `bridge demo` promise: real addresses, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
import requests

from bridge.local.helpdesks import HELPDESKS
from bridge.local.state import PROJECT, StateFolder
from bridge.sending import samples
from tests.e2e.waiting import GENEROUS_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack
    from tests.e2e.waiting import Outcomes

INTERRUPTED = 130

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StateFolder]:
    """A state folder of the test's own; whatever the test leaves running is stopped."""
    folder = StateFolder(tmp_path / "bridge")
    yield folder
    folder.stop_all()


def test_stack_file_holds_what_up_returned(state: StateFolder, stack: Stack) -> None:
    assert json.loads(state.stack_file.read_text()) == stack.as_json()
    assert state.stack_file.stat().st_mode & 0o077 == 0


def test_every_address_names_the_emulator_on_loopback(stack: Stack) -> None:
    urls = [stack.requests_queue_url, stack.dead_letter_queue_url, stack.outcomes_queue_url, stack.api_url]
    emulator = urllib.parse.urlsplit(stack.endpoint_url).netloc
    assert {urllib.parse.urlsplit(url).netloc for url in urls} == {emulator}
    assert emulator.startswith("127.0.0.1:")


def test_the_location_and_the_receipt_of_an_accepted_request_can_be_followed(stack: Stack) -> None:
    headers = {"x-api-key": stack.api_key, "Idempotency-Key": "to-be-followed"}
    body = {"ticket": {"title": "T"}}
    sent = requests.post(f"{stack.api_url}/tickets", headers=headers, json=body, timeout=120)
    for link in (sent.headers["Location"], sent.json()["receipt"]):
        read = requests.get(urllib.parse.urljoin(stack.api_url, link), headers=headers, timeout=120)
        # It may not have begun yet; then it is this API that says so.
        assert read.status_code == 200 or read.json()["code"] == "unknown_request"


@pytest.mark.parametrize("path", ["/callbacks/kapture", "/callbacks/kapture/guessed"])
def test_a_get_that_the_document_shows_is_not_refused_as_a_method_with_or_without_a_key(
    stack: Stack, path: str
) -> None:
    for headers in ({}, {"x-api-key": stack.api_key}):
        assert requests.get(stack.api_url + path, headers=headers, timeout=120).status_code == 401


def test_what_bridge_env_prints_names_the_region_to_every_sdk(state: StateFolder, stack: Stack) -> None:
    command = [sys.executable, "-m", "bridge.cli", "env", "--state-dir", str(state.stack_file.parent)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {f"export AWS_REGION={stack.region}", f"export AWS_DEFAULT_REGION={stack.region}"} <= {
        *printed.splitlines()
    }


def test_values_work_with_a_plain_boto3_client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    sqs = boto3.client("sqs")
    for url in (stack.requests_queue_url, stack.dead_letter_queue_url, stack.outcomes_queue_url):
        assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    assert boto3.client("sns").get_topic_attributes(TopicArn=stack.outcomes_topic_arn)["Attributes"]
    assert boto3.client("events").describe_event_bus(Name=stack.event_bus_name)["Arn"]
    assert boto3.client("dynamodb").describe_table(TableName=stack.ledger_table)["Table"]
    for helpdesk in HELPDESKS:
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=stack.secret_arns[helpdesk.name])
        assert secret["ARN"] == stack.secret_arns[helpdesk.name]
        assert json.loads(secret["SecretString"]) == helpdesk.credentials


def test_outcomes_queue_hears_the_topic_in_the_published_form(
    stack: Stack, aws: Clients, outcomes: Outcomes
) -> None:
    event = {"id": "heard-1", "type": "ticket.test", "data": {"request_id": "heard-1"}}
    aws.sns.publish(TopicArn=stack.outcomes_topic_arn, Message=json.dumps(event))

    assert outcomes.next(request_id="heard-1") == event


def test_api_wants_the_key_of_the_stack_file(stack: Stack) -> None:
    url = f"{stack.api_url}/tickets"
    refused = requests.post(url, json={}, headers=stack.api_headers, timeout=120)
    assert (refused.status_code, refused.json()["code"]) == (403, "api_key_refused")
    key = {**stack.api_headers, "x-api-key": stack.api_key}
    assert requests.post(url, json={}, headers=key, timeout=120).status_code == 422


@needs_proc
def test_nothing_listens_beyond_loopback(state: StateFolder, stack: Stack) -> None:
    listening = _listening_addresses(_processes_of(state))
    ports = {urllib.parse.urlsplit(url).port for url in _servers(stack)}
    assert listening == {("127.0.0.1", port) for port in ports}


def test_up_on_a_running_stack_deploys_onto_it(state: StateFolder, stack: Stack) -> None:
    before = state.groups()
    finished = _bridge("up", state)
    assert finished.returncode == 0, finished.stderr
    assert state.groups() == before
    assert state.read_stack() == stack


def test_down_stops_what_a_killed_emulator_has_left(own: StateFolder) -> None:
    started = _bridge("up", own)
    assert started.returncode == 0, started.stderr
    stack = own.read_stack()
    (emulator,) = (group for group in own.groups() if group.name == "ministack")
    os.kill(emulator.pid, signal.SIGKILL)

    assert _bridge("status", own).returncode == 1
    assert _bridge("down", own).returncode == 0
    _assert_nothing_left(own)
    for url in _servers(stack):
        assert not _accepts_connections(url)

    again = _bridge("down", own)
    assert (again.returncode, again.stdout) == (0, "Nothing was running.\n")


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("sam-build", signal.SIGINT),
        ("ministack", signal.SIGINT),
        ("sam-deploy", signal.SIGINT),
        # It is told in the same way, at whatever step.
        ("ministack", signal.SIGTERM),
    ],
)
def test_interrupted_up_leaves_nothing(own: StateFolder, step: str, number: signal.Signals) -> None:
    with _starting("up", own) as command:
        _await(lambda: own.running(step) is not None, command)
        command.send_signal(number)
        assert command.wait(GENEROUS_S) == INTERRUPTED
    _assert_nothing_left(own)


def test_interrupted_demo_leaves_nothing(own: StateFolder) -> None:
    demo_state = StateFolder(own.root / "demo")
    with _starting("demo", own) as command:
        _await(demo_state.stack_file.exists, command)
        command.send_signal(signal.SIGINT)
        # An impatient second one does not cut the clean-up short.
        time.sleep(0.05)
        command.send_signal(signal.SIGINT)
        assert command.wait(GENEROUS_S) == INTERRUPTED
    _assert_nothing_left(demo_state)


def test_down_after_a_killed_up_leaves_nothing(own: StateFolder) -> None:
    with _starting("up", own) as command:
        _await(lambda: own.running("sam-deploy") is not None, command)
        command.kill()
    assert own.running("ministack")
    assert _bridge("down", own).returncode == 0
    _assert_nothing_left(own)


def test_down_leaves_a_program_alone_that_got_a_recorded_pid(own: StateFolder) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        own.root.mkdir()
        recorded = [{"name": "ministack", "pid": stranger.pid, "started": "some-boot/12345"}]
        (own.root / "processes.json").write_text(json.dumps(recorded))
        finished = _bridge("down", own)
        assert (finished.returncode, finished.stdout) == (0, "Nothing was running.\n")
        assert stranger.poll() is None
        stranger.kill()


def test_failed_build_shows_its_log_and_leaves_nothing(own: StateFolder, tmp_path: Path) -> None:
    sam = tmp_path / "make"
    sam.write_text("#!/bin/sh\necho the layer cannot be made >&2\nexit 3\n")
    sam.chmod(0o755)
    # SAM calls make for the layer; the project's own programs come before this one on PATH.
    finished = _bridge("up", own, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert finished.returncode == 1
    assert "the layer cannot be made" in finished.stderr
    assert str(own.log("sam-build")) in finished.stderr
    assert "Traceback" not in finished.stderr
    _assert_nothing_left(own)


def test_demo_under_the_roles_of_the_template_is_as_expected_and_plain_text(own: StateFolder) -> None:
    finished = _bridge("demo --enforce-iam", own)
    assert finished.returncode == 0, finished.stderr
    assert "\x1b" not in finished.stdout
    for sample in samples.read_all(PROJECT / "events", PROJECT / "examples" / "samples"):
        (row,) = (line for line in finished.stdout.splitlines() if sample.name in line.split())
        assert " ok " in row
    _assert_nothing_left(StateFolder(own.root / "demo"))


def _servers(stack: Stack) -> list[str]:
    return [stack.endpoint_url, stack.console_url, *(stack.urls[helpdesk.name] for helpdesk in HELPDESKS)]


def _environment(own: StateFolder, changes: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "BRIDGE_STATE_DIR": str(own.root), "PYTHONUNBUFFERED": "1", **changes}


def _bridge(command: str, own: StateFolder, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", *command.split()],
        check=False,
        cwd=PROJECT,
        env=_environment(own, changes),
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
    )


@contextmanager
def _starting(command: str, own: StateFolder) -> Iterator[subprocess.Popen[bytes]]:
    """The command, running, its output on that of the test; killed at the end if it still runs then."""
    started = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", command], cwd=PROJECT, env=_environment(own, {})
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def _await(condition: Callable[[], bool], command: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + GENEROUS_S
    while not condition():
        assert command.poll() is None, "the command is over"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _assert_nothing_left(own: StateFolder) -> None:
    assert own.groups() == []
    assert not own.stack_file.exists()
    assert not own.temporary.exists()
    if Path("/proc/self/environ").exists():
        assert _processes_of(own) == []


def _processes_of(own: StateFolder) -> list[int]:
    """Every process whose environment names a place in the state folder."""
    pids = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{own.root}/".encode() in environment:
            pids.append(int(folder.name))
    return pids


def _listening_addresses(pids: list[int]) -> set[tuple[str, int]]:
    sockets = {socket for pid in pids for socket in _open_files(pid)}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            is_listening = fields[3] == "0A"
            if is_listening and f"socket:[{fields[9]}]" in sockets:
                readable = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address
                addresses.add((readable, int(port, 16)))
    return addresses


def _open_files(pid: int) -> Iterator[str]:
    """What the process has open. A file may be closed, and the process of a function end, at any moment."""
    with suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                yield str(file.readlink())


def _accepts_connections(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0
