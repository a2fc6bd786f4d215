"""Commands of an operator, about the local stack or a deployed one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from bridge import target
from bridge.errors import BridgeError
from bridge.operations import Operations, ParkedCopy, Wanted, age, clock_time
from bridge.progress import at_work
from bridge.schedules import every, read_all
from bridge.state import PROJECT, StateFolder
from helpdesk.errors import HelpdeskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.schedules import Schedule
    from helpdesk.proofs import Proof

_PROOFS_SHOWN = 14
_ODD = {
    "missing": "it was added, and the helpdesk shows it no more",
    "not_in_ledger": "it carries a marker of ours that no request has",
    "added_twice": "it carries the marker of a request whose ticket is another",
    "added_though_ended": "its request was rejected or parked, and there is a ticket all the same",
}

_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One object in a line for each copy, with its body."
)
_of_a_helpdesk = click.option("--helpdesk", default="kapture", show_default=True, help="Which one is meant.")


def _on_a_stack[F: Callable[..., Any]](command: F) -> F:
    """Adds the options that choose the stack; the command gets an `Operations`."""
    for option in (
        click.option(
            "--state-dir",
            type=click.Path(file_okay=False, path_type=Path),
            envvar="BRIDGE_STATE_DIR",
            default=PROJECT / ".bridge",
            help="State folder of the local stack.  [env: BRIDGE_STATE_DIR]",
        ),
        click.option(
            "--stack",
            metavar="NAME",
            help="A stack deployed into the AWS account of your usual credentials, instead of the local one.",
        ),
    ):
        command = option(command)
    return command


def _operations(state_dir: Path, stack: str | None) -> Operations:
    chosen = target.deployed(stack) if stack else target.local(StateFolder(state_dir).read_stack())
    return Operations(chosen)


class _Command(click.Command):
    """A command whose AWS errors are told in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with at_work("Asking the stack"):
                return super().invoke(ctx)
        except (BotoCoreError, ClientError, HelpdeskError) as error:
            raise BridgeError(str(error)) from error


@click.command(cls=_Command)
@_on_a_stack
@_as_json
def parked(state_dir: Path, stack: str | None, as_json: bool) -> None:
    """List what waits in the dead-letter queue, grouped by the reason. Nothing is taken away.

    \b
    Example:
      bridge parked
      bridge parked --stack ticket-bridge --json
    """
    copies = _operations(state_dir, stack).parked()
    if as_json:
        for copy in copies:
            click.echo(_as_object(copy))
        return
    if not copies:
        click.echo("Nothing is parked.")
    for code, count in Counter(copy.code for copy in copies).most_common():
        click.echo(f"{count:6}  {code}")
        for copy in [copy for copy in copies if copy.code == code][:5]:
            click.echo(f"        {_told(copy)}")
        if count > 5:
            click.echo(f"        … and {count - 5} more (--json lists all)")


@click.command(cls=_Command)
@_on_a_stack
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
    count = _operations(state_dir, stack).redrive(
        Wanted(code, source, request_id),
        told=lambda copy: click.echo(_as_object(copy) if as_json else _told(copy)),
        dry_run=dry_run,
    )
    if as_json:
        return
    click.echo(f"{count} {'would be sent' if dry_run else 'sent'} again.")


@click.command(cls=_Command)
@_on_a_stack
@_of_a_helpdesk
def pause(state_dir: Path, stack: str | None, helpdesk: str) -> None:
    """Stop calling a helpdesk. Requests are still accepted, and wait.

    \b
    Example:
      bridge pause
    """
    _operations(state_dir, stack).gate(helpdesk).pause()
    click.echo(f"{helpdesk} is paused: requests wait. Go on with: bridge resume")


@click.command(cls=_Command)
@_on_a_stack
@_of_a_helpdesk
def resume(state_dir: Path, stack: str | None, helpdesk: str) -> None:
    """Call a helpdesk again: takes a pause back, and opens a gate that has closed by itself.

    \b
    Example:
      bridge resume
    """
    _operations(state_dir, stack).gate(helpdesk).resume()
    click.echo(f"{helpdesk} is called again. Waiting requests come back within 15 minutes.")


