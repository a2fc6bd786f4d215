"""`bridge deploy` and `bridge remove`: show what would change or go, ask, and carry it out."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from botocore.exceptions import BotoCoreError, ClientError

from bridge import consent
from bridge.aws import AwsClients
from bridge.checks import folder as folder_checks
from bridge.commands.operate import TalkingCommand, allow_endpoint, with_state_dir
from bridge.errors import BridgeError
from bridge.generate import form_files, releases, sources
from bridge.local import emulator, emulator_gaps, folder
from bridge.local.helpdesks import HELPDESKS
from bridge.local.sam import Site
from bridge.local.state import StateFolder
from bridge.operating import removal
from bridge.plain import plain, plain_lines
from bridge.progress import at_work
from bridge.sending.form_signing import needs_secret
from bridge.stacks import deployment, local_stack, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bridge.learning.facts import Learnt
    from bridge.local.folder import Folder, Stage
    from bridge.stacks.deployment import Plan

ARCHITECTURE = "Architecture"
_NOT_DEPLOYED = "Nothing was deployed."


@dataclass(frozen=True)
class _Reached:
    """A stage's stack, and what is sent to it."""

    site: Site
    state: StateFolder
    aws: AwsClients
    running: Mapping[str, str] | None
    # The release that runs, if any.
    release: str | None
    parameters: Mapping[str, str]
    # The parameters whose value `bridge learn` has proposed, each with what was learnt.
    learnt: Mapping[str, Learnt]

    def has_secret(self, name: str) -> bool:
        """Whether there is a secret of that name, as far as these credentials may look."""
        try:
            self.aws.secretsmanager.describe_secret(SecretId=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ResourceNotFoundException", "AccessDeniedException"):
                return False
            raise
        return True


@click.command()
@click.argument("stage", required=False)
@consent.only_shows("--plan", "--dry-run")
@consent.assume_yes
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter this time, whatever bridge.toml says; may be repeated.",
)
@click.option(
    "--allow-loss",
    "allowed",
    multiple=True,
    metavar="RESOURCE",
    help="Let this queue, table or secret be replaced or removed, by its name in the change set.",
)
@allow_endpoint
@with_state_dir
def deploy(
    stage: str | None,
    dry_run: bool,
    yes: bool,
    given: Sequence[str],
    allowed: Sequence[str],
    endpoint: str | None,
    state_dir: Path,
) -> None:
    """Show what would change and, when you agree, deploy this folder.

    STAGE is one of bridge.toml, by default the only one. Where neither bridge.toml nor --set says a value,
    what `bridge learn` has learnt from the same helpdesk is used; what nobody says keeps the value that
    runs. A change that would replace or remove a queue, a table or a secret is refused unless --allow-loss
    names it. To ask CloudFormation what would change, what was built is uploaded into the SAM CLI's own
    bucket, with --plan too. The stage `local` is the stack of `bridge up`. The status is 0 where all is
    done, or where nothing was to do.

    \b
    Example:
      bridge deploy --plan
      bridge deploy prod
      bridge deploy local --set KaptureBudget=600 --yes
    """
    own = folder.current()
    name, described = own.stage(stage)
    with _errors_of_aws():
        reached = _reach(own, name, described, _named(given), endpoint, state_dir)
        if wrong := folder_checks.wrong_parameters(reached.parameters, reached.running):
            raise BridgeError("\n".join(wrong))
        with reached.state.locked():
            with at_work("Building"):
                template = sources.assemble(own, reached.state.root / "source")
                deployment.build(reached.state, reached.site, template)
            with at_work("Asking CloudFormation what would change"):
                formation = reached.aws.cloudformation
                planned = deployment.plan(reached.state, reached.site, formation, reached.parameters)
            _show(reached, planned)
            if _goes_on(reached, planned, dry_run=dry_run, yes=yes, allowed=allowed):
                with at_work("Deploying"):
                    deployment.execute(formation, reached.site, planned)
                _say_what_comes_next(own, name, reached, planned)


