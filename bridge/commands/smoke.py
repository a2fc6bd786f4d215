"""The command `bridge smoke`: tries a deployed stack from end to end."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from botocore.exceptions import BotoCoreError, ClientError

from bridge import consent
from bridge.checks import batched_writes
from bridge.checks.smoke import CHECKS, MANY, Smoke, run
from bridge.commands.doctor import examined_at
from bridge.commands.operate import TalkingCommand, allow_endpoint, with_state_dir
from bridge.errors import BridgeError
from bridge.local import folder
from bridge.plain import plain
from bridge.progress import at_work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.stacks.target import Target

_NOT_TRIED = "Not tried: a second stack in the account, and the removal of one."


@click.command(cls=TalkingCommand)
@click.argument("stage", required=False)
@click.option(
    "--only", "selected", multiple=True, type=click.Choice(list(CHECKS)), help="This check; may be repeated."
)
@click.option("--bench", is_flag=True, help="Only measure conditional writes in batches, in their own table.")
@consent.assume_yes
@click.option("--json", "as_json", is_flag=True, help="One object, to keep as a report.")
@allow_endpoint
@with_state_dir
def smoke(
    stage: str | None,
    selected: Sequence[str],
    bench: bool,
    yes: bool,
    as_json: bool,
    endpoint: str | None,
    state_dir: Path,
) -> None:
    """Try a deployed stack from end to end, with test tickets.

    STAGE is one of bridge.toml, by default the only one. Each way in is tried, a deployment, a pause, and
    what is parked. It makes about 60 test tickets at the helpdesk, which stay there, and publishes their
    outcomes and those of 50 invalid requests to all subscribers. Requests of others wait for some seconds
    while it pauses. Alarms may be raised for parked requests. Your forms' samples become tickets with the
    addresses in them. Everything else that it makes it takes away, and it sets back the one value that it
    changes. In AWS it takes about fifteen minutes and costs some cents. It may be repeated at any time. The
    status is 0 where nothing failed.

    \b
    Example:
      bridge smoke prod
      bridge smoke local --only bus --only refusals
      bridge smoke prod --bench
    """
    own = folder.current()
    with at_work("Asking the stack"):
        name, local, stack = examined_at(stage, state_dir, endpoint)
    if bench:
        _bench(stack.target, as_json)
        return
    if not (yes or local):
        consent.ask(
            f"This makes about {MANY + 10} test tickets at {stack.target.helpdesks[0]}, which stay there,"
            f" deploys {stack.target.name} twice, pauses it for some seconds, and publishes about 160"
            " outcomes. Go on?",
            "Nothing was tried.",
        )
    trial = Smoke(stack, own, local, f"smoke-{secrets.token_hex(4)}")
    results = []
    for check in selected or CHECKS:
        with at_work(f"Trying {check}"):
            results.append(run(trial, check))
        last = results[-1]
        line = f"{last.state:8} {check:13} {last.seconds:6.1f} s  {last.said}"
        click.echo(plain(line), err=as_json)
    if as_json:
        report = {
            "stack": stack.target.name,
            "region": stack.target.session.region_name,
            "stage": name,
            "run": trial.run,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "checks": [asdict(result) for result in results],
        }
        click.echo(json.dumps(report))
    else:
        click.echo(f"{len(trial.made)} tickets stay at the helpdesk, from {trial.run}. {_NOT_TRIED}")
    if any(result.state == "failed" for result in results):
        raise click.exceptions.Exit(1)


def _bench(measured: Target, as_json: bool) -> None:
    try:
        with at_work("Measuring"):
            shown = batched_writes.measure(measured)
    except (BotoCoreError, ClientError) as error:
        raise BridgeError(f"The measurement ended: {error}") from error
    for line in [json.dumps(asdict(shown))] if as_json else batched_writes.lines(shown):
        click.echo(line)
    if shown.problems:
        raise click.exceptions.Exit(1)
