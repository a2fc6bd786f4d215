"""A removal: what it says of a stack before anything is deleted."""

import shlex
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from click.testing import CliRunner

from bridge.cli import bridge
from bridge.errors import BridgeError
from bridge.operating import removal
from bridge.operating.removal import Contents, Removal, Resource
from tests.unit.test_template import TEMPLATE

RESOURCES = [Resource(name, about["Type"], f"id-of-{name}") for name, about in TEMPLATE["Resources"].items()]
GOES, STAYS = removal.sorted_out(TEMPLATE, RESOURCES)
LINES = list(Removal("mine", "arn:stack", GOES, STAYS).lines("--region eu-west-1"))
# By which a template would give a resource a name of its own choice.
NAMES = {"QueueName", "TableName", "Name"}


def test_queues_table_and_secrets_stay_and_everything_else_goes() -> None:
    holding = {"AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"}

    assert {resource.name for resource in STAYS} == {
        resource.name for resource in RESOURCES if resource.type in holding
    }
    assert sorted(map(str, (*GOES, *STAYS))) == sorted(map(str, RESOURCES))


def test_each_that_stays_is_named_with_its_cost_and_the_command_that_deletes_it() -> None:
    text = "\n".join(LINES)
    commands = [shlex.split(line) for line in LINES if line.strip().startswith("aws ")]

    for resource in STAYS:
        assert f"stays    {resource.name} (" in text
    assert text.count("costs ") == len(STAYS) == len(commands)
    for _, service, operation, option, of, *place in commands:
        model = botocore.session.get_session().get_service_model(service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        members = getattr(model.operation_model(names[operation]).input_shape, "members", {})
        assert option in {f"--{xform_name(member, '-')}" for member in members}
        assert of in {resource.id for resource in STAYS}
        assert place == ["--region", "eu-west-1"]


def test_none_that_stays_has_a_name_that_the_next_stack_of_the_same_name_would_want() -> None:
    named = {each.name for each in STAYS if NAMES & TEMPLATE["Resources"][each.name]["Properties"].keys()}

    assert named == set()


def test_what_goes_is_counted_by_its_kind() -> None:
    assert " alarms, " in LINES[0]
    assert "7 log groups, " in LINES[0]
    assert "1 event bus, " in LINES[0]


def test_requests_that_nobody_will_carry_out_are_told_before() -> None:
    first, warning = Contents(7, 2, 1).lines()

    assert first == "holds    7 requests in the queue, 2 of them in doubt, and 1 parked copies"
    assert "Nobody will carry" in warning
    assert len(list(Contents(0, 0, 0).lines())) == 1


def test_the_local_stack_is_left_to_bridge_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bridge.toml").write_text('[stages.prod]\nregion = "eu-west-1"\n')
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(bridge, ["remove", "local", "--yes"])

    assert isinstance(done.exception, BridgeError)
    assert "bridge down" in str(done.exception)
