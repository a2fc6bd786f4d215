"""The command `bridge map`: shows the request that a saved submission of a form becomes."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.checks import folder as folder_checks
from bridge.commands.operate import FILE
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.local import folder
from bridge.plain import plain, plain_lines
from bridge.sending import samples
from bridge.sending.form_signing import needs_secret
from helpdesk.http.forms.services import read_submission

if TYPE_CHECKING:
    from bridge.generate.form_files import Rules

_FIRST_BOUNDARY = re.compile(r"--([^\r\n]+)\r?\n")


def _forms(_context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    """The names of forms that begin so."""
    own = folder.found()
    return [path.stem for path in form_files.files(own.forms, begun)] if own else []


@click.command(name="map")
@click.argument("form", shell_complete=_forms)
@click.argument("file", type=FILE)
@click.option("--content-type", help="Of a body in FILE.  [default: what the body looks like]")
@click.option("--diff", is_flag=True, help="Show what differs from the form file as last committed.")
@click.option("--answers", is_flag=True, help="Show the answers that expressions can name, and no request.")
def map_command(form: str, file: Path, content_type: str | None, diff: bool, answers: bool) -> None:
    """Show the request that a saved submission becomes.

    The status is 1 where it would be refused. FORM is a form's name, or the path of a form file. FILE is a
    sample, or a body as it was sent. The request is checked by the rules of the helpdesks of each stage,
    without a call. Answers that no expression uses, and expressions that find nothing, are named on
    standard error.

    \b
    Example:
      bridge map typeform samples/form_add_typeform.json
      bridge map contact saved-body.txt --diff
    """
    is_path = form.endswith((".yaml", ".yml"))
    path = Path(form) if is_path else form_files.file_of(folder.current().forms, form)
    definition = form_files.read(path)
    kind, raw = _saved(file, content_type)
    if not needs_secret(definition):
        click.echo(f"{path.name}: anybody may send submissions of this form (verify: none)", err=True)
    if answers:
        submission = read_submission(definition.service, kind, raw, definition.uploads)
        click.echo(_shown({"answers": submission.answers, "files": submission.files} if submission else None))
        return
    request, problems, coverage = form_files.preview(definition, kind, raw, _rules())
    for line in folder_checks.notes_on(coverage):
        click.echo(plain(line), err=True)
    if diff:
        before = form_files.parse(path.stem, path.name, _committed(path))
        old, new = (
            _shown(body).splitlines() for body in (form_files.preview(before, kind, raw).body, request)
        )
        changed = list(difflib.unified_diff(old, new, "committed", "now", lineterm=""))
        click.echo("\n".join(changed) if changed else "No difference.")
    else:
        click.echo(_shown(request))
    if request is None:
        raise BridgeError("this is no finished submission, so it becomes no request")
    if problems:
        raise BridgeError("the request is not valid:\n" + "\n".join(f"  {problem}" for problem in problems))


def _rules() -> dict[str, Rules]:
    own = folder.found()
    rules = folder_checks.rules(own) if own else {}
    if not rules:
        why = "its settings are wrong, see: bridge check" if own else f"there is no {folder.NAME}"
        click.echo(f"Not checked by the rules of a helpdesk: {why}", err=True)
    return rules


def _saved(file: Path, content_type: str | None) -> tuple[str, bytes]:
    raw = file.read_bytes()
    text = raw.decode(errors="replace").lstrip()
    if text.startswith("{") and content_type is None:
        try:
            content = json.loads(text)
        except ValueError:
            content = {}
        if isinstance(content.get("send"), dict):
            send = samples.read(file).send
            if not isinstance(send, samples.FormSend):
                raise BridgeError(f"{file} is no submission of a form")
            return send.content_type, send.raw
        return "application/json", raw
    if content_type is not None:
        return content_type, raw
    boundary = _FIRST_BOUNDARY.match(text)
    if boundary:
        return f'multipart/form-data; boundary="{boundary[1]}"', raw
    return "application/x-www-form-urlencoded", raw


def _committed(path: Path) -> str:
    folder = path.resolve().parent
    done = subprocess.run(
        ["git", "-C", str(folder), "show", f"HEAD:./{path.name}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BridgeError(f"git has no committed {path.name}: {done.stderr.strip()}")
    return done.stdout


def _shown(request: Any) -> str:
    if not request:
        return "(no finished submission)"
    return plain_lines(json.dumps(request, indent=2, ensure_ascii=False))
