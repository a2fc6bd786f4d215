"""Commands about what runs by the clock: the proofs of days, and recurring requests."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from bridge.commands.operate import StackCommand, on_a_stack, operations_on
from bridge.generate.schedules import every, read_all
from bridge.plain import plain
from bridge.stacks import target

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.generate.schedules import Schedule
    from helpdesk.store.audits import AuditReport

_PROOFS_SHOWN = 14
_ODD = {
    "missing": "it was added, and the helpdesk shows it no more",
    "not_in_ledger": "it carries a marker of ours that no request has",
    "added_twice": "it carries the marker of a request whose ticket is another",
    "added_though_ended": "its request was rejected or parked, and there is a ticket all the same",
}


@click.command(cls=StackCommand)
@on_a_stack
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
    proofs = operations_on(state_dir, stack).proofs(last, 1 if day else _PROOFS_SHOWN)
    if as_json:
        for proof_of_day in proofs:
            click.echo(json.dumps(asdict(proof_of_day)))
    elif proofs:
        _show_proofs(proofs)
    else:
        click.echo("No day is proved yet. A day is proved some hours after it has ended at the helpdesk.")
    if not all(proof_of_day.is_sound for proof_of_day in proofs):
        raise click.exceptions.Exit(1)


def _show_proofs(proofs: list[AuditReport]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("day", "helpdesk", "source"):
        table.add_column(name)
    for name in ("in", "added", "updated", "rejected", "parked", "open"):
        table.add_column(name, justify="right")
    table.add_column("")
    for proof in proofs:
        verdict = "sound" if proof.is_sound else f"{proof.odd_count} odd"
        rows = [(source, *map(str, asdict(tally).values())) for source, tally in proof.sources.items()]
        for place, row in enumerate(rows or [("nothing came in", *"000000")]):
            first = (proof.day, proof.helpdesk) if place == 0 else ("", "")
            table.add_row(*first, *row, verdict if place == 0 else "")
    Console().print(table)
    for proof in proofs:
        for odd in proof.odd:
            request = f"request {odd.request_id}" if odd.request_id else "no request"
            ticket = f"{proof.day}  {proof.helpdesk} ticket {odd.ticket_id}"
            click.echo(plain(f"{ticket}, {request}: {_ODD[odd.what]}"))


@click.command(cls=StackCommand)
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
    by_name = read_all()
    if not by_name and not as_json:
        click.echo("There are none: put files into functions/schedules.")
    for name, schedule in by_name.items():
        state = _state_of(deployed, name, schedule)
        times = schedule.next_times(datetime.now(UTC), 3)
        if as_json:
            shown = {"name": name, "state": state, "schedule": schedule.schedule, "zone": schedule.zone.key}
            click.echo(json.dumps(shown | {"next": [moment.isoformat() for moment in times]}))
            continue
        click.echo(f"{name}  {state}  {schedule.description}")
        ahead = ", ".join(f"{moment:%a %Y-%m-%d %H:%M}" for moment in times)
        click.echo(f"    {schedule.schedule} {schedule.zone}; {ahead or every(schedule) or 'never again'}")


def _state_of(deployed: target.Target | None, name: str, schedule: Schedule) -> str:
    state = "enabled" if schedule.enabled else "disabled"
    if deployed is None:
        return state
    running = deployed.schedule(f"{deployed.name}-{name}")
    if running is None:
        return "not deployed"
    same = running == (state.upper(), schedule.schedule, schedule.zone.key)
    return state if same else "deployed otherwise: deploy again"


COMMANDS = (proof, schedules)