@click.command(cls=_Command)
@_on_a_stack
@_of_a_helpdesk
@click.option("--json", "as_json", is_flag=True, help="One object; times in seconds since the epoch.")
@click.argument("request_id")
def trace(state_dir: Path, stack: str | None, helpdesk: str, as_json: bool, request_id: str) -> None:
    """Tell the story of a request: where it stands, and each step that led there. Times are UTC.

    \b
    Example:
      bridge trace order-1001
    """
    stands, steps = _operations(state_dir, stack).trace(helpdesk, request_id)
    if as_json:
        told = {"request_id": request_id, "stands": stands, "steps": [asdict(step) for step in steps]}
        click.echo(json.dumps(told))
        return
    click.echo(f"{request_id}: {stands}")
    for step in steps:
        click.echo(f"  {clock_time(step.at)}  {step.text}")
    if steps:
        click.echo(f"The last step was {age(steps[-1].at)} ago.")


@click.command(cls=_Command)
@_on_a_stack
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="One day, instead of the last two weeks.")
@click.option("--json", "as_json", is_flag=True, help="One object for each proof.")
def proof(state_dir: Path, stack: str | None, day: datetime | None, as_json: bool) -> None:
    """Show the proofs of days: what came in, what became of it, and what the helpdesk does not agree with.

    The status is 1 where anything is odd.

    \b
    Example:
      bridge proof
      bridge proof --day 2026-11-20 --stack ticket-bridge
    """
    last = day.date() if day else datetime.now(UTC).date() + timedelta(days=1)
    found = _operations(state_dir, stack).proofs(last, 1 if day else _PROOFS_SHOWN)
    if as_json:
        for one in found:
            click.echo(json.dumps(asdict(one)))
    elif found:
        _show_proofs(found)
    else:
        click.echo("No day is proved yet. A day is proved some hours after it has ended at the helpdesk.")
    if any(not one.is_sound for one in found):
        raise click.exceptions.Exit(1)


def _show_proofs(found: list[Proof]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("day", "helpdesk", "source"):
        table.add_column(name)
    for name in ("in", "added", "updated", "rejected", "parked", "open"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in found:
        said = "sound" if one.is_sound else f"{one.odd_count} odd"
        rows = [(source, *map(str, asdict(tally).values())) for source, tally in one.sources.items()]
        for place, row in enumerate(rows or [("nothing came in", *"000000")]):
            first = (one.day, one.helpdesk) if place == 0 else ("", "")
            table.add_row(*first, *row, said if place == 0 else "")
    Console().print(table)
    for one in found:
        for odd in one.odd:
            request = f"request {odd.request_id}" if odd.request_id else "no request"
            click.echo(f"{one.day}  {one.helpdesk} ticket {odd.ticket_id}, {request}: {_ODD[odd.what]}")


@click.command(cls=_Command)
@click.option("--stack", metavar="NAME", help="Compare with what is deployed in your AWS account.")
@click.option("--json", "as_json", is_flag=True, help="One object for each schedule.")
def schedules(stack: str | None, as_json: bool) -> None:
    """Show the recurring requests of functions/schedules, and when they come next.

    \b
    Example:
      bridge schedules
      bridge schedules --stack ticket-bridge
    """
    deployed = target.deployed(stack) if stack else None
    found = read_all()
    if not found and not as_json:
        click.echo("There are none: put files into functions/schedules.")
    for name, one in found.items():
        state = _state_of(deployed, name, one)
        times = one.next_times(datetime.now(UTC), 3)
        if as_json:
            shown = {"name": name, "state": state, "schedule": one.schedule, "zone": one.zone}
            click.echo(json.dumps(shown | {"next": [moment.isoformat() for moment in times]}))
            continue
        click.echo(f"{name}  {state}  {one.description}")
        told = ", ".join(f"{moment:%a %Y-%m-%d %H:%M}" for moment in times)
        click.echo(f"    {one.schedule} {one.zone}; {told or every(one) or 'never again'}")


def _state_of(deployed: target.Target | None, name: str, one: Schedule) -> str:
    wanted = "enabled" if one.enabled else "disabled"
    if deployed is None:
        return wanted
    found = deployed.schedule(f"{deployed.name}-{name}")
    if found is None:
        return "not deployed"
    same = found == (wanted.upper(), one.schedule, one.zone)
    return wanted if same else "deployed otherwise: deploy again"


COMMANDS = (parked, redrive, pause, resume, trace, proof, schedules)


def _as_object(copy: ParkedCopy) -> str:
    return json.dumps({**copy.attributes, "body": copy.body})


def _told(copy: ParkedCopy) -> str:
    known = copy.attributes
    what = " ".join(filter(None, (known.get("operation"), copy.request_id or "(no request_id)")))
    return f"{what}  {copy.code}  from {copy.source or 'unknown'}, attempts {known.get('attempts', '0')}"
