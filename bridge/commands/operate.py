"""Commands of an operator, about the local stack or a deployed one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.local import folder
from bridge.local.state import StateFolder
from bridge.plain import plain
from bridge.progress import at_work
from bridge.stacks import target
from bridge.stacks.operations import Operations, ParkedCopy, Selection, age, clock_time
from helpdesk.errors import HelpdeskError

if TYPE_CHECKING:
    from collections.abc import Callable


_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One object in a line for each copy, with its body."
)
_gate_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One object: the helpdesk, and whether it is paused."
)
_of_a_helpdesk = click.option("--helpdesk", help="Which one.  [default: the first that the stack serves]")


with_state_dir = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="BRIDGE_STATE_DIR",
    default=folder.default_state,
    help="State folder of the local stack.  [env: BRIDGE_STATE_DIR]",
)


allow_endpoint = click.option(
    "--allow-endpoint",
    "endpoint",
    metavar="URL",
    help="Take this address, at which AWS_ENDPOINT_URL leads elsewhere than into the account.",
)


def on_a_stack[F: Callable[..., Any]](command: F) -> F:
    """Adds the options that choose the stack; the command gets an `Operations`."""
    for option in (
        with_state_dir,
        click.option(
            "--stack",
            metavar="NAME",
            help="A stack deployed into the AWS account of your usual credentials, instead of the local one.",
        ),
    ):
        command = option(command)
    return command


def operations_on(state_dir: Path, stack: str | None) -> Operations:
    """What works on the chosen stack. Raises BridgeError where there is none."""
    return Operations(target.deployed(stack) if stack else target.local(StateFolder(state_dir).read_stack()))


class StackCommand(click.Command):
    """A command whose AWS errors are shown in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with at_work("Asking the stack"):
                return super().invoke(ctx)
        except (BotoCoreError, ClientError, HelpdeskError) as error:
            raise BridgeError(str(error)) from error


@click.command(cls=StackCommand)
@on_a_stack
@_as_json
def parked(state_dir: Path, stack: str | None, as_json: bool) -> None:
    """List what waits in the dead-letter queue, grouped by the reason. Nothing is taken away.

    \b
    Example:
      bridge parked
      bridge parked --stack ticket-bridge --json
    """
    listing = operations_on(state_dir, stack).parked()
    copies = listing.copies
    if listing.hidden:
        click.echo(listing.hidden, err=True)
    if as_json:
        for copy in copies:
            click.echo(_as_object(copy))
        return
    if not listing.about:
        click.echo("Nothing is parked.")
    for code, count in Counter(copy.code for copy in copies).most_common():
        click.echo(plain(f"{count:6}  {code}"))
        for copy in [copy for copy in copies if copy.code == code][:5]:
            click.echo(f"        {_line(copy)}")
        if count > 5:
            click.echo(f"        … and {count - 5} more (--json lists all)")


@click.command(cls=StackCommand)
@on_a_stack
@click.option("--code", help="Only those parked for this reason.")
@click.option("--source", help="Only those of this source.")
@click.option("--request-id", help="Only this one.")
@click.option("--all", "everything", is_flag=True, help="Whatever is parked.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent again, and send nothing.")
@_as_json
def redrive(
    state_dir: Path,
    stack: str | None,
    code: str | None,
    source: str | None,
    request_id: str | None,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send parked requests through the queue again, by the same ledger and the same budget.

    One parked as outcome_unknown may have made its ticket: look at the helpdesk before you redrive it.

    \b
    Example:
      bridge redrive --code expired --dry-run
      bridge redrive --request-id order-1001
    """
    if not (code or source or request_id or everything):
        raise click.UsageError("say which: --code, --source, --request-id, or --all")
    sent: list[ParkedCopy] = []

    def report(copy: ParkedCopy) -> None:
        sent.append(copy)
        click.echo(_as_object(copy) if as_json else _line(copy))

    selection = Selection(code, source, request_id)
    listing = operations_on(state_dir, stack).redrive(selection, report=report, dry_run=dry_run)
    if listing.hidden:
        click.echo(listing.hidden, err=True)
    if as_json:
        return
    click.echo(f"{len(sent)} {'would be sent' if dry_run else 'sent'} again.")


@click.command(cls=StackCommand)
@on_a_stack
@_of_a_helpdesk
@_gate_as_json
def pause(state_dir: Path, stack: str | None, helpdesk: str | None, as_json: bool) -> None:
    """Stop calling a helpdesk. Requests are still accepted, and wait.

    \b
    Example:
      bridge pause
      bridge pause --helpdesk socialboards
    """
    operations = operations_on(state_dir, stack)
    helpdesk = helpdesk or operations.helpdesks[0]
    operations.gate(helpdesk).pause()
    if as_json:
        click.echo(json.dumps({"helpdesk": helpdesk, "paused": True}))
        return
    others = [name for name in operations.helpdesks if name != helpdesk]
    rest = f" {' and '.join(others)} is called as before." if others else ""
    click.echo(
        f"{helpdesk} is paused: its requests wait.{rest} Go on with: bridge resume --helpdesk {helpdesk}"
    )


@click.command(cls=StackCommand)
@on_a_stack
@_of_a_helpdesk
@_gate_as_json
def resume(state_dir: Path, stack: str | None, helpdesk: str | None, as_json: bool) -> None:
    """Call a helpdesk again: takes a pause back, and opens a gate that has closed by itself.

    \b
    Example:
      bridge resume
      bridge resume --helpdesk socialboards
    """
    operations = operations_on(state_dir, stack)
    helpdesk = helpdesk or operations.helpdesks[0]
    operations.gate(helpdesk).resume()
    if as_json:
        click.echo(json.dumps({"helpdesk": helpdesk, "paused": False}))
        return
    click.echo(f"{helpdesk} is called again. Waiting requests come back within 15 minutes.")


@click.command(cls=StackCommand)
@on_a_stack
@click.option("--json", "as_json", is_flag=True, help="One object; times in seconds.")
@click.argument("request_id")
def trace(state_dir: Path, stack: str | None, as_json: bool, request_id: str) -> None:
    """Tell the story of a request: where it stands, and each step that led there. Times are UTC.

    \b
    Example:
      bridge trace order-1001
    """
    story = operations_on(state_dir, stack).trace(request_id)
    if as_json:
        click.echo(json.dumps({"request_id": request_id, **asdict(story)}))
        return
    where = f" at {story.helpdesk}" if story.helpdesk else ""
    click.echo(plain(f"{request_id}{where}: {story.stands}"))
    for step in story.steps:
        click.echo(plain(f"  {clock_time(step.at)}  {step.text}"))
    if story.steps:
        click.echo(f"The last step was {age(story.steps[-1].at)} ago.")


COMMANDS = (parked, redrive, pause, resume, trace)


def _as_object(copy: ParkedCopy) -> str:
    return json.dumps({**copy.attributes, "body": copy.body})


def _line(copy: ParkedCopy) -> str:
    known = copy.attributes
    what = " ".join(filter(None, (known.get("operation"), copy.request_id)))
    return plain(
        f"{what}  {copy.code}  from {copy.source or 'unknown'}, attempts {known.get('attempts', '0')}"
    )
