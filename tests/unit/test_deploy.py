"""A deployment sends the parameters that its caller names, and nothing else of what runs."""

from pathlib import Path
from typing import Any

import pytest
from samcli.commands.deploy.deploy_context import (  # type: ignore[import-untyped]  # it has no types
    DeployContext,
)

from bridge.commands import deploy
from bridge.errors import BridgeError
from tests.unit.test_template import TEMPLATE

KNOWN: dict[str, Any] = TEMPLATE["Parameters"]


def sent(command: list[str]) -> list[dict[str, Any]]:
    """What the SAM CLI makes of the command for CloudFormation."""
    pairs = command[command.index("--parameter-overrides") + 1 :]
    overrides = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    merged: list[dict[str, Any]] = DeployContext.merge_parameters(TEMPLATE, overrides)
    return merged


def test_a_running_stack_keeps_every_value_that_is_not_named() -> None:
    build, again = deploy.commands({"KaptureBudget": "600", "Architecture": "x86_64"}, is_new=False)

    assert "--guided" not in again
    assert "--confirm-changeset" in again
    parameters = {parameter.pop("ParameterKey"): parameter for parameter in sent(again)}
    assert parameters.pop("KaptureBudget") == {"ParameterValue": "600"}
    assert parameters.pop("Architecture") == {"ParameterValue": "x86_64"}
    assert {*map(str, parameters.values())} == {"{'UsePreviousValue': True}"}
    assert build[:3] == ["sam", "build", "--no-cached"]


def test_only_a_first_deployment_asks() -> None:
    _, first = deploy.commands({"Architecture": "arm64"}, is_new=True)

    assert first[-1] == "--guided"


def test_a_parameter_that_the_template_does_not_have_is_told() -> None:
    assert deploy.named(["KaptureBudget=600", "DefaultSource=a=b"], KNOWN) == {
        "KaptureBudget": "600",
        "DefaultSource": "a=b",
    }
    for wrong in ("KaptureBugdet=600", "KaptureBudget"):
        with pytest.raises(BridgeError, match="KaptureBu"):
            deploy.named([wrong.replace("KaptureBudget", "KaptureBu"), "Helpdesks=kapture"], KNOWN)


@pytest.mark.parametrize("machine", [b"\xb7\x00", b"\x3e\x00"])
def test_a_layer_for_another_machine_is_not_deployed(tmp_path: Path, machine: bytes) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "_core.so").write_bytes(b"\x7fELF".ljust(18, b"\0") + machine + b"rest")
    right, wrong = ("arm64", "x86_64") if machine == b"\xb7\x00" else ("x86_64", "arm64")

    deploy.check_machines(tmp_path, right)
    with pytest.raises(BridgeError, match=f"_core.so is not for {wrong}"):
        deploy.check_machines(tmp_path, wrong)


def test_where_it_is_not_known_whether_a_stack_runs_nothing_is_deployed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(BridgeError, match="Whether here runs cannot be read: You must specify a region"):
        deploy.parameters_of("here", region=None, profile=None)
