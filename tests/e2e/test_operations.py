"""The operator's commands, on the deployed stack."""

from __future__ import annotations

import http.server
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from bridge import cli
from bridge.local.sam import STACK_NAME
from bridge.local.state import PROJECT
from bridge.operating.log_lines import read_events
from bridge.operating.operations import Operations
from bridge.stacks.target import FUNCTIONS, local
from tests.e2e.waiting import GENEROUS_S, until
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder
    from tests.e2e.waiting import Outcomes


@pytest.fixture
def bridge(state: StateFolder, stack: Stack) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        result = CliRunner(mix_stderr=False).invoke(cli.bridge, [*arguments, "--state-dir", str(state.root)])
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith(f"Local stack ticket-bridge in {stack.region} ({state.root}):\n")
        return result.stdout

    return run


@pytest.fixture
def run(state: StateFolder, stack: Stack) -> Callable[..., Result]:
    """The same however it ends; `answers` are typed at a terminal."""

    def run(*arguments: str, answers: str | None = None, **environment: str) -> Result:
        return CliRunner(mix_stderr=False).invoke(
            cli.bridge,
            [*arguments, "--state-dir", str(state.root)],
            input=None if answers is None else Terminal(answers),
            env=environment,
        )

    return run


def _ask(stack: Stack, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
    headers = {"x-api-key": stack.api_key, **stack.api_headers}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, stack.api_url + path, json=body, headers=headers, timeout=120)


def test_a_rejected_request_is_listed_redriven_and_traced(
    stack: Stack, aws: Clients, outcomes: Outcomes, bridge: Callable[..., str]
) -> None:
    # Kapture wants a sub-status, which only its own check knows.
    body = '{"operation": "update", "request_id": "ops-1", "ticket_id": "1", "changes": {"comment": "c"}}'
    aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=body)
    assert outcomes.next(request_id="ops-1")["type"] == "ticket.rejected"

    # It is parked a little after its outcome is published.
    until(lambda: "ops-1" in bridge("parked"))
    assert "1 request would be sent again" in bridge("redrive", "--request-id", "ops-1", "--dry-run")
    assert "ops-1" in bridge("parked"), "a dry run takes nothing away"
    assert "1 request sent again" in bridge("redrive", "--request-id", "ops-1", "--yes")
    assert outcomes.next(request_id="ops-1")["data"]["code"] == "invalid_request"
    assert "rejected" in bridge("trace", "ops-1")
    until(lambda: "ops-1" in bridge("parked"))


def test_what_somebody_else_looks_at_is_told_and_not_forgotten(
    stack: Stack, aws: Clients, state: StateFolder, nothing_parked: None
) -> None:
    queue = stack.dead_letter_queue_url
    for name in ("seen", "hidden"):
        aws.sqs.send_message(QueueUrl=queue, MessageBody=name)
    (hidden,) = aws.sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)["Messages"]

    for command in (["parked"], ["parked", "--json"], ["redrive", "--all", "--dry-run"]):
        result = CliRunner(mix_stderr=False).invoke(cli.bridge, [*command, "--state-dir", str(state.root)])
        assert "1 of about 2 could be seen" in result.stderr
        assert result.stdout

    aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=hidden["ReceiptHandle"])
    result = CliRunner(mix_stderr=False).invoke(cli.bridge, ["parked", "--state-dir", str(state.root)])
    assert "     1  undelivered" in result.stdout
    assert "of about" not in result.stderr


