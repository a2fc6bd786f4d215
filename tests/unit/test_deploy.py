"""A deployment: what is sent, what is told of it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner
from samcli.cli.types import CfnParameterOverridesType  # type: ignore[import-untyped]  # it has no types
from samcli.commands.deploy.deploy_context import (  # type: ignore[import-untyped]  # as above
    DeployContext,
)

from bridge.cli import bridge
from bridge.commands.deploy import next_steps
from bridge.errors import BridgeError
from bridge.local import sam
from bridge.local.folder import Folder
from bridge.local.state import StateFolder
from bridge.stacks import deployment
from bridge.stacks.deployment import Change, Plan
from tests.unit.test_doctor import OPEN
from tests.unit.test_template import TEMPLATE

SECRETS = {"TokenSecret": "AWS::SecretsManager::Secret", "SocialboardsSecret": "AWS::SecretsManager::Secret"}
BOTH = {name: str(about.get("Default", "")) for name, about in TEMPLATE["Parameters"].items()} | {
    "Helpdesks": "kapture,socialboards"
}


def change(action: str, *, type_: str = "AWS::SQS::Queue", **more: Any) -> Change:
    return Change("RequestsQueue", type_, action, **more)


def sent(tmp_path: Path, parameters: dict[str, str]) -> dict[str, Any]:
    """What the SAM CLI makes of parameters for CloudFormation, when the stack runs already."""
    options = sam._overrides(StateFolder(tmp_path), parameters)
    overrides = CfnParameterOverridesType().convert((options[1],), None, None)
    merged: list[dict[str, Any]] = DeployContext.merge_parameters(TEMPLATE, overrides)
    return {entry.pop("ParameterKey"): entry for entry in merged}


def test_a_running_stack_keeps_every_value_that_is_not_named(tmp_path: Path) -> None:
    parameters = sent(tmp_path, {"KaptureBudget": "600", "Architecture": "x86_64"})

    assert parameters.pop("KaptureBudget") == {"ParameterValue": "600"}
    assert parameters.pop("Architecture") == {"ParameterValue": "x86_64"}
    assert {*map(str, parameters.values())} == {"{'UsePreviousValue': True}"}


@pytest.mark.parametrize(
    "value", ["", "kapture,socialboards", '{"paid": "CL"}', "a b = c", "it's", "https://x/{ticket_id}"]
)
def test_any_value_reaches_cloudformation_as_it_is(tmp_path: Path, value: str) -> None:
    assert sent(tmp_path, {"KaptureSubStatuses": value})["KaptureSubStatuses"] == {"ParameterValue": value}


@pytest.mark.parametrize("action", ["remove", "replace", "may replace"])
@pytest.mark.parametrize("type_", ["AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"])
def test_losing_a_queue_a_table_or_a_secret_takes_a_flag_that_names_it(action: str, type_: str) -> None:
    lost = change(action, type_=type_, kept=True)
    planned = Plan(is_new=False, change_set="arn", changes=(lost,))

    assert planned.losses() == [lost]
    assert planned.losses(["AnotherQueue"]) == [lost]
    assert planned.losses(["RequestsQueue"]) == []


@pytest.mark.parametrize("name", ["GenerateSecretString", "SecretString"])
def test_writing_over_what_a_secret_holds_takes_a_flag_too(name: str) -> None:
    overwritten = change("modify", type_="AWS::SecretsManager::Secret", properties=("Description", name))
    planned = Plan(is_new=False, change_set="arn", changes=(overwritten,))

    assert planned.losses() == [overwritten]
    assert list(planned.lines()) == ["overwritten  RequestsQueue (secret): its value is lost"]


def test_changing_one_in_its_place_and_losing_what_holds_nothing_needs_no_flag() -> None:
    changes = (change("modify"), change("add"), change("replace", type_="AWS::Lambda::LayerVersion"))

    assert Plan(is_new=False, change_set="arn", changes=changes).losses() == []


def test_a_plan_says_what_is_lost_first_and_names_no_more_than_changes() -> None:
    function = Change("WatchFunction", "AWS::Lambda::Function", "modify", properties=("Environment",))
    follows = Change("WatchRole", "AWS::IAM::Role", "modify", follows=True)
    gone = change("remove", kept=False)
    planned = Plan(
        is_new=False,
        change_set="arn",
        changes=(function, follows, gone),
        parameters={"KaptureBudget": ("0", "600")},
    )

    assert list(planned.lines()) == [
        "removed     RequestsQueue (queue): it is deleted, with what it holds",
        "setting     KaptureBudget: 0 -> 600",
        "changed     WatchFunction: settings",
    ]


def test_a_secret_whose_condition_turns_false_is_known_to_go_whatever_the_change_set_says() -> None:
    fewer = BOTH | {"Helpdesks": "kapture"}

    assert deployment.removed(TEMPLATE, BOTH, SECRETS, TEMPLATE) == []
    assert deployment.removed(TEMPLATE, fewer, SECRETS, TEMPLATE) == [
        Change("SocialboardsSecret", "AWS::SecretsManager::Secret", "remove", kept=True)
    ]


@pytest.mark.parametrize(("policy", "kept"), [({"DeletionPolicy": "Retain"}, True), ({}, False)])
def test_the_deployed_template_says_what_becomes_of_a_table_that_goes(
    policy: dict[str, str], kept: bool
) -> None:
    deployed = {"Resources": {"OldTable": {"Type": "AWS::DynamoDB::Table", **policy}}}

    (gone,) = deployment.removed(
        TEMPLATE, BOTH, {"OldTable": "AWS::DynamoDB::Table", "OldRole": "AWS::IAM::Role"}, deployed
    )

    assert (gone.name, gone.precious, gone.kept) == ("OldTable", "table", kept)


def test_a_first_deployment_that_was_taken_back_says_how_to_go_on() -> None:
    formation = boto3.client("cloudformation")
    site = sam.Site("mine", "eu-west-1", "arm64", profile="production")
    described = {"Stacks": [{"StackName": "mine", "StackStatus": "ROLLBACK_COMPLETE", "CreationTime": 0}]}
    go_on = "aws cloudformation delete-stack --region eu-west-1 --profile production --stack-name mine"

    with Stubber(formation) as answers:
        answers.add_response("execute_change_set", {})
        answers.add_response("describe_stacks", described)
        answers.add_response("describe_stack_events", {"StackEvents": []})
        with pytest.raises(BridgeError, match=go_on):
            deployment.execute(formation, site, Plan(is_new=True, change_set="arn"))
        answers.add_response("describe_stacks", described)
        with pytest.raises(BridgeError, match=go_on):
            deployment.check_can_change(formation, site)


def test_a_build_without_make_says_that_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BridgeError, match="make is missing"):
        sam.start_build(StateFolder(tmp_path), sam.Site("s", "r", "arm64"), tmp_path / "template.yaml")


@pytest.mark.parametrize("machine", [b"\xb7\x00", b"\x3e\x00"])
def test_a_layer_for_another_machine_is_not_deployed(tmp_path: Path, machine: bytes) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "_core.so").write_bytes(b"\x7fELF".ljust(18, b"\0") + machine + b"rest")
    right, wrong = ("arm64", "x86_64") if machine == b"\xb7\x00" else ("x86_64", "arm64")

    deployment.check_machines(tmp_path, right)
    with pytest.raises(BridgeError, match=f"_core.so is not for {wrong}"):
        deployment.check_machines(tmp_path, wrong)


def test_each_architecture_is_built_into_a_folder_of_its_own(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    folders = {sam.built(state, sam.Site("s", "r", name)) for name in ("arm64", "x86_64")}

    assert len(folders) == 2


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one stage, that is worked in."""
    (tmp_path / "bridge.toml").write_text('[stages.prod]\nregion = "eu-west-1"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "No stage nowhere: local, prod"),
        (["local"], "No stack is running"),
        (["prod", "--set", "KaptureBudget"], "--set wants NAME=VALUE"),
    ],
)
def test_what_cannot_be_deployed_is_told_before_anything_is_built(
    mine: Path, arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(bridge, ["deploy", *arguments])

    assert done.exit_code != 0
    assert message in done.output + str(done.exception)
    assert not (mine / ".bridge" / "stage-prod" / "source").exists()


def test_where_it_is_not_known_whether_a_stack_runs_nothing_is_built(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")

    done = CliRunner().invoke(bridge, ["deploy", "prod"])

    assert isinstance(done.exception, BridgeError)
    assert not (mine / ".bridge" / "stage-prod" / "source").exists()
    assert json.dumps(str(done.exception))


@pytest.mark.parametrize("command", ["deploy", "smoke"])
@pytest.mark.parametrize("allowed", [[], ["--allow-endpoint", "http://127.0.0.1:8"]])
def test_a_stage_of_an_account_is_not_taken_to_an_emulator_that_nobody_has_named(
    mine: Path, monkeypatch: pytest.MonkeyPatch, command: str, allowed: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    done = CliRunner().invoke(bridge, [command, "prod", *allowed])

    assert isinstance(done.exception, BridgeError)
    assert "Refused: AWS_ENDPOINT_URL" in str(done.exception)
    assert "--allow-endpoint http://127.0.0.1:9" in str(done.exception)


OUTPUTS = {
    "Helpdesks": "kapture,socialboards",
    "TokenSecretArn": "arn:kapture",
    "SocialboardsSecretArn": "arn:socialboards",
    "ApiKeyId": "key-id",
    "ApiUrl": "https://api",
    "FormSecretFolder": "mine/forms",
    "OutcomesTopicArn": "arn:topic",
}


def steps(own: Path, running: dict[str, str] | None, changes: tuple[Change, ...] = ()) -> str:
    """What is left to do after a deployment of a folder whose form `old` has its secret."""
    (own / "forms").mkdir(exist_ok=True)
    for file, scheme in {"old.yaml": "path", "new.yml": "path", "open.yaml": "none"}.items():
        (own / "forms" / file).write_text(OPEN.replace("none", scheme))
    site = sam.Site("mine", "eu-west-1", "arm64", profile="production")
    planned = Plan(is_new=running is None, change_set="arn", changes=changes)
    return "\n".join(next_steps(Folder(own), site, planned, running, OUTPUTS, "mine/forms/old".__eq__))


def test_a_new_stack_gets_every_step_with_its_region_and_profile(tmp_path: Path) -> None:
    shown = steps(tmp_path, None)

    assert "Kapture's access" in shown
    assert "Socialboards's access" in shown
    assert "get-api-key --region eu-west-1 --profile production --include-value --api-key key-id" in shown
    assert "the form open: https://api/forms/open" in shown
    assert "--name mine/forms/new" in shown
    assert "--name mine/forms/open" not in shown
    assert "AWS_DEFAULT_REGION=eu-west-1 AWS_PROFILE=production bridge doctor --stack mine" in shown


def test_a_form_and_a_helpdesk_that_are_added_later_get_their_steps(tmp_path: Path) -> None:
    code = Change("FormIntakeFunction", "AWS::Lambda::Function", "modify", properties=("Code",))

    shown = steps(tmp_path, {"Helpdesks": "kapture"}, (code,))

    assert "Socialboards's access" in shown
    assert "Kapture's access" not in shown
    assert "get-api-key" not in shown
    for form in ("old", "new", "open"):
        assert f"the form {form}: https://api/forms/{form}" in shown
    assert "--name mine/forms/new" in shown
    assert "--name mine/forms/old" not in shown


def test_where_all_is_done_no_step_is_left(tmp_path: Path) -> None:
    shown = steps(tmp_path, {"Helpdesks": "socialboards,kapture"})

    # The secret of this form is still to be made.
    assert shown.count("the form ") == shown.count("the form new: ") == 1
    assert "access" not in shown
