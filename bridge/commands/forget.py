"""The command `bridge forget`: finds and removes what a stack holds of a person, a request or a ticket."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from bridge.commands.operate import TalkingCommand, on_a_stack, operations_on
from bridge.local import folder
from bridge.operating.forget import Forgetting, Report
from bridge.operating.person import Subject
from bridge.plain import plain
from bridge.progress import at_work


@click.command(cls=TalkingCommand)
@on_a_stack
@click.option("--email", metavar="ADDRESS", help="Of a person, in capitals or not.")
@click.option("--request-id", metavar="ID", help="One request.")
@click.option("--ticket", "ticket_id", metavar="ID", help="All requests about a ticket.")
@click.option("--helpdesk", help="Of the ticket.  [default: the first that the stack serves]")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look for files here too, for example beside CSV files. May be given more than once.",
)
@click.option("--yes", is_flag=True, help="Remove without a question.")
@click.option(
    "--json", "as_json", is_flag=True, help="One object: what is removed, stays, and lies elsewhere."
)
def forget(
    state_dir: Path,
    stack: str | None,
    email: str | None,
    request_id: str | None,
    ticket_id: str | None,
    helpdesk: str | None,
    folders: tuple[Path, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Find what the stack holds of a person, a request or a ticket; when you agree, remove it.

    It looks into both queues, the ledger and your folder. Your files are named only, as is what lies
    elsewhere. A request that waits in the queue is removed from it: it gets neither ticket nor outcome. The
    queue shows only what is not hidden, so look again when the report names hidden messages.

    \b
    Example:
      bridge forget --email ann@example.com
      bridge forget --ticket 713516551148 --yes --json
    """
    if sum(value is not None for value in (email, request_id, ticket_id)) != 1:
        raise click.UsageError("say whom or what: --email, --request-id, or --ticket")
    operations = operations_on(state_dir, stack)
    own, of_local = folder.found(), operations.target.state_folder
    places = [*([own.root] if own else []), *([Path(of_local)] if of_local else []), *folders]
    subject = Subject(
        email,
        ticket_id,
        (helpdesk or operations.helpdesks[0]) if ticket_id else None,
        {request_id} if request_id else set(),
    )

    def run(*, dry_run: bool) -> Report:
        looked_for = replace(subject, request_ids=set(subject.request_ids))
        with at_work("Looking" if dry_run else "Removing"):
            return Forgetting(operations, looked_for, places, dry_run=dry_run).run()

    report, is_done = run(dry_run=True), False
    if report.removed:
        if not yes and not as_json:
            _show(report, "Would be removed")
        if not yes and sys.stdin.isatty():
            click.confirm("Remove this?", abort=True, err=True)
            yes = True
        if yes:
            report, is_done = run(dry_run=False), True
        else:
            click.echo("Nothing is removed: add --yes.", err=True)
    if as_json:
        click.echo(json.dumps({"done": is_done, **asdict(report)}))
    elif is_done or not report.removed:
        _show(report, "Removed" if is_done else "Found to remove")


def _show(report: Report, heading: str) -> None:
    for name, lines in (
        (heading, report.removed or ["nothing"]),
        ("Stays in the stack", report.stays),
        ("Lies elsewhere, and is yours to remove", report.elsewhere),
    ):
        if lines:
            click.echo(f"{name}:")
        for line in lines:
            click.echo(plain(f"  {line}"))


COMMANDS = (forget,)