def test_a_person_is_forgotten_in_a_stack_that_is_named(
    stack: Stack,
    aws: Clients,
    outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if it were in an AWS account: queues, ledger and logs hold nothing of her afterwards."""
    word = f"canary{uuid.uuid4().hex[:8]}"
    email = f"{word}@example.com"
    ticket = {"title": f"Parcel of {word}", "requester": {"email": email, "name": word}}
    added: dict[str, Any] = {
        "operation": "add",
        "request_id": f"of-{uuid.uuid4()}",
        "reference": email,
        "ticket": ticket,
    }
    wrong = {**added, "request_id": f"of-{uuid.uuid4()}", "ticket": {**ticket, "titel": word}}
    for body, outcome in ((added, "succeeded"), (wrong, "rejected")):
        aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
        assert outcomes.next(request_id=body["request_id"])["data"]["outcome"] == outcome
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", stack.region)
    arguments = ["forget", "--email", email.upper(), "--stack", STACK_NAME, "--yes", "--json"]
    until(lambda: _places_that_hold(word, stack, aws) == {"dead-letter queue", "ledger"})

    result = CliRunner(mix_stderr=False).invoke(cli.bridge, arguments, catch_exceptions=False)

    report = json.loads(result.stdout)
    assert _places_that_hold(word, stack, aws) == set()
    assert [line for line in report["removed"] if line.startswith("dead-letter queue: ")] == [
        f"dead-letter queue: add {wrong['request_id']} from unknown, invalid_request"
    ]
    assert any(line.startswith("Kapture: ticket ") for line in report["elsewhere"])


def _places_that_hold(word: str, stack: Stack, aws: Clients) -> set[str]:
    target = local(stack)
    messages = Operations(target).parked().copies
    items = aws.dynamodb.scan(TableName=stack.ledger_table)["Items"]
    lines = [event for function in FUNCTIONS for event in read_events(target, function)]
    held = {"dead-letter queue": messages, "ledger": items, "logs": lines}
    return {place for place, texts in held.items() if word in str(texts).lower()}


def test_the_story_of_an_ordinary_and_of_a_doubled_request(
    stack: Stack, outcomes: Outcomes, bridge: Callable[..., str]
) -> None:
    for _ in range(2):
        answer = _ask(stack, "POST", "/tickets", {"request_id": "ops-2", "ticket": {"title": "told twice"}})
        assert answer.status_code == 202
        outcomes.next(request_id="ops-2")

    story = until(lambda: _story_with(2, "Accepted by the API", bridge("trace", "ops-2")))

    assert story.startswith("ops-2 at kapture: succeeded, ticket ")
    assert story.count("The call to Kapture began") == 1


def _story_with(times: int, words: str, story: str) -> str:
    """The story once it says so as often: logs come late."""
    return story if story.count(words) == times else ""


def test_a_request_is_found_at_whichever_helpdesk_it_went_to(
    stack: Stack, outcomes: Outcomes, bridge: Callable[..., str]
) -> None:
    body = {"request_id": "ops-3", "ticket": {"title": "told by one"}}
    assert _ask(stack, "POST", "/tickets", {**body, "helpdesk": "socialboards"}).status_code == 202
    outcomes.next(request_id="ops-3")

    assert bridge("trace", "ops-3").startswith("ops-3 at socialboards: succeeded, ticket ")


@pytest.mark.parametrize(("paused", "other"), [("kapture", "socialboards"), ("socialboards", "kapture")])
def test_a_pause_holds_calls_of_one_helpdesk_and_leaves_the_intake_open(
    stack: Stack, bridge: Callable[..., str], paused: str, other: str
) -> None:
    # The first that the stack serves needs no name.
    named = () if paused == "kapture" else ("--helpdesk", paused)
    output = bridge("pause", *named)
    try:
        refused = _ask(stack, "GET", f"/tickets/1?helpdesk={paused}")
        beside = _ask(stack, "GET", f"/tickets/1?helpdesk={other}")
        accepted = _ask(stack, "POST", "/tickets", {"helpdesk": paused, "ticket": {"title": "waits"}})
    finally:
        resumed = bridge("resume", *named)

    assert output.startswith(f"{paused} is paused")
    assert resumed.startswith(f"{paused} is called again")
    assert (refused.status_code, refused.json()["code"]) == (503, "paused")
    assert beside.status_code == 404
    assert accepted.status_code == 202
    assert _ask(stack, "GET", f"/tickets/1?helpdesk={paused}").status_code == 404


def test_a_helpdesk_that_nobody_knows_cannot_be_paused(state: StateFolder, stack: Stack) -> None:
    arguments = ["pause", "--helpdesk", "nobody", "--state-dir", str(state.root)]

    result = CliRunner().invoke(cli.bridge, arguments)

    assert result.exit_code == 2
    assert "'nobody' is not one of 'kapture', 'socialboards'" in result.output


@pytest.fixture
def park(stack: Stack, aws: Clients, outcomes: Outcomes, bridge: Callable[..., str]) -> Callable[[str], None]:
    """Parks a request: an add without a title."""

    def park(request_id: str) -> None:
        body = {"operation": "add", "request_id": request_id, "source": "ops", "ticket": {}}
        aws.sqs.send_message(QueueUrl=stack.requests_queue_url, MessageBody=json.dumps(body))
        assert outcomes.next(request_id=request_id)["type"] == "ticket.rejected"
        until(lambda: request_id in bridge("parked"))

    return park


def test_what_changes_much_is_shown_and_done_only_where_that_is_agreed(
    outcomes: Outcomes, run: Callable[..., Result], park: Callable[[str], None]
) -> None:
    park("ops-agreed")
    for command, verb in (
        (["redrive", "--request-id", "ops-agreed"], "sent again"),
        (["drop", "--request-id", "ops-agreed", "--why", "a test"], "dropped"),
    ):
        unasked, refused = run(*command), run(*command, answers="n\n")
        shown = run(*command, "--dry-run", "--yes")

        for result, status in ((unasked, 2), (refused, 1), (shown, 0)):
            assert (result.exit_code, "add ops-agreed" in result.stdout) == (status, True)
            assert f"1 request would be {verb}.\n" in result.stdout
        assert "add --yes" in unasked.stderr
        assert f"Nothing is {verb}." in refused.stderr
        assert "ops-agreed" in run("parked").stdout

    assert run("redrive", "--request-id", "ops-agreed", answers="y\n").stdout.endswith(
        "1 request sent again.\n"
    )
    assert outcomes.next(request_id="ops-agreed")["type"] == "ticket.rejected"
    until(lambda: "ops-agreed" in run("parked").stdout)
    dropped = run("drop", "--request-id", "ops-agreed", "--why", "a test", "--yes")
    assert (dropped.exit_code, dropped.stdout.splitlines()[-1]) == (0, "1 request dropped.")
    assert "ops-agreed" not in run("parked").stdout
    assert "dropped its parked copy: a test" in run("trace", "ops-agreed").stdout


def test_a_parked_request_is_corrected_in_the_editor_and_becomes_its_ticket(
    outcomes: Outcomes, run: Callable[..., Result], park: Callable[[str], None], tmp_path: Path
) -> None:
    park("ops-edited")
    editor = tmp_path / "editor.py"
    # What people do at the first try, and at the second.
    editor.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "text = file.read_text()\n"
        """wrong, right = '{"titel": "corrected"}', '{"title": "corrected"}'\n"""
        "file.write_text(text.replace(wrong, right) if wrong in text else text.replace('{}', wrong))"
    )
    with_editor = {"EDITOR": f"{sys.executable} {editor}"}

    unchanged = run("edit", "ops-edited", EDITOR="true")
    assert (unchanged.exit_code, str(unchanged.exception)) == (
        1,
        "Nothing was changed, so nothing is sent.",
    )
    edited = run("edit", "ops-edited", answers="y\n", **with_editor)

    assert edited.exit_code == 0, edited.output
    assert "ticket.titel" in edited.stderr
    assert "ops-edited is sent again. See: bridge trace ops-edited" in edited.stdout
    assert outcomes.next(request_id="ops-edited")["type"] == "ticket.added"
    assert "corrected it and sent it again" in run("trace", "ops-edited").stdout
    assert "ops-edited" not in run("parked").stdout


@pytest.fixture
def posted() -> Iterator[tuple[str, queue.Queue[bytes]]]:
    """The address of a program under development, and what is posted to it."""
    bodies: queue.Queue[bytes] = queue.Queue()

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Taking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tickets", bodies
        server.shutdown()


def test_outcomes_of_a_source_are_followed_and_forwarded_until_ctrl_c(
    stack: Stack, aws: Clients, state: StateFolder, posted: tuple[str, queue.Queue[bytes]]
) -> None:
    address, bodies = posted
    command = [sys.executable, "-m", "bridge.cli", "tail", "--json", "--state-dir", str(state.root)]
    command += ["--source", "ops-tail", "--outcome", "succeeded", "--forward", address]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, "HTTP_PROXY": "http://127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout
        assert tail.stderr
        while "Following ticket-bridge" not in (line := tail.stderr.readline()):
            assert line, "it has ended"
        for source in ("ops-other", "ops-tail"):
            request = {"request_id": f"{source}-1", "source": source, "ticket": {"title": "followed"}}
            assert _ask(stack, "POST", "/tickets", request).status_code == 202
        event = json.loads(tail.stdout.readline())
        taken = tail.stderr.readline()
        tail.send_signal(signal.SIGINT)
        rest, errors = tail.communicate(timeout=GENEROUS_S)

    assert (event["type"], event["data"]["request_id"]) == ("ticket.added", "ops-tail-1")
    assert json.loads(bodies.get_nowait()) == event
    assert taken == "  taken: HTTP 204\n"
    assert (rest, errors.strip(), tail.returncode) == ("", "Interrupted.", cli.INTERRUPTED)
    assert not aws.sqs.list_queues(QueueNamePrefix="bridge-tail-").get("QueueUrls")
