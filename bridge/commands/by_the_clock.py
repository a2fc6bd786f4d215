"""Commands about what runs by the clock: the audits of days, and recurring requests."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from bridge.commands.operate import StackCommand, announce, on_a_stack, operations_on, stack_option
from bridge.generate.schedules import in_words, read_all
from bridge.local import folder
from bridge.plain import plain
from bridge.stacks import target

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.generate.schedules import Schedule
    from helpdesk.store.audits import AuditReport

_REPORTS_SHOWN = 14
_DISCREPANCIES = {
    "missing": "it was added, and the helpdesk shows it no more",
    "not_in_ledger": "it carries a marker of ours that no request has",
    "added_twice": "it carries the marker of a request whose ticket is another",
    "added_though_ended": "its request was rejected or parked, and there is a ticket all the same",
}


@click.command(cls=StackCommand)
@on_a_stack
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="One day, instead of the last two weeks.",
)
@click.option("--json", "as_json", is_flag=True, help="One object for each day.")
def audit(state_dir: Path, stack: str | None, day: datetime | None, as_json: bool) -> None:
    """Show each day's audit: what came in, and what became of it.

    It names where the helpdesk does not agree. The status is 1 where there is such a discrepancy.

    \b
    Example:
      bridge audit
      bridge audit --day 2026-11-20 --stack ticket-bridge
    """
    last = day.date() if day else datetime.now(UTC).date() + timedelta(days=1)
    reports = operations_on(state_dir, stack).audits(last, 1 if day else _REPORTS_SHOWN)
    if as_json:
        for report in reports:
            click.echo(json.dumps(asdict(report)))
    elif reports:
        _show_reports(reports)
    else:
        click.echo("No day is audited yet. A day is audited some hours after it has ended at the helpdesk.")
    if not all(report.is_clean for report in reports):
        raise click.exceptions.Exit(1)


def _show_reports(reports: list[AuditReport]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("day", "helpdesk", "source"):
        table.add_column(name)
    for name in ("in", "added", "updated", "rejected", "parked", "open"):
        table.add_column(name, justify="right")
    table.add_column("")
    for report in reports:
        verdict = "clean" if report.is_clean else f"discrepancies: {report.discrepancy_count}"
        rows = [(source, *map(str, asdict(tally).values())) for source, tally in report.sources.items()]
        for place, row in enumerate(rows or [("nothing came in", *"000000")]):
            first = (report.day, report.helpdesk) if place == 0 else ("", "")
            table.add_row(*first, *row, verdict if place == 0 else "")
    Console().print(table)
    for report in reports:
        for discrepancy in report.discrepancies:
            request = f"request {discrepancy.request_id}" if discrepancy.request_id else "no request"
            ticket = f"{report.day}  {report.helpdesk} ticket {discrepancy.ticket_id}"
            click.echo(plain(f"{ticket}, {request}: {_DISCREPANCIES[discrepancy.what]}"))


@click.command(cls=StackCommand)
@stack_option("Compare with what is deployed in your AWS account.")
@click.option("--json", "as_json", is_flag=True, help="One object for each schedule.")
def schedules(stack: str | None, as_json: bool) -> None:
    """Show the recurring requests, and when they come next.

    They are the files in `schedules` of your folder.

    \b
    Example:
      bridge schedules
      bridge schedules --stack ticket-bridge
    """
    deployed = target.deployed(stack) if stack else None
    if deployed:
        announce(deployed)
    by_name = read_all(folder.current().schedules)
    if not by_name and not as_json:
        click.echo("There are none: put files into schedules/.")
    for name, schedule in by_name.items():
        state = _state_of(deployed, name, schedule)
        times = schedule.next_times(datetime.now(UTC), 3)
        if as_json:
            shown = {"name": name, "state": state, "schedule": schedule.schedule, "zone": schedule.zone.key}
            click.echo(json.dumps(shown | {"next": [moment.isoformat() for moment in times]}))
            continue
        click.echo(f"{name}  {state}  {schedule.description}")
        click.echo(f"    {schedule.schedule} {schedule.zone}; {in_words(schedule, times)}")


def _state_of(deployed: target.Target | None, name: str, schedule: Schedule) -> str:
    state = "enabled" if schedule.enabled else "disabled"
    if deployed is None:
        return state
    running = deployed.schedule(f"{deployed.name}-{name}")
    if running is None:
        return "not deployed"
    same = running == (state.upper(), schedule.schedule, schedule.zone.key)
    return state if same else "deployed otherwise: deploy again"


COMMANDS = (audit, schedules)
