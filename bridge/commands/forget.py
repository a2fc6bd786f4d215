"""The command `bridge forget`: finds and removes what a stack holds of a person, a request or a ticket."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from bridge import consent
from bridge.commands.operate import FOLDER, HELPDESK, TalkingCommand, on_a_stack, operations_on
from bridge.local import folder
from bridge.operating.forget import Forgetting, Report
from bridge.operating.person import Subject
from bridge.plain import plain
from bridge.progress import at_work


@click.command(cls=TalkingCommand)
@on_a_stack
@click.option("--email", metavar="ADDRESS", help="A person, by address; capitals do not matter.")
@click.option("--request-id", metavar="ID", help="One request.")
@click.option("--ticket", "ticket_id", metavar="ID", help="All requests about a ticket.")
@click.option(
    "--helpdesk", type=HELPDESK, help="Whose ticket it is.  [default: the first that the stack serves]"
)
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=FOLDER,
    help="Look for files here too, for example beside CSV files. May be given more than once.",
)
@consent.assume_yes
@consent.only_shows()
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
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show all that a stack holds of a person, and remove it.

    Or of a request, or of a ticket. It is removed when you agree. The command looks into both queues, the
    ledger and your folder. Your files are named only, as is what lies elsewhere. A request that waits in
    the queue is removed from it: it gets neither ticket nor outcome. The queue shows only what is not
    hidden, so look again when the report names hidden messages.

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

    report = run(dry_run=True)
    acts_at_once = yes and not dry_run
    if not (acts_at_once and report.removed):
        _show(report, is_done=False, as_json=as_json)
    if dry_run or not report.removed:
        return
    if not yes:
        consent.ask("Remove this?", "Nothing is removed.")
    _show(run(dry_run=False), is_done=True, as_json=as_json)


def _show(report: Report, *, is_done: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"done": is_done, **asdict(report)}))
        return
    heading = "Removed" if is_done else "Would be removed"
    for name, lines in (
        (heading, report.removed or ["nothing"]),
        ("Stays in the stack", report.stays),
        ("Lies elsewhere, and is yours to remove", report.elsewhere),
    ):
        if lines:
            click.echo(f"{name}:")
        for line in lines:
            click.echo(plain(f"  {line}"))
