"""Every command in README and docs exists, with the options that it is shown with."""

import re
from pathlib import Path

import botocore.session
import click
import pytest
from botocore import xform_name

from bridge import cli
from tests.documented import PAGES, ROOT, Command, commands

BRIDGE = commands("bridge")
MAKE = commands("make")
# The command line calls some otherwise than the API, and has an address of its own.
OF_AWS_ITSELF = {"--endpoint-url", "--region", "--notification-endpoint", "--include-value", "--api-key"}
OF_AWS_ITSELF |= {"--no-enabled"}
AWS = [command for command in commands("aws") if len(command.without_options) > 2]


def described(command: Command) -> str:
    return f"{command.page}: {command.text}"


def _parse(words: list[str]) -> None:
    """Raises click.UsageError where the command line is wrong; runs nothing."""
    name, *rest = words
    if name == "--help":
        return
    command = cli.bridge.get_command(click.Context(cli.bridge), name)
    if command is None:
        raise click.UsageError(f"there is no bridge {name}")
    if not rest:
        # Often it is only spoken of.
        return
    with command.make_context(name, rest):
        pass


def test_the_pages_show_commands() -> None:
    assert len(BRIDGE) > 15
    assert len(MAKE) > 5


@pytest.mark.parametrize("command", BRIDGE, ids=described)
def test_a_documented_bridge_command_can_be_given_so(command: Command) -> None:
    try:
        _parse(command.words[1:])
    except click.BadParameter as error:
        # A file of the reader's own that is not there yet.
        assert "does not exist" in str(error)  # noqa: PT017  # of one kind of several


@pytest.mark.parametrize("command", MAKE, ids=described)
def test_a_documented_target_exists(command: Command) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert command.words[1] in targets


@pytest.mark.parametrize("command", AWS, ids=described)
def test_a_documented_aws_command_is_one(command: Command) -> None:
    service, operation = command.without_options[1:3]
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    members = getattr(model.operation_model(names[operation]).input_shape, "members", {})

    taken = {f"--{xform_name(member, '-')}" for member in members} | OF_AWS_ITSELF
    assert set(re.findall(r"(?<!\S)--[a-z-]+", command.text)) <= taken


def test_every_test_that_a_page_names_is_there() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"\btests/[\w/]+(?:\.(?:py|md))?", page.read_text())
    }

    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("words", [["doctor", "--nothing"], ["no-such-command"], ["trace", "a", "b"]])
def test_a_wrong_command_would_be_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        _parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs
