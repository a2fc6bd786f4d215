"""`bridge deploy` onto the stack that runs, with the real SAM CLI: what it shows, keeps and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]  # it has no types
from click.testing import CliRunner

from bridge.cli import bridge
from bridge.errors import BridgeError
from bridge.local.sam import STACK_NAME
from bridge.local.state import PROJECT
from bridge.stacks import deployment

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from click.testing import Result

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack, StateFolder

FUNCTIONS = (
    "ticket-queue",
    "ticket-api",
    "form-intake",
    "callbacks",
    "resolve-doubts",
    "watch",
    "daily-audit",
)
MINE = """\
service: json
verify: {scheme: none}
request: {operation: add, ticket: {title: answers.title}}
"""


def _deploy(state: StateFolder, *options: str, answers: str = "") -> Result:
    return CliRunner().invoke(
        bridge, ["deploy", "local", "--state-dir", str(state.root), *options], input=answers
    )


def _variables(aws: Clients, function: str) -> dict[str, str]:
    found: Any = aws.lambda_.get_function_configuration(FunctionName=f"{STACK_NAME}-{function}")
    variables: dict[str, str] = found["Environment"]["Variables"]
    return variables


def _parameters(aws: Clients) -> dict[str, str]:
    running = deployment.running_parameters(aws.cloudformation, STACK_NAME)
    assert running
    return running


def test_a_second_deployment_shows_and_changes_what_it_names_and_nothing_else(
    state: StateFolder, stack: Stack, aws: Clients
) -> None:
    before = {function: _variables(aws, function) for function in FUNCTIONS}
    values = _parameters(aws)
    # Not what the template has by default.
    assert values["KaptureUrl"] == stack.kapture_url
    try:
        refused = _deploy(state, "--set", "KaptureBudget=600", answers="n\n")
        assert _parameters(aws) == values
        done = _deploy(state, "--set", "KaptureBudget=600", answers="y\n")
        assert done.exit_code == 0, done.output + str(done.exception)

        assert (refused.exit_code, "Nothing was deployed." in refused.output) == (0, True)
        plan = [line.strip() for line in refused.output.splitlines()]
        assert "setting     KaptureBudget: 0 -> 600" in plan
        assert "changed     7 functions: settings" in plan
        assert [line for line in plan if line.startswith(("new ", "removed", "replaced"))] == []
        assert _parameters(aws) == values | {"KaptureBudget": "600"}
        for function in FUNCTIONS:
            assert _variables(aws, function) == before[function] | {"KAPTURE_BUDGET": "600"}
        # What is not said keeps the value that runs, and is told to.
        again = _deploy(state, "--plan")
        assert "Nothing would change." in again.output
        assert "KaptureBudget=600" in again.output
    finally:
        done = _deploy(state, "--set", "KaptureBudget=0", "--yes")
    assert done.exit_code == 0, done.output
    assert _parameters(aws) == values


def test_a_deployment_that_would_lose_a_secret_is_refused_and_says_how_to_insist(
    state: StateFolder, stack: Stack, aws: Clients
) -> None:
    values = _parameters(aws)

    done = _deploy(state, "--set", "Helpdesks=kapture", "--yes")

    assert isinstance(done.exception, BridgeError)
    assert "the secret SocialboardsSecret" in str(done.exception)
    assert "--allow-loss SocialboardsSecret" in str(done.exception)
    assert _parameters(aws) == values
    assert aws.secretsmanager.get_secret_value(SecretId=stack.socialboards_secret_arn)["SecretString"]


def test_a_form_of_ones_own_is_deployed_in_the_place_of_the_examples(
    state: StateFolder,
    stack: Stack,
    aws: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "bridge.toml").write_text("")
    (tmp_path / "forms").mkdir()
    (tmp_path / "forms" / "mine.yaml").write_text(MINE)
    try:
        with monkeypatch.context() as own:
            own.setenv("BRIDGE_FOLDER", str(tmp_path))
            done = _deploy(state, "--yes")
            assert done.exit_code == 0, done.output + str(done.exception)

        assert "removed     WeeklyReviewSchedule (schedule)" in done.output
        # No other function gets other code.
        assert "changed     FormIntakeFunction: code" in done.output
        built = next(state.sam.glob("*/build/FormIntakeFunction/forms.json"))
        assert [form["name"] for form in json.loads(built.read_text())] == ["mine"]
    finally:
        assert _deploy(state, "--yes").exit_code == 0


def test_cloudformation_is_sent_no_alias_and_no_merge_key(stack: Stack, aws: Clients) -> None:
    sent: Any = aws.cloudformation.get_template(StackName=STACK_NAME, TemplateStage="Original")[
        "TemplateBody"
    ]

    assert "<<: *" in (PROJECT / "template.yaml").read_text()
    assert "TokenRefusedAlarm" in sent
    assert [event for event in yaml.parse(sent) if getattr(event, "anchor", None)] == []
    assert "<<:" not in sent