def _goes_on(reached: _Reached, planned: Plan, *, dry_run: bool, yes: bool, allowed: Sequence[str]) -> bool:
    """Whether the plan is carried out; one that is not is discarded. Raises BridgeError for a loss."""
    if planned.is_empty:
        return False
    with ExitStack() as unless_agreed:
        unless_agreed.callback(deployment.discard, reached.aws.cloudformation, reached.site, planned)
        if losses := planned.losses(allowed):
            flags = " ".join(f"--allow-loss {change.name}" for change in losses)
            what = ", ".join(f"the {change.precious} {change.name}" for change in losses)
            raise BridgeError(f"Refused: {what} would be lost. If that is meant: {flags}")
        if not dry_run:
            if not yes:
                consent.ask("Deploy this?", _NOT_DEPLOYED)
            unless_agreed.pop_all()
            return True
    click.echo(_NOT_DEPLOYED)
    return False


def _reach(
    own: Folder, name: str, stage: Stage, given: dict[str, str], endpoint: str | None, state_dir: Path
) -> _Reached:
    if name == folder.LOCAL:
        state = StateFolder(state_dir)
        aws: AwsClients = emulator.Clients(state.read_stack().endpoint_url)
        site = local_stack.local_site(str(aws.endpoint_url))
        parameters = local_stack.settings_of(own) | given
        running = deployment.running_parameters(aws.cloudformation, site.stack)
        release = deployment.running_release(aws.cloudformation, site.stack)
        return _Reached(site, state, aws, running, release, parameters, {})
    session = target.account(name, stage, endpoint)
    aws = AwsClients(session)
    formation = aws.cloudformation
    running = deployment.running_parameters(formation, stage.stack)
    parameters = own.config().parameters_of(stage) | given
    parameters, learnt = folder_checks.with_learnt(own, parameters, running)
    default = str(sources.parameters()[ARCHITECTURE]["Default"])
    architecture = parameters.get(ARCHITECTURE) or (running or {}).get(ARCHITECTURE) or default
    site = Site(stage.stack, session.region_name, architecture, stage.profile)
    release = None
    if running is not None:
        deployment.check_can_change(formation, site)
        release = deployment.running_release(formation, stage.stack)
    state = StateFolder(own.state / f"stage-{name}")
    return _Reached(site, state, aws, running, release, parameters, learnt)


