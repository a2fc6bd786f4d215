"""The command `bridge learn`: finds out how a helpdesk's account behaves, and what to set for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from bridge import consent
from bridge.commands.doctor import examined_at, examined_on
from bridge.commands.operate import FILE, FOLDER, HELPDESK, TalkingCommand, allow_endpoint, with_state_dir
from bridge.errors import BridgeError
from bridge.files import text_of, wrong_fields
from bridge.generate import sources
from bridge.learning import facts
from bridge.learning.learner import LEARNERS, Account, Bounds, learn
from bridge.learning.trial_ticket import TrialTicket
from bridge.local import folder
from bridge.plain import plain
from bridge.progress import at_work
from bridge.stacks import deployment
from helpdesk.clients.markers import OFF
from helpdesk.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.checks.stack import Examined
    from bridge.learning.facts import Learnt, Point


_NOTHING_SENT = "Nothing was sent to the helpdesk."


@click.command(cls=TalkingCommand, name="learn")
@click.argument("stage", required=False)
@click.option(
    "--stack", metavar="NAME", help="A stack in the account of your usual credentials, instead of a STAGE."
)
@click.option("--helpdesk", type=HELPDESK, help="This one only.  [default: each that the stack serves]")
@click.option(
    "--ticket",
    "ticket_file",
    type=FILE,
    help='JSON of fields that a ticket needs at this account: {"requester": {"email": "…"}, "extra": {…}}.',
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 600),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until a new ticket shows.",
)
@click.option(
    "--rate", is_flag=True, help="Read 20 times more, slowly, to see whether there is a rate limit."
)
@click.option(
    "--into",
    type=FOLDER,
    help="Folder of the file.  [default: that of bridge.toml]",
)
@consent.assume_yes
@click.option("--json", "as_json", is_flag=True, help="What the file holds, one object in a line.")
@allow_endpoint
@with_state_dir
def learn_command(
    stage: str | None,
    stack: str | None,
    helpdesk: str | None,
    ticket_file: Path | None,
    wait_s: float,
    rate: bool,
    into: Path | None,
    yes: bool,
    as_json: bool,
    endpoint: str | None,
    state_dir: Path,
) -> None:
    """Find out how your helpdesk's account behaves, and what to set.

    It does so by a few calls and two test tickets. STAGE is one of bridge.toml, by default the only one. It
    says first what it will make, and asks. It writes helpdesk.NAME.json beside bridge.toml: the facts,
    shapes and codes of what was sent and seen, and the settings that follow, which `bridge deploy` then uses.
    No text of a ticket and no key is in it. Run again, it says what has changed. The status is 1 where a
    point stayed unknown.

    \b
    Example:
      bridge learn prod
      bridge learn local --helpdesk kapture --yes
    """
    if stage and stack:
        raise click.UsageError("name a STAGE or --stack, and not both")
    own = folder.found()
    target = into or (own.root if own else Path.cwd())
    bounds = Bounds(wait_s=wait_s, rate=rate, more=_fields_in(ticket_file))
    with at_work("Asking the stack"):
        examined = examined_on(state_dir, stack) if stack else examined_at(stage, state_dir, endpoint)[2]
        accounts = [_account(examined, name) for name in _served(examined, helpdesk)]
    for account in accounts:
        if not yes:
            ask(account, bounds)
    learnt = [_learn(account, bounds, target, as_json=as_json) for account in accounts]
    if any(point.state == "unknown" for result in learnt for point in result.points.values()):
        raise click.exceptions.Exit(1)


def ask(account: Account, bounds: Bounds) -> None:
    """Says what a run will make, and asks. Ends the command where the answer is no."""
    calls = bounds.most_calls(account.helpdesk)
    consent.ask(
        plain(
            f"At {account.helpdesk} ({account.settings.url}) this makes one or two test tickets, which stay"
            " there, changes them and writes one comment, tries a wrong key, and reads the list of today."
            f" It makes at most {calls} calls in at most {bounds.most_s / 60:.0f} minutes; the budget does"
            " not count them. Go on?"
        ),
        _NOTHING_SENT,
    )
    if bounds.rate:
        consent.ask(
            "--rate adds 20 reads, one a second. It ends at the first answer that asks us to wait. Add them?",
            _NOTHING_SENT,
        )


def _learn(account: Account, bounds: Bounds, target: Path, *, as_json: bool) -> Learnt:
    def report(name: str, point: Point) -> None:
        click.echo(plain(f"{point.state:8} {name:18} {point.said}"), err=as_json)

    click.echo(plain(f"{account.helpdesk} at {account.settings.url}"), err=as_json)
    with at_work("Asking the helpdesk"):
        learnt = learn(account, bounds, report)
    file = target / facts.file_name(account.helpdesk)
    before = facts.read(file) if file.exists() else None
    facts.write(file, learnt)
    if as_json:
        click.echo(learnt.model_dump_json())
        return learnt
    for name, proposal in learnt.settings.items():
        runs = account.parameters.get(name)
        state = "as it runs" if runs == proposal.value else f"now {runs or '(empty)'}"
        click.echo(plain(f"setting  {name}={proposal.value} ({state}): {proposal.why}"))
    _say_changes(before, learnt)
    tickets = ", ".join(learnt.tickets) or "none"
    click.echo(plain(f"{file} is written, after {learnt.calls} calls. Test tickets to close: {tickets}"))
    if any(account.parameters.get(name) != proposal.value for name, proposal in learnt.settings.items()):
        click.echo(f"`bridge deploy` uses these settings, except where {folder.NAME} says another value.")
    return learnt


def _say_changes(before: Learnt | None, after: Learnt) -> None:
    if before is None:
        return
    if before.address != after.address:
        click.echo(plain(f"The file was about another account, {before.address}; it is replaced."))
        return
    changes = list(facts.changes(before, after))
    for line in changes:
        click.echo(plain(f"changed  {line}"))
    since = f"{before.learnt_at:%Y-%m-%d}"
    click.echo(
        f"{len(changes)} facts have changed since {since}."
        if changes
        else f"Nothing has changed since {since}."
    )


def _served(stack: Examined, helpdesk: str | None) -> Sequence[str]:
    try:
        served = stack.settings.helpdesks
    except (BotoCoreError, ClientError, SettingsError) as error:
        raise BridgeError(f"The stack's settings cannot be read: {error}") from error
    if helpdesk and helpdesk not in served:
        raise click.UsageError(f"{helpdesk} is not served here: {', '.join(served)}")
    names = (helpdesk,) if helpdesk else served
    for name in names:
        if name not in LEARNERS:
            click.echo(f"{name} cannot be learnt: set its parameters yourself", err=True)
    return [name for name in names if name in LEARNERS]


def _account(stack: Examined, helpdesk: Any) -> Account:
    """The account as the stack has it. Raises what botocore raises."""
    settings = stack.settings
    configured = settings.accounts[helpdesk]
    secret = stack.target.secretsmanager.get_secret_value(SecretId=configured.secret_arn)["SecretString"]
    formation = stack.target.cloudformation
    return Account(
        helpdesk=helpdesk,
        settings=configured,
        secret=secret,
        parameters=deployment.running_parameters(formation, stack.target.name) or {},
        defaults={name: str(about.get("Default", "")) for name, about in sources.parameters().items()},
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def _fields_in(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        fields = json.loads(text_of(file))
    except ValueError as error:
        raise BridgeError(f"{file}: is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BridgeError(f"{file}: must be an object of a ticket's fields")
    try:
        _ = TrialTicket(OFF, fields).ticket
    except ValidationError as error:
        raise BridgeError("\n".join(f"{file}: {problem}" for problem in wrong_fields(error))) from error
    return fields
