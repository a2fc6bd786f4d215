"""The command `bridge doctor`: what is broken or risky, why it matters, and the line to change."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.checks.stack import CHECKS, Examined, Finding
from bridge.commands.operate import announce, local_target, on_a_stack
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.local import folder
from bridge.local.state import StateFolder
from bridge.plain import plain
from bridge.sending.form_signing import needs_secret
from bridge.stacks import target
from bridge.stacks.target import STACK_VARIABLE
from helpdesk.errors import HelpdeskError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3

    from bridge.local.state import Stack

FINDINGS_STATUS = 1
_NO_STACK = Finding(
    "No stack was looked at: none is named, and none runs on this machine.",
    "So nobody knows whether requests are carried out. The form files alone were looked at.",
    f"bridge doctor --stack NAME, or export {STACK_VARIABLE}=NAME; for a stack on this machine: bridge up",
)


def form_findings(forms: Path) -> Iterator[Finding]:
    """Form files that are wrong in spite of their being valid."""
    for file in form_files.files(forms):
        form = form_files.read(file)
        if not needs_secret(form):
            yield Finding(
                f"The form {form.name} verifies nobody.",
                "Whoever knows the address can make tickets.",
                f"{file.name}: give verify another scheme than none (docs/forms.md lists them)",
            )


def form_secrets(stack: Examined) -> Iterator[Finding]:
    """Whether each form of this folder has its secret."""
    own, secrets = folder.found(), stack.client("secretsmanager")
    if own is None or stack.target.endpoint_url:
        # On a local stack, bridge send puts them itself.
        return
    for form in map(form_files.read, form_files.files(own.forms)):
        name = f"{stack.target.name}/forms/{form.name}"
        if not needs_secret(form):
            continue
        make = f'create-secret --name {name} --secret-string \'{{"secrets": ["..."]}}\''
        try:
            if "DeletedDate" not in secrets.describe_secret(SecretId=name):
                continue
            make = f"restore-secret --secret-id {name}"
        except secrets.exceptions.ResourceNotFoundException:
            pass
        yield Finding(
            f"The form {form.name} has no secret.",
            "Each of its submissions is refused with 401 (no_secret).",
            stack.target.aws(f"secretsmanager {make}"),
        )


def stack_findings(stack: Examined) -> Iterator[Finding]:
    """All checks of a stack, the raised alarms first. At the end: a finding for each reason not to check."""
    not_made: dict[str, list[str]] = {}
    for check in (*CHECKS, form_secrets):
        try:
            yield from check(stack)
        except (BotoCoreError, ClientError, requests.RequestException, HelpdeskError, SettingsError) as error:
            not_made.setdefault(target.words_of(error), []).append(check.__name__.replace("_", " "))
    for why, names in not_made.items():
        yield Finding(
            f"Not checked: {', '.join(names)}. {why}",
            "What these checks look for may be there.",
            "Give these credentials read access to the stack, or mend what the message names",
        )


@click.command()
@on_a_stack
@click.option(
    "--forms",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the form files.  [default: forms beside bridge.toml]",
)
@click.option("--json", "as_json", is_flag=True, help="Each finding as an object in a line.")
def doctor(state_dir: Path, stack: str | None, forms: Path | None, as_json: bool) -> None:
    """Look for what is broken or risky, and say how to mend it.

    Raised alarms come first, then the stack and its settings, then the forms. Where no stack runs and none
    is named, that is a finding too. Nothing is changed, and each helpdesk gets one harmless call; `bridge
    learn` makes test tickets and finds out more. The status is 0 where nothing was found, 1 where something
    was, 2 where the command line is wrong.

    \b
    Example:
      bridge doctor
      bridge doctor --stack ticket-bridge
    """
    examined = examined_on(state_dir, stack)
    findings: list[Finding] = []
    if examined:
        announce(examined.target)
        findings += stack_findings(examined)
    else:
        findings.append(_NO_STACK)
    own = folder.found()
    findings += form_findings(forms or (own.forms if own else Path("forms")))
    for finding in findings:
        parts = asdict(finding)
        click.echo(json.dumps(parts) if as_json else "\n  ".join(map(plain, parts.values())))
    if findings:
        raise click.exceptions.Exit(FINDINGS_STATUS)
    if not as_json:
        click.echo("Nothing was found.")


def examined_on(state_dir: Path, name: str | None, session: boto3.Session | None = None) -> Examined | None:
    """The stack of that name, or the local one; None where none runs here. Raises BridgeError."""
    if name:
        return Examined(target.deployed(name, session))
    try:
        running = StateFolder(state_dir).read_stack()
    except BridgeError:
        return None
    return Examined(local_target(state_dir), running.api_key)


def examined_at(
    stage: str | None, state_dir: Path, endpoint: str | None
) -> tuple[str, Stack | None, Examined]:
    """The name of a stage of bridge.toml, what `bridge up` wrote of it if it is the local one, its stack.

    Raises BridgeError where there is none.
    """
    name, described = folder.current().stage(stage)
    if name == folder.LOCAL:
        local, examined = StateFolder(state_dir).read_stack(), examined_on(state_dir, None)
    else:
        session = target.account(name, described, endpoint)
        local, examined = None, examined_on(state_dir, described.stack, session)
    if examined is None:
        raise BridgeError("No stack is running")
    return name, local, examined


COMMANDS = (doctor,)
