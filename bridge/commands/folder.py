"""Commands about a user's own folder: `bridge init` makes it, `bridge check` looks whether it is right."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.checks import folder as folder_checks
from bridge.commands.operate import HELPDESK
from bridge.errors import BridgeError
from bridge.generate import user_folder
from bridge.local import folder
from bridge.local.folder import NAME, Config
from bridge.local.helpdesks import HELPDESKS
from bridge.plain import plain_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STACK = Config().stage(folder.LOCAL)[1].stack
_FIRST_STAGE = "prod"
_DEFAULT = HELPDESKS[0].name
# Those whose accounts have addresses of their own, with what stands for an address that nobody has named.
_ADDRESSES = {desk: f"https://{folder_checks.PLACEHOLDER}.{desk.domain}" for desk in HELPDESKS if desk.domain}


def _address_options[F: Callable[..., None]](command: F) -> F:
    for desk in _ADDRESSES:
        about = f"Address of your {desk.title} account."
        command = click.option(f"--{desk.name}-url", metavar="URL", help=about)(command)
    return command


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--helpdesk",
    "helpdesks",
    multiple=True,
    type=HELPDESK,
    help="Which is served; may be repeated, the default first.",
)
@_address_options
@click.option(
    "--form",
    "forms",
    multiple=True,
    metavar="NAME",
    help="A form to begin with (bridge init asks, and lists them), or the word none; may be repeated.",
)
@click.option("--stack", default=_STACK, show_default=True, help="Name of the stack in AWS.")
@click.option("--region", help="AWS region of the stack.  [default: that of your AWS set-up]")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: what is not said takes its default.")
def init(
    directory: Path,
    helpdesks: Sequence[str],
    forms: Sequence[str],
    stack: str,
    region: str | None,
    yes: bool,
    **addresses: str | None,
) -> None:
    """Make a folder of your own: settings, forms, schedules.

    Samples and a check for CI come with it. Only what no option says is asked. No file is ever overwritten.

    \b
    Example:
      bridge init mine
      bridge init mine --helpdesk kapture --kapture-url https://acme.kapturecrm.com --form contact
    """
    if (directory / NAME).exists():
        raise BridgeError(f"{directory / NAME} is there already")
    if not helpdesks:
        offer = ", ".join(desk.name for desk in HELPDESKS)
        helpdesks = _names(_DEFAULT if yes else _ask(f"Helpdesks ({offer}, or several)", _DEFAULT))
    parameters = {"Helpdesks": ",".join(helpdesks)}
    for desk, usual in _ADDRESSES.items():
        if desk.name in helpdesks:
            question = f"Address of your {desk.title} account"
            url = addresses[desk.url_key] or (usual if yes else _ask(question, usual))
            parameters[desk.url_parameter] = url.rstrip("/")
    if not forms:
        offer = ", ".join(user_folder.forms())
        forms = _names("contact" if yes else _ask(f"Forms to begin with ({offer}; or none)", "contact"))
    forms = [name for name in forms if name != "none"]
    unnamed = [name for name, value in parameters.items() if folder_checks.PLACEHOLDER in value]
    said = {name: value for name, value in parameters.items() if name not in unnamed}
    if wrong := folder_checks.wrong_parameters(said):
        raise BridgeError("\n".join(wrong))
    files = user_folder.write(
        directory, stage=_FIRST_STAGE, stack=stack, region=region, parameters=parameters, selected=forms
    )
    for file in files:
        click.echo(file)
    here = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    if not unnamed:
        click.echo(f"Next: {here}bridge check && bridge up")
        return
    # The check would stop at what is not named, and the local stack has simulators of its own.
    click.echo(f"Next: {here}bridge up")
    click.echo(
        f"Before bridge check or deploy: put your account's name in the place of"
        f" {folder_checks.PLACEHOLDER} into {directory / NAME}, at {' and '.join(unnamed)}."
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One object for each check.")
def check(as_json: bool) -> None:
    """Check your folder, as far as it goes without an account.

    CI runs it too. It looks at the settings of every stage, forms against their samples, schedules with
    their next times, and the template. The status is 0 where all is right, 1 where something is wrong.

    \b
    Example:
      bridge check
    """
    own = folder.current()
    if own.root != Path.cwd():
        # One above, that of BRIDGE_FOLDER, or in a checkout the examples.
        click.echo(f"Folder {own.root}:", err=True)
    results = []
    for result in folder_checks.check(own):
        results.append(result)
        if as_json:
            click.echo(json.dumps(asdict(result)))
            continue
        click.echo(plain_lines(f"{'ok   ' if result.ok else 'WRONG'}  {result.what}"))
        for line in result.problems:
            click.echo(plain_lines(f"       {line}"))
        for line in result.notes:
            click.echo(plain_lines(f"       note: {line}"))
    if not all(result.ok for result in results):
        raise click.exceptions.Exit(1)


def _ask(question: str, default: str) -> str:
    answer: str = click.prompt(question, default=default, err=True)
    return answer


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMANDS = (init, check)
