"""A second `make deploy`, with the real SAM CLI: what it does not name keeps the value that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]  # it has no types

from bridge.commands import deploy
from bridge.local import emulator, emulator_gaps
from bridge.local.sam import STACK_NAME
from bridge.local.state import PROJECT

if TYPE_CHECKING:
    import pytest

    from bridge.local.emulator import Clients
    from bridge.local.state import Stack

FUNCTIONS = (
    "ticket-queue",
    "ticket-api",
    "form-intake",
    "callbacks",
    "resolve-doubts",
    "watch",
    "daily-audit",
)


def _deploy(stack: Stack, *parameters: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ARCHITECTURE"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **kept,
        **emulator.client_environment(stack.endpoint_url),
        "AWS_DEFAULT_REGION": stack.region,
        "SAM_CLI_TELEMETRY": "0",
        "PATH": path,
    }
    command = [sys.executable, "-m", "bridge.commands.deploy", *parameters]
    # Yes, deploy this change set.
    return subprocess.run(
        command,
        env=environment,
        cwd=PROJECT,
        input="y\n",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _variables(aws: Clients, function: str) -> dict[str, str]:
    configuration: Any = aws.lambda_.get_function_configuration(FunctionName=f"{STACK_NAME}-{function}")
    variables: dict[str, str] = configuration["Environment"]["Variables"]
    return variables


def _parameters(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint_url)
    assert deploy.parameters_of("elsewhere", stack.region, None) is None
    parameters = deploy.parameters_of(STACK_NAME, stack.region, None)
    assert parameters
    return parameters


def test_a_second_deployment_changes_what_it_names_in_every_function_and_nothing_else(
    stack: Stack, aws: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {function: _variables(aws, function) for function in FUNCTIONS}
    values = _parameters(stack, monkeypatch)
    # Not what the template has by default: `sam deploy --guided` would offer that.
    assert values["KaptureUrl"] == stack.kapture_url
    try:
        done = _deploy(stack, "KaptureBudget=600")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

        assert "KaptureBudget: 600, before 0" in done.stdout
        assert _parameters(stack, monkeypatch) == values | {"KaptureBudget": "600"}
        for function in FUNCTIONS:
            assert _variables(aws, function) == before[function] | {"KAPTURE_BUDGET": "600"}
    finally:
        done = _deploy(stack, "KaptureBudget=0")
        emulator_gaps.fill(aws, STACK_NAME)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert _parameters(stack, monkeypatch) == values


def test_cloudformation_is_sent_no_alias_and_no_merge_key(stack: Stack, aws: Clients) -> None:
    sent: Any = aws.cloudformation.get_template(StackName=STACK_NAME, TemplateStage="Original")[
        "TemplateBody"
    ]

    assert "<<: *" in (PROJECT / "template.yaml").read_text()
    assert "TokenRefusedAlarm" in sent
    assert [event for event in yaml.parse(sent) if getattr(event, "anchor", None)] == []
    assert "<<:" not in sent
