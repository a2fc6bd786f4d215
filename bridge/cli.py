"""The `bridge` command: a local Ticket Bridge to play with, to test against and to show."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from botocore.parsers import ResponseParserError

from bridge import consent
from bridge.aws import NotAwsError
from bridge.commands import (
    by_the_clock,
    deploy,
    doctor,
    follow,
    forget,
    learn,
    mapping,
    operate,
    smoke,
)
from bridge.commands import console as console_command
from bridge.commands import folder as folder_commands
from bridge.commands.demo import console, play
from bridge.errors import BridgeError
from bridge.learning import facts
from bridge.local import emulator, folder
from bridge.local.helpdesks import HELPDESKS, Wish
from bridge.local.processes import stop_signals_raise
from bridge.local.state import PROJECT, StateFolder
from bridge.operating.operations import Operations
from bridge.plain import plain, plain_lines
from bridge.progress import at_work
from bridge.sending import samples
from bridge.sending.bulk import DOUBLE, READY, REFUSED, SENT, WRONG, Bulk, read_map
from bridge.sending.triggers import Triggers
from bridge.stacks import local_stack, outcomes, target
from helpdesk.models import queued

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.local.state import Stack
    from bridge.sending.samples import Sample

INTERRUPTED = 130
# So many rows are shown before a CSV file is sent.
_FIRST_ROWS = 3

_as_json = click.option("--json", "as_json", is_flag=True, help="As stack.json holds it, in one line.")

_enforce_iam = click.option(
    "--enforce-iam",
    is_flag=True,
    help="Let functions do only what their roles in the template allow, as on AWS.",
)

_like = click.option(
    "--like",
    "files",
    multiple=True,
    type=operate.FILE,
    help="File of `bridge learn`: the simulator behaves as that account did. Once for each helpdesk.",
)


_EPILOG = """\b
Exit status:
  0    done
  1    not done, or something was found: the message says what
  2    the command line is wrong
  130  stopped by Ctrl-C

\b
What changes much is shown first, and asked: deploy, remove, redrive, drop, forget, send --csv.
  --yes      do it without asking
  --dry-run  only show it

\b
Completion of commands, options and files by the shell (bash, zsh; fish: | source):
  eval "$(_BRIDGE_COMPLETE=bash_source bridge)"
  eval "$(_BRIDGE_COMPLETE=zsh_source bridge)"
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=_EPILOG
)
@click.version_option(package_name="ticket-bridge", prog_name="ticket-bridge")
def bridge() -> None:
    """Run Ticket Bridge on this machine, without an AWS account or containers, and operate deployed stacks.

    `bridge up` builds and deploys the real template with the SAM CLI onto an AWS emulator, beside simulators
    of the helpdesks. Everything listens on 127.0.0.1 only.

    \b
    Example:
      bridge init mine
      cd mine
      bridge up
      bridge send samples/form_add_contact.json
      bridge outcomes
      bridge down
    """


def _helpdesk_options[F: Callable[..., None]](command: F) -> F:
    """For each helpdesk its address, and the credentials that it wants."""
    for desk in reversed(HELPDESKS):
        for key, default in reversed(list(desk.credentials.items())):
            variable = f"BRIDGE_{desk.name}_{key}".upper()
            command = click.option(
                f"--{desk.name}-{key.replace('_', '-')}",
                metavar=key.rpartition("_")[2].upper(),
                envvar=variable,
                help=f"Goes into the secret, and is what the simulator accepts.  [env: {variable};"
                f" default: {default}]",
            )(command)
        command = click.option(
            f"--{desk.name}-url",
            metavar="URL",
            help=f"Use this {desk.title} server and start no simulator.",
        )(command)
    return command


