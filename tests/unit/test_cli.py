"""The command line: help for everything, statuses that differ, mistakes reported without a stack trace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import URLLib3Session
from click.testing import CliRunner

from bridge import cli, progress
from bridge.local.state import EMULATOR, PROJECT, Stack, StateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMANDS = sorted(cli.bridge.commands.items())
# What needs a stack and nothing else.
ON_A_STACK = [
    ["status"],
    ["env"],
    ["send", str(PROJECT / "events" / "queue_add.json")],
    ["outcomes"],
    ["parked"],
    ["redrive", "--all"],
    ["pause"],
    ["resume"],
    ["trace", "request-1"],
    ["console"],
]


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


type Run = Callable[..., Finished]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as its program does, in this process."""

    def running(*arguments: str, state: Path | None = None) -> Finished:
        monkeypatch.setattr(sys, "argv", ["bridge", *arguments])
        monkeypatch.setenv("BRIDGE_STATE_DIR", str(state or "/nowhere"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, *capsys.readouterr())

    return running


def _started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    environment = {**os.environ, **options.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", *arguments],
        env=environment,
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def seeming(tmp_path: Path) -> Iterator[StateFolder]:
    """A state folder in which something runs that could be a stack."""
    state = StateFolder(tmp_path / "state")
    state.start(EMULATOR, ["sleep", "60"], env={}, cwd=None)
    yield state
    state.stop_all()


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_says_what_it_does_and_shows_an_example(name: str, command: click.Command) -> None:
    result = CliRunner().invoke(cli.bridge, [name, "--help"])

    assert result.exit_code == 0
    assert f"bridge {name}" in result.output.partition("Example:")[2]
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), parameter.name


def test_the_list_of_commands_cuts_no_sentence_in_a_narrow_terminal() -> None:
    output = CliRunner().invoke(cli.bridge, ["--help"], terminal_width=80).output

    assert "..." not in output.partition("Commands:")[2]


def test_the_statuses_are_told_by_the_help() -> None:
    output = CliRunner().invoke(cli.bridge, ["--help"]).output

    for status in (0, 1, 2, cli.INTERRUPTED):
        assert re.search(rf"^ +{status} +\w", output, re.MULTILINE)


@pytest.mark.parametrize("arguments", ON_A_STACK, ids=lambda arguments: arguments[0])
def test_without_a_stack_a_command_says_how_to_start_one(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    finished = run(*arguments, state=tmp_path / "none")

    assert (finished.returncode, finished.stdout) == (1, "")
    words = f"Error: No stack is running from {tmp_path}/none. Start one with: bridge up"
    assert finished.stderr.strip() in (words, f"{words}; for a deployed one: --stack NAME, or BRIDGE_STACK")


def test_the_command_line_goes_before_the_variable_that_names_the_stack(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_STACK", "production")
    monkeypatch.setenv("AWS_PROFILE", "gone")

    finished = run("parked")
    assert "The stack production cannot be read" in finished.stderr
    assert "Check AWS_PROFILE" in finished.stderr

    finished = run("parked", "--state-dir", str(tmp_path / "none"))
    assert "No stack is running from" in finished.stderr


def test_stopping_nothing_is_told_to_programs_as_well(run: Run, tmp_path: Path) -> None:
    finished = run("down", "--json", state=tmp_path / "none")

    assert (finished.returncode, finished.stdout) == (0, '{"stopped": []}\n')


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"endpoint_url": "http://127.0.0.1:1"}', '{"more": 1}', "\xff"]
)
def test_a_broken_stack_file_is_told(run: Run, seeming: StateFolder, content: str) -> None:
    seeming.stack_file.write_bytes(content.encode("latin-1"))

    finished = run("status", state=seeming.root)

    assert finished.returncode == 1
    assert finished.stderr.startswith(f"Error: {seeming.stack_file} is broken, or another version")
    assert "Traceback" not in finished.stderr


def test_a_broken_list_of_processes_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text('[{"name": "ministack"}]')

    finished = run("down", state=tmp_path)

    assert finished.returncode == 1
    assert finished.stderr == (
        f"Error: {tmp_path}/processes.json is broken: remove it, and end by hand what still runs\n"
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "There are no AWS credentials. Check AWS_PROFILE, or log in."),
        ({"AWS_PROFILE": "gone"}, "The config profile (gone) could not be found. Check AWS_PROFILE."),
        ({"AWS_DEFAULT_REGION": None}, "No AWS region is known. Set AWS_REGION."),
        ({"AWS_DEFAULT_REGION": ""}, "Invalid endpoint: https://cloudformation..amazonaws.com"),
    ],
    ids=["credentials", "profile", "region", "empty region"],
)
@pytest.mark.parametrize("command", ["parked", "console"])
def test_what_is_missing_to_reach_a_deployed_stack_is_told(
    run: Run, command: str, environment: dict[str, str | None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a busy machine would say meanwhile that it is at work.
    monkeypatch.setattr(progress, "PATIENCE_S", threading.TIMEOUT_MAX)
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)

    finished = run(command, "--stack", "production")

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == f"Error: The stack production cannot be read. {words}\n"


NOT_AWS = "What answered is not AWS: a proxy perhaps. Check HTTPS_PROXY, AWS_ENDPOINT_URL and the network."


@pytest.fixture
def web_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str, str], None]:
    """Has a web page answer every call to AWS, with a status, a content type and a text."""

    def answers(status: int, content_type: str, text: str) -> None:
        page: Any = SimpleNamespace(stream=lambda: [text.encode()])
        headers = HTTPHeaders()
        headers["content-type"] = content_type
        monkeypatch.setattr(URLLib3Session, "send", lambda *_: AWSResponse("", status, headers, page))
        monkeypatch.setattr(progress, "PATIENCE_S", threading.TIMEOUT_MAX)

    return answers


