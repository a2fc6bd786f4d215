"""The command `bridge doctor`: what is broken or risky, why it matters, and the line to change."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.checks.stack import CHECKS, Examined, Finding
from bridge.commands.operate import FOLDER, announce, on_a_stack
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.local import folder
from bridge.local.state import StateFolder
from bridge.operating.log_lines import read_warnings
from bridge.operating.words import near_time
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
# Why a submission is refused although its sender may have done nothing wrong.
_OF_ITS_SECRET = {"no_secret", "secret_unreadable", "secret_malformed", "secret_too_short"}
_LATELY_S = 3600.0
# By then a function has read a secret that has changed.
_READ_AGAIN_S = 10.0
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
    """Whether each form has a secret that works: those of this folder, and those that the log knows."""
    if stack.target.endpoint_url:
        # On a local stack, bridge send puts them itself.
        return
    own, refused = folder.found(), _refused_submissions(stack)
    forms = map(form_files.read, form_files.files(own.forms)) if own else ()
    for form in sorted({form.name for form in forms if needs_secret(form)} | refused.keys()):
        name = f"{stack.target.name}/forms/{form}"
        what, command, usable_since = _secret_state(stack, form, name)
        lost = [at for at in refused.get(form, ()) if at > usable_since]
        if usable_since and not lost:
            continue
        counted = f" Submissions refused since {near_time(lost[0])}: {len(lost)}." if lost else ""
        answer = "503" if usable_since else "401 (no_secret)"
        yield Finding(
            f"{what}{counted}",
            f"Each of its submissions is refused with {answer}.",
            stack.target.aws(f"secretsmanager {command}"),
        )


def _secret_state(stack: Examined, form: str, name: str) -> tuple[str, str, float]:
    """What would be wrong with the secret of a form, what to do then, and since when it can be used, or 0."""
    secrets, text = stack.target.secretsmanager, """--secret-string '{"secrets": ["..."]}'"""
    try:
        secret = secrets.describe_secret(SecretId=name)
    except secrets.exceptions.ResourceNotFoundException:
        return f"The form {form} has no secret.", f"create-secret --name {name} {text}", 0.0
    if "DeletedDate" in secret:
        return f"The form {form} has no secret.", f"restore-secret --secret-id {name}", 0.0
    what = f"The secret of the form {form} cannot be used: it is unreadable, malformed or too short."
    changed_at = secret["LastChangedDate"].timestamp() + _READ_AGAIN_S
    return what, f"put-secret-value --secret-id {name} {text}", changed_at


def _refused_submissions(stack: Examined) -> dict[str, list[float]]:
    """When a form's submissions were refused lately because of its own secret, by the form's name."""
    refused: dict[str, list[float]] = {}
    since = time.time() - _LATELY_S
    with suppress(BotoCoreError, ClientError):
        # Without the right to read logs, the forms of this folder are looked at all the same.
        for at, fields in read_warnings(
            stack.target, "form-intake", since=since, message="submission refused"
        ):
            if fields.get("code") in _OF_ITS_SECRET:
                refused.setdefault(str(fields.get("form")), []).append(at)
    return refused


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
    type=FOLDER,
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
    findings: list[Finding] = []
    try:
        examined = examined_on(state_dir, stack)
    except BridgeError:
        if stack:
            raise
        findings.append(_NO_STACK)
    else:
        announce(examined.target)
        findings += stack_findings(examined)
    own = folder.found()
    findings += form_findings(forms or (own.forms if own else Path("forms")))
    for finding in findings:
        parts = asdict(finding)
        click.echo(json.dumps(parts) if as_json else "\n  ".join(map(plain, parts.values())))
    if findings:
        raise click.exceptions.Exit(FINDINGS_STATUS)
    if not as_json:
        click.echo("Nothing was found.")


def examined_on(state_dir: Path, name: str | None, session: boto3.Session | None = None) -> Examined:
    """The stack of that name, or the local one. Raises BridgeError where there is none."""
    if name:
        return Examined(target.deployed(name, session))
    running = StateFolder(state_dir).read_stack()
    return Examined(target.local(running, state_dir), running.api_key)


def examined_at(
    stage: str | None, state_dir: Path, endpoint: str | None
) -> tuple[str, Stack | None, Examined]:
    """The name of a stage of bridge.toml, what `bridge up` wrote of it if it is the local one, its stack.

    Raises BridgeError where there is none.
    """
    name, described = folder.current().stage(stage)
    if name == folder.LOCAL:
        return name, StateFolder(state_dir).read_stack(), examined_on(state_dir, None)
    session = target.account(name, described, endpoint)
    return name, None, examined_on(state_dir, described.stack, session)
