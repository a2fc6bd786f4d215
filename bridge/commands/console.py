"""The command `bridge console`: serves the page in the foreground, for the local or a deployed stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge.commands.operate import announce, on_a_stack
from bridge.local.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.console.connection import Connection


@click.command(name="console")
@on_a_stack
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port of 127.0.0.1.  [default: a free one]",
)
def console(state_dir: Path, stack: str | None, port: int) -> None:
    """Serve a page that shows the stack at work, until Ctrl-C.

    It answers on this machine only, and may do what your credentials may do. In a deployed stack it creates
    nothing: it reads the results of requests from the functions' logs. `bridge up` serves the same page for
    the local stack.

    \b
    Example:
      bridge console --stack ticket-bridge
    """
    # They need aiohttp, which no other command does.
    from bridge.console.connection import DeployedConnection, LocalConnection
    from bridge.console.server import serve
    from bridge.console.view import Console
    from bridge.progress import at_work

    connection: Connection = DeployedConnection(stack) if stack else LocalConnection(StateFolder(state_dir))
    with at_work("Looking for the stack"):
        # A wrong name fails here, and not on the page.
        announce(connection.connected().target)
    shown = Console(connection)
    try:
        serve(shown, port=port, ready=lambda url: click.echo(f"{url}\nStop with Ctrl-C."))
    finally:
        shown.close()
