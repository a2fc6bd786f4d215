"""The command `bridge remove`: takes a stack out of an account, and says what stays there."""

from __future__ import annotations

import click

from bridge.commands.operate import StackCommand, allow_endpoint
from bridge.errors import BridgeError
from bridge.local import folder
from bridge.plain import plain
from bridge.progress import at_work
from bridge.stacks import removal, target


@click.command(cls=StackCommand)
@click.argument("stage", required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask, for CI.")
@allow_endpoint
def remove(stage: str | None, yes: bool, endpoint: str | None) -> None:
    """Remove the stack of a STAGE of bridge.toml, after showing what goes and what stays.

    Queues, table and secrets stay in the account with what they hold. It prints the commands by which you
    delete them when you no longer need them. A later `bridge deploy` of the same name makes new ones beside
    them. The stage `local` is taken down by `bridge down`.

    \b
    Example:
      bridge remove test
    """
    name, described = folder.current().config().stage(stage)
    if name == folder.LOCAL:
        raise BridgeError("The local stack is taken down, with all that it holds, by: bridge down")
    session = target.account(name, described, endpoint)
    formation = session.client("cloudformation")
    planned = removal.read(formation, described.stack)
    profile = f" --profile {described.profile}" if described.profile else ""
    click.echo(plain(f"{described.stack} in {session.region_name}"))
    for line in planned.lines(f"--region {session.region_name}{profile}"):
        click.echo(plain(f"  {line}"))
    held = removal.contents(target.deployed(described.stack, session)) if planned.was_deployed else None
    for line in held.lines() if held else ["holds    nothing: its first deployment was never finished"]:
        click.echo(f"  {line}")
    click.echo(
        f"A later deployment of {described.stack} makes new queues, a new table and new secrets, unless you"
        "\nimport those that stay first: it knows no request, ticket or marker of before."
    )
    if not (yes or click.confirm("Remove it?", err=True)):
        click.echo("Nothing was changed.")
        return
    with at_work("Removing"):
        removal.execute(formation, planned)
    click.echo(f"{described.stack} is removed. What stays is listed above.")


COMMANDS = (remove,)