def test_a_page_that_cannot_be_parsed_is_told_in_a_line(
    run: Run, web_page: Callable[[int, str, str], None]
) -> None:
    web_page(403, "", "<html><br>Blocked")

    finished = run("parked", "--stack", "production")

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == f"Error: {NOT_AWS}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["parked", "--stack", "production"],
        ["parked"],
        ["redrive", "--all"],
        ["pause"],
        ["trace", "request-1"],
        ["requests", "--state", "waiting"],
        ["audit"],
        ["logs", "ticket-queue"],
        ["status"],
    ],
    ids=" ".join,
)
def test_the_login_page_of_a_proxy_is_told_in_a_line_and_believed_nowhere(
    run: Run,
    seeming: StateFolder,
    web_page: Callable[[int, str, str], None],
    arguments: list[str],
) -> None:
    names = dict.fromkeys(("kapture", "socialboards"), "name")
    values: list[Any] = ["http://127.0.0.1:1", "us-east-1", *["name"] * 8, "kapture", names, names]
    seeming.stack_file.write_text(json.dumps(Stack(*values).as_json()))
    web_page(200, "text/html; charset=utf-8", "<html><body><form>Log in</form></body></html>")

    finished = run(*arguments, state=seeming.root)

    assert finished.returncode == 1
    assert re.search(rf"^Error: .*{re.escape(NOT_AWS)}\n$", finished.stderr, re.MULTILINE)
    assert "Traceback" not in finished.stderr
    assert "paused" not in finished.stdout


def test_a_wrong_command_line_has_a_status_of_its_own(run: Run) -> None:
    sample = str(PROJECT / "events" / "queue_add.json")
    for arguments in (
        ["nonsense"],
        ["redrive"],
        ["trace"],
        ["up", "--state-dir", "/etc/hosts"],
        # Files would go to the local stack, and a stage is another way to name a stack.
        ["send", sample, "--stack", "production"],
        ["learn", "test", "--stack", "production"],
        ["tail", "--helpdesk", "kaptur"],
        # A file that is not there, wherever it is said.
        ["send", "nowhere.json"],
        ["send", "--csv", "nowhere.csv", "--map", sample],
        ["map", "contact", "nowhere.json"],
        ["edit", "order-1", "--file", "nowhere.json"],
        # Files are sent at once.
        ["send", sample, "--dry-run"],
        ["drop", "--all", "--yes"],
    ):
        finished = run(*arguments)

        assert finished.returncode == 2
        assert "Usage:" in finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_folder_that_cannot_be_made_is_told(run: Run) -> None:
    finished = run("up", state=Path("/dev/null/state"))

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == "Error: cannot make the state folder /dev/null/state: Not a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full, _started("--help", stdout=full) as command:
        _, errors = command.communicate(timeout=60)

    assert (command.returncode, errors) == (1, "Error: [Errno 28] No space left on device\n")


def test_a_reader_that_goes_away_is_no_error_to_tell() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with _started("--help", stdout=writing) as command:
        _, errors = command.communicate(timeout=60)
    os.close(writing)

    assert (command.returncode, errors) == (1, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_says_so_and_has_a_status_of_its_own(
    tmp_path: Path, number: signal.Signals
) -> None:
    with (
        # The command waits for its turn.
        StateFolder(tmp_path).locked(),
        _started("down", environment={"BRIDGE_STATE_DIR": str(tmp_path)}) as command,
    ):
        assert command.stderr is not None
        assert command.stderr.readline() == "Stopping …\n"
        command.send_signal(number)
        _, errors = command.communicate(timeout=60)

    assert (command.returncode, errors.strip()) == (cli.INTERRUPTED, "Interrupted.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("bridge red", ["redrive"]), ("bridge redrive --dr", ["--dry-run"]), ("bridge map ty", ["typeform"])],
)
def test_the_shell_completes_commands_options_and_forms(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_BRIDGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))

    assert [line.partition(",")[2] for line in run().stdout.splitlines()] == expected


def test_the_script_for_the_shell_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for shell in ("zsh", "fish"):
        monkeypatch.setenv("_BRIDGE_COMPLETE", f"{shell}_source")

        assert "_BRIDGE_COMPLETE" in run().stdout


def test_only_what_takes_long_says_that_it_is_at_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.at_work("Quick"):
        pass
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    with progress.at_work("Long"):
        output = ""
        while not output:
            output = capsys.readouterr().err

    assert output == "Long …\n"
