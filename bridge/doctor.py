"""Looks for settings that work and are risky all the same, and says which line to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge import form_files
from bridge.state import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

FINDINGS_STATUS = 1


@dataclass(frozen=True)
class Finding:
    """What was found, why it matters, and what to change."""

    what: str
    why: str
    change: str


def findings(forms: Path) -> Iterator[Finding]:
    """Everything that looks wrong, file by file."""
    for file in sorted(forms.glob("*.yaml")):
        form = form_files.read(file)
        if form.file.verify.scheme == "none":
            yield Finding(
                f"The form {form.name} verifies nobody.",
                "Whoever knows the address can make tickets.",
                f"{file.name}: give verify another scheme than none (docs/forms.md lists them)",
            )


@click.command()
@click.option(
    "--forms",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=PROJECT / "functions" / "forms",
    help="Folder of the form files.  [default: functions/forms in the project]",
)
def doctor(forms: Path) -> None:
    """Look for risky settings; the status is 1 where there are any.

    \b
    Example:
      bridge doctor
    """
    found = list(findings(forms))
    for finding in found:
        click.echo(f"{finding.what}\n  {finding.why}\n  {finding.change}")
    if found:
        raise click.exceptions.Exit(FINDINGS_STATUS)
    click.echo("Nothing was found.")
