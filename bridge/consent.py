"""One rule for commands that change much: they show it and ask; `--yes` acts at once, `--dry-run` shows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

# What click ends with where the command line is wrong.
_WRONG_COMMAND_LINE = 2

assume_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def only_shows(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the option by which the command changes nothing; the command gets it as `dry_run`."""
    return click.option(
        *(names or ("--dry-run",)), "dry_run", is_flag=True, help="Show what would be done, and do nothing."
    )


def ask(question: str, refused: str) -> None:
    """Returns where a person agrees. Else the command says what it has `refused` to do, and ends.

    The status is 1 after a no, and 2 where nobody can be asked: then the command line lacks --yes.
    """
    if not sys.stdin.isatty():
        click.echo(question, err=True)
        click.echo(f"{refused} Without a terminal nobody can be asked: add --yes.", err=True)
        raise click.exceptions.Exit(_WRONG_COMMAND_LINE)
    if not click.confirm(question, err=True):
        click.echo(refused, err=True)
        raise click.exceptions.Exit(1)
