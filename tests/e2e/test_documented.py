"""Commands of README and docs, really run on the stack."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.local.state import PROJECT
from tests.documented import commands
from tests.e2e.waiting import GENEROUS_S, until

if TYPE_CHECKING:
    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from tests.e2e.waiting import Outcomes

# Those that bring a stack up, deploy, try or learn one are what the other tests of this folder do, and
# test_folder.py makes folders; those of a form show one that is not there yet; tail and --follow have no
# end; edit opens an editor; a name means a stack in an account; one without its argument is only spoken of.
ELSEWHERE = re.compile(
    r"bridge (up|demo|map|init|deploy|smoke|learn|remove|tail|edit)\b"
    r"|--follow|--stack|bridge (send|trace|drop|forget)$"
)
# test_first_hour.py runs those of its page.
SHOWN = [
    command
    for command in commands("bridge")
    if command.page != "first-hour.md" and not ELSEWHERE.search(command.text)
]
RUN = list(dict.fromkeys(shlex.join(command.words) for command in SHOWN))
CURL = [command.text for command in commands("curl") if command.page == "README.md"]
# Findings and nothing to find are both what it is for.
STATUSES = {"doctor": {0, 1}, "audit": {0, 1}}


def _run(
    line: str, state: StateFolder, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BRIDGE_STATE_DIR": str(state.root), **(more or {})}
    return subprocess.run(
        ["bash", "-c", line],
        check=False,
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
    )


@pytest.fixture(scope="module")
def request_id(stack: Stack, aws: Clients, outcomes: Outcomes) -> str:
    """Of a request that has ended."""
    name = f"documented-{uuid.uuid4().hex[:8]}"
    body = f'{{"operation": "add", "request_id": "{name}", "ticket": {{"title": "documented"}}}}'
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=body)
    outcomes.next(request_id=name)
    return name


def test_there_is_something_to_run() -> None:
    assert len(RUN) > 8
    assert CURL


@pytest.mark.parametrize("line", RUN)
def test_a_documented_command_works(state: StateFolder, line: str, request_id: str) -> None:
    try:
        finished = _run(line.replace("REQUEST_ID", request_id), state)
    finally:
        if line == "bridge pause":
            _run("bridge resume", state)

    assert finished.returncode in STATUSES.get(line.split()[1], {0}), finished.stderr
    # A finding ends with 1 as a failure does.
    assert not re.search(r"^(Error|Traceback)\b", finished.stderr, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("line", CURL)
def test_the_readmes_call_makes_a_ticket(state: StateFolder, stack: Stack, line: str) -> None:
    direct = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    # Where it takes longer than the call waits, its answer says that it is under way.
    until(lambda: '"outcome": "succeeded"' in _run(f'eval "$(bridge env)"; {line}', state, direct).stdout)