def _named(given: Sequence[str]) -> dict[str, str]:
    pairs = [argument.partition("=") for argument in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.UsageError(f"--set wants NAME=VALUE, and not {', '.join(wrong)}")
    return {name: value for name, _, value in pairs}


def _show(reached: _Reached, planned: Plan) -> None:
    site = reached.site
    what = "a new stack" if planned.is_new else f"an update{_of_release(reached.release)}"
    address = str(reached.aws.cloudformation.meta.endpoint_url)
    elsewhere = f" at {address}" if target.is_elsewhere(address) else ""
    click.echo(plain(f"{site.stack} in {site.region}{elsewhere}: {what}"))
    if planned.is_empty:
        click.echo("  Nothing would change.")
    for line in planned.lines():
        click.echo(plain(f"  {line}"))
    for name, origin in reached.learnt.items():
        day = f"{origin.learnt_at:%Y-%m-%d}"
        click.echo(
            plain(f"  learnt on {day}: {name}={reached.parameters[name]}, since {origin.settings[name].why}")
        )
    defaults = {name: str(about.get("Default", "")) for name, about in sources.parameters().items()}
    named = {*reached.parameters, ARCHITECTURE}
    if site.endpoint_url:
        named |= {desk.url_parameter for desk in HELPDESKS}
    kept = {
        name: value
        for name, value in (reached.running or {}).items()
        if name not in named and value != defaults.get(name, value)
    }
    if kept:
        values = ", ".join(f"{name}={value}" for name, value in kept.items())
        click.echo(plain(f"  kept as it runs, since {folder.NAME} does not say it: {values}"))
    if reached.release:
        changelog = releases.CHANGELOG.read_text()
        for line in releases.upgrade_lines(
            reached.release, releases.installed(), [*reached.parameters], changelog
        ):
            click.echo(plain(f"  {line}"))


def _of_release(running: str | None) -> str:
    coming = releases.installed()
    return "" if running in (None, coming) else f" from release {running} to {coming}"


def _say_what_comes_next(own: Folder, name: str, reached: _Reached, planned: Plan) -> None:
    if name == folder.LOCAL:
        emulator_gaps.fill(reached.aws, reached.site.stack)
    click.echo(f"{reached.site.stack} is {'made' if planned.is_new else 'updated'}.")
    if name == folder.LOCAL:
        return
    outputs = target.outputs_of(reached.aws.cloudformation, reached.site.stack)
    steps = [*next_steps(own, reached.site, planned, reached.running, outputs, reached.has_secret)]
    if steps:
        click.echo("Next:")
    for step in steps:
        click.echo(f"  {step}")


def next_steps(
    own: Folder,
    site: Site,
    planned: Plan,
    running: Mapping[str, str] | None,
    outputs: Mapping[str, str],
    has_secret: Callable[[str], bool],
) -> Iterator[str]:
    """What a person still has to do: for a new stack, for a helpdesk or a form that is new in it."""
    options = " ".join(site.place)
    served = {*(running or {}).get("Helpdesks", "").split(",")}
    for desk in HELPDESKS:
        if desk.name in {*outputs["Helpdesks"].split(",")} - served:
            yield f"{desk.title}'s access:"
            yield (
                f"  aws secretsmanager put-secret-value {options}"
                f" --secret-id {outputs[desk.secret_output]} --secret-string '{desk.secret_shape}'"
            )
    if planned.is_new:
        yield "the API's key:"
        yield f"  aws apigateway get-api-key {options} --include-value --api-key {outputs['ApiKeyId']}"
    for form in map(form_files.read, form_files.files(own.forms)):
        secret = f"{outputs['FormSecretFolder']}/{form.name}"
        lacks_secret = needs_secret(form) and not has_secret(secret)
        if lacks_secret or planned.is_new or planned.changes_code:
            end = "/SECRET" if form.verify == "path" else ""
            yield f"the form {form.name}: {outputs['ApiUrl']}/forms/{form.name}{end}"
        if lacks_secret:
            yield "  its secret, of 16 bytes or more:"
            yield (
                f"  aws secretsmanager create-secret {options} --name {secret}"
                """ --secret-string '{"secrets": ["..."]}'"""
            )
    if planned.is_new:
        yield f"subscribe to the outcomes: {outputs['OutcomesTopicArn']}"
        profile = f"AWS_PROFILE={site.profile} " if site.profile else ""
        yield f"then: AWS_DEFAULT_REGION={site.region} {profile}bridge doctor --stack {site.stack}"


@contextmanager
def _errors_of_aws() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise BridgeError(plain_lines(str(error))) from error


# ── removal ──────────────────────────────────────────────────────────────────────────────────────────────


@click.command(cls=TalkingCommand)
@click.argument("stage", required=False)
@consent.assume_yes
@consent.only_shows()
@allow_endpoint
def remove(stage: str | None, yes: bool, dry_run: bool, endpoint: str | None) -> None:
    """Show what goes and stays and, when you agree, remove a stack.

    STAGE is one of bridge.toml, by default the only one.

    Queues, table and secrets stay in the account with what they hold. It prints the commands by which you
    delete them when you no longer need them. A later `bridge deploy` of the same name makes new ones beside
    them. The stage `local` is taken down by `bridge down`.

    \b
    Example:
      bridge remove test
    """
    name, described = folder.current().stage(stage)
    if name == folder.LOCAL:
        raise BridgeError("The local stack is taken down, with all that it holds, by: bridge down")
    session = target.account(name, described, endpoint)
    formation = session.client("cloudformation")
    with at_work("Asking the stack"):
        planned = removal.read(formation, described.stack)
        deployed = target.deployed(described.stack, session) if planned.was_deployed else None
        held = removal.contents(deployed) if deployed else None
    profile = f" --profile {described.profile}" if described.profile else ""
    click.echo(plain(f"{described.stack} in {session.region_name}"))
    for line in planned.lines(f"--region {session.region_name}{profile}"):
        click.echo(plain(f"  {line}"))
    for line in held.lines() if held else ["holds    nothing: its first deployment was never finished"]:
        click.echo(f"  {line}")
    click.echo(
        f"A later deployment of {described.stack} makes new queues, a new table and new secrets, unless you"
        "\nimport those that stay first: it knows no request, ticket or marker of before."
    )
    if dry_run:
        return
    if not yes:
        consent.ask("Remove it?", "Nothing was changed.")
    with at_work("Removing"):
        removal.execute(formation, planned)
    click.echo(f"{described.stack} is removed. What stays is listed above.")


COMMANDS = (deploy, remove)