@bridge.command()
@operate.with_state_dir
@_helpdesk_options
@_like
@_enforce_iam
@_as_json
def up(
    state_dir: Path, *, files: tuple[Path, ...], enforce_iam: bool, as_json: bool, **wished: str | None
) -> None:
    """Start the local stack, or deploy again onto the one that runs.

    Writes stack.json into the state folder: every address, name and key that a tool needs.

    \b
    Example:
      bridge up
      bridge up --kapture-url http://127.0.0.1:8080 --kapture-token secret
      bridge up --like helpdesk.kapture.json
    """
    state = StateFolder(state_dir)
    wishes = {
        desk.name: Wish(
            wished[desk.url_key],
            {key: value for key in desk.credentials if (value := wished[f"{desk.name}_{key}"])},
        )
        for desk in HELPDESKS
    }
    started = local_stack.up(
        state,
        wishes=wishes,
        enforce_iam=enforce_iam,
        like=[facts.read(file) for file in files],
        report=lambda step: click.echo(step, err=as_json),
    )
    click.echo(err=as_json)
    _describe(state, started, as_json=as_json)


@bridge.command()
@operate.with_state_dir
@click.option("--json", "as_json", is_flag=True, help="One object: what was stopped.")
def down(state_dir: Path, as_json: bool) -> None:
    """Stop everything that `bridge up` started, also after a crash.

    The status is 0 where nothing ran.

    \b
    Example:
      bridge down
    """
    with at_work("Stopping"):
        stopped = local_stack.down(StateFolder(state_dir))
    if as_json:
        click.echo(json.dumps({"stopped": stopped}))
        return
    click.echo(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was running.")


@bridge.command(cls=operate.StackCommand)
@operate.with_state_dir
@_as_json
def status(state_dir: Path, as_json: bool) -> None:
    """Show what runs on this machine and where it answers.

    The status is 1 where no stack runs. How a deployed stack is: bridge doctor --stack NAME.

    \b
    Example:
      bridge status
    """
    state = StateFolder(state_dir)
    running = state.read_stack()
    operations = Operations(target.local(running, state_dir))
    # Also where a variable names a deployed one.
    operate.announce(operations.target)
    _describe(state, running, as_json=as_json)
    if not as_json:
        for outage in operations.outages():
            is_only = len(operations.helpdesks) == 1
            click.echo(outage.sentence(operations.waiting(), is_only=is_only))
        for sentence in operations.refused_keys():
            click.echo(sentence)


@bridge.command()
@operate.with_state_dir
def env(state_dir: Path) -> None:
    """Print the local stack's addresses as variables for a shell.

    They hold all that AWS tools need to reach it, credentials too.

    \b
    Example:
      eval "$(bridge env)"
    """
    running = StateFolder(state_dir).read_stack()
    for name, value in _environment(running).items():
        click.echo(f"export {name}={shlex.quote(value)}")


@bridge.command(cls=operate.TalkingCommand)
@operate.with_state_dir
@click.option("--ticket-id", metavar="ID", help="Stands for every {ticket_id:...} in the files.")
@click.option("--csv", "rows", type=operate.FILE, help="Send each row of this file as a request.")
@click.option(
    "--map",
    "map_file",
    type=operate.FILE,
    help="What a row becomes: a file with the `request` of a form file.",
)
@click.option(
    "--result",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets a line for each row.  [default: FILE.result.csv beside the CSV file]",
)
@operate.stack_option("With --csv: a deployed stack, instead of the local one.", callback=operate.named_stack)
@consent.assume_yes
@consent.only_shows()
@click.option("--json", "as_json", is_flag=True, help="One object for each of FILES; with --csv one in all.")
@click.argument("files", nargs=-1, type=operate.FILE)
def send(
    state_dir: Path,
    ticket_id: str | None,
    rows: Path | None,
    map_file: Path | None,
    result: Path | None,
    stack: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    files: tuple[Path, ...],
) -> None:
    """Send samples and requests, or the rows of a CSV file.

    A sample says in `send` how it is sent: by queue, api, bus, schedule, topic, form or callback. Any other
    file goes to the queue as it is.

    With --csv the first rows are shown as requests, and nothing is sent before you agree. Begun again, it
    sends what was not sent yet. The status is 1 if a row is wrong or was refused; the others are sent.

    \b
    Example:
      bridge send samples/form_add_contact.json
      bridge send request.json
      bridge send --csv orders.csv --map orders.yaml --stack ticket-bridge
    """
    if (rows is None) != (map_file is None) or (rows is None) == (not files):
        raise click.UsageError("name FILES, or --csv together with --map")
    if stack and not rows:
        raise click.UsageError(
            "FILES go to the local stack only: leave out --stack, or say --state-dir instead of"
            f" {target.STACK_VARIABLE}"
        )
    if dry_run and not rows:
        raise click.UsageError("--dry-run is for --csv")
    if rows and map_file:
        result = result or rows.with_name(f"{rows.stem}.result.csv")
        operations = operate.operations_on(state_dir, stack)
        bulk = Bulk(operations, read_map(map_file), rows, result)
        _send_rows(bulk, result, yes=yes, dry_run=dry_run, as_json=as_json)
        return
    running = StateFolder(state_dir).read_stack()
    operate.announce(target.local(running, state_dir))
    triggers = Triggers(running)
    # All are read before the first is sent.
    for sample in [_filled(samples.read(file), ticket_id) for file in files]:
        with at_work(f"Sending {sample.name}"):
            sent = triggers.send(sample.send)
        if as_json:
            click.echo(json.dumps({"name": sample.name, "trigger": sample.send.trigger, **asdict(sent)}))
            continue
        answer = "" if sent.status is None else f"  HTTP {sent.status} {sent.answer}"
        click.echo(f"{sample.name}: sent to the {sample.send.trigger}, request {sent.request_id}{answer}")


def _send_rows(bulk: Bulk, result: Path, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    with at_work("Reading the rows"):
        counts = _show_rows(bulk, quiet=as_json)
    if dry_run:
        sys.exit(1 if counts[WRONG] else 0)
    if counts[READY] and not yes:
        consent.ask(f"Send {counts[READY]} requests?", "Nothing is sent.")
    began = time.monotonic()
    with click.progressbar(
        length=counts.total(),
        label="Sending",
        file=sys.stderr,
        show_pos=True,
        item_show_func=lambda rate: rate,
    ) as bar:
        done = 0

        def progress(rows: int) -> None:
            nonlocal done
            done += rows
            bar.update(rows, f"{done / max(time.monotonic() - began, 0.001):.0f} a second")

        ended = bulk.send(progress)
    if as_json:
        click.echo(json.dumps({"result": str(result), **ended}))
    else:
        click.echo(f"{', '.join(f'{count} {state}' for state, count in sorted(ended.items()))}. See {result}")
    if ended[WRONG] or ended[REFUSED]:
        sys.exit(1)


def _show_rows(bulk: Bulk, *, quiet: bool) -> Counter[str]:
    """Shows the first requests and the first wrong rows; how many rows are in which state."""
    counts: Counter[str] = Counter()
    for row in bulk.rows():
        state = SENT if row.request and bulk.was_sent(row.line) else row.line.state
        counts[state] += 1
        if quiet or counts[state] > _FIRST_ROWS:
            continue
        if state == READY and row.request:
            shown = json.loads(queued(row.request))
            click.echo(plain_lines(json.dumps(shown, indent=2, ensure_ascii=False)))
        elif state != SENT:
            click.echo(plain(f"row {row.line.row} is {state}: {row.line.detail}"))
    words = [f"{counts[SENT]} sent by an earlier run"] if counts[SENT] else []
    words = [f"{counts[state]} {state}" for state in (READY, DOUBLE, WRONG) if counts[state]] + words
    click.echo(f"{counts.total()} rows: {', '.join(words) or 'none'}.", err=quiet)
    return counts


@bridge.command(name="outcomes")
@operate.with_state_dir
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The events as they were published, one in a line.")
def outcomes_command(state_dir: Path, follow: bool, as_json: bool) -> None:
    """Print the outcomes that came since the last time.

    They are those of the local stack, and are taken off its queue. `bridge tail` follows any stack.

    \b
    Example:
      bridge outcomes
      bridge outcomes --follow --json
    """
    running = StateFolder(state_dir).read_stack()
    operate.announce(target.local(running, state_dir))
    queue = outcomes.OutcomesQueue(running)
    for event in queue.read(follow=follow):
        click.echo(json.dumps(event) if as_json else outcomes.line(event))


@bridge.command()
@operate.with_state_dir
@click.option(
    "--events",
    type=operate.FOLDER,
    help="Folder of samples.  [default: all that come with the installation]",
)
@_like
@_enforce_iam
@click.option("--json", "as_json", is_flag=True, help="One object for each sample, instead of the tables.")
def demo(
    state_dir: Path, events: Path | None, files: tuple[Path, ...], enforce_iam: bool, as_json: bool
) -> None:
    """Start a stack, send every sample, show the tickets, stop.

    Each sample's outcome is awaited. A stack that runs already is not touched. The status is 0 only if all
    was as expected.

    \b
    Example:
      bridge demo
    """
    accounts = [facts.read(file) for file in files]
    shown_after_s = max((facts.shown_after_s(account) for account in accounts), default=0.0)
    selected = samples.read_all(*((events,) if events else (PROJECT / "events", folder.EXAMPLES.samples)))
    state = StateFolder(state_dir / "demo")
    with state.locked():
        # What a killed demo has left would hold its tickets.
        local_stack.down(state)
        try:
            started = local_stack.up(
                state,
                enforce_iam=enforce_iam,
                console=False,
                own=folder.EXAMPLES,
                like=accounts,
                report=lambda step: click.echo(step, err=True),
            )
            runs = play(started, selected, None if as_json else console(), shown_after_s)
        finally:
            local_stack.down(state)
    if as_json:
        for run in runs:
            click.echo(json.dumps(run.as_json))
    if failures := [f"  {run.sample.name}: {failure}" for run in runs for failure in run.failures]:
        raise BridgeError("\n".join([f"not as expected (logs: {state.logs}):", *failures]))
    click.echo(f"All {len(selected)} samples went as expected. Logs: {state.logs}", err=as_json)


for command in (
    *operate.COMMANDS,
    *follow.COMMANDS,
    forget.forget,
    *by_the_clock.COMMANDS,
    mapping.map_command,
    console_command.console,
    *folder_commands.COMMANDS,
    *deploy.COMMANDS,
    smoke.smoke,
    learn.learn_command,
    doctor.doctor,
):
    bridge.add_command(command)


def main() -> None:
    """Run the command; what a person can put right is shown as a message, without a stack trace."""
    try:
        with stop_signals_raise():
            # Under this name the shell's completion asks for it, however it was started.
            status = bridge.main(prog_name="bridge", standalone_mode=False)
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BridgeError as error:
        click.echo(f"Error: {plain_lines(str(error))}", err=True)
        sys.exit(1)
    except OSError as error:
        # A full disk, a folder that may not be written to.
        click.echo(f"Error: {error}", err=True)
        # Else Python tries to write the rest once more at its end, and says so in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ResponseParserError:
        click.echo(f"Error: {NotAwsError()}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _filled(sample: Sample, ticket_id: str | None) -> Sample:
    known = {name: {"ticket_id": ticket_id} for name in sample.needs if ticket_id}
    try:
        return sample.filled(known)
    except BridgeError as error:
        raise BridgeError(f"{error}. Give it with --ticket-id.") from error


def _environment(running: Stack) -> dict[str, str]:
    named = {name.upper(): value for name, value in running.as_json().items() if isinstance(value, str)}
    named["AWS_ENDPOINT_URL"] = named.pop("ENDPOINT_URL")
    # Most SDKs read the first, and boto3 the second.
    named["AWS_REGION"] = named["AWS_DEFAULT_REGION"] = named.pop("REGION")
    return named | emulator.CREDENTIALS


def _describe(state: StateFolder, running: Stack, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(running.as_json()))
        return
    here = target.local(running, state.root)
    if running.console_url:
        click.echo(f"console        {running.console_url}")
    click.echo(f"API            {running.api_url}  (x-api-key: {running.api_key})")
    click.echo(f"requests       {running.requests_queue_url}")
    click.echo(f"outcomes       {running.outcomes_queue_url}")
    for desk in HELPDESKS:
        click.echo(f"{desk.title:<15}{running.urls[desk.name]}")
    click.echo(f"everything     {state.stack_file}")
    click.echo(f"logs           {state.logs}")
    click.echo(f'for a shell    eval "$({here.command("env")})"')


if __name__ == "__main__":
    main()
