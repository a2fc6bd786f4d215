"""Writes the folder that is a user's own: settings, forms with samples, a schedule, what checks them."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.generate import sources
from bridge.local.folder import EXAMPLES, NAME, config_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_WIDTH = 100
_SCHEDULE = "weekly-review.yaml"

_HEAD = """\
# The settings of your Ticket Bridge: every one, with what it does and its default. Take the # before a line
# away, and the next `bridge deploy` sends it. What is not said keeps the value that runs.
#
# A stage is one deployment. More of them: another [stages.NAME], and `bridge deploy NAME`. What is set in
# [stages.NAME.parameters] goes before [parameters]. The stage "local" is the stack of `bridge up`.

[stages.{stage}]
stack = {stack}
{region}
# profile = "..."      # a profile of your AWS set-up; else the usual credentials are taken

# [stages.{stage}.parameters]
# KaptureBudget = 600

[parameters]
"""

_README = """\
# Our Ticket Bridge

`bridge.toml` holds the settings, `forms/` one file for each form, `schedules/` the recurring requests,
`samples/` one submission for each form with the request that it becomes.

    bridge check             what can be known without an account; CI runs it
    bridge up, bridge down   the whole stack on this machine
    bridge deploy --plan     what a deployment would change
    bridge deploy            shows it, asks, deploys
    bridge smoke             tries the deployed stack from end to end

CI installs the wheel that lies beside `bridge.toml`: put it there.
Upgrade: put the newer wheel in its place, install it, then `bridge deploy`. Nothing else here changes.
"""

_WORKFLOW = """\
name: check
on: [push, pull_request]
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.13"
      # Put the wheel that you have installed beside bridge.toml.
      - run: pip install ./ticket_bridge-*.whl
      - run: bridge check
"""


def forms() -> dict[str, list[Path]]:
    """The forms to begin with, by name, each with the samples of its submissions."""
    by_form: dict[str, list[Path]] = {path.stem: [] for path in sorted(EXAMPLES.forms.glob("*.yaml"))}
    for sample in sorted(EXAMPLES.samples.glob("*.json")):
        content = json.loads(sample.read_text())
        if "becomes" in content:
            by_form[content["send"]["form"]].append(sample)
    # One whose sample needs another's ticket is no beginning.
    return {
        name: samples
        for name, samples in by_form.items()
        if samples and "{ticket_id" not in "".join(sample.read_text() for sample in samples)
    }


def write(
    target: Path,
    *,
    stage: str,
    stack: str,
    region: str | None,
    parameters: Mapping[str, str],
    selected: Sequence[str],
) -> list[Path]:
    """Write the folder; returns its files.

    Raises BridgeError where a file would be overwritten, and where a value is wrong.
    """
    known = forms()
    if unknown := [name for name in selected if name not in known]:
        raise BridgeError(f"There is no form {', '.join(unknown)} to begin with; there is {', '.join(known)}")
    head = _HEAD.format(
        stage=stage,
        stack=json.dumps(stack),
        region=f"region = {json.dumps(region)}" if region else '# region = "eu-west-1"',
    )
    settings = head + _settings(parameters)
    # What is written can be read.
    config_in(settings)
    texts = {
        target / NAME: settings,
        target / "README.md": _README,
        target / ".gitignore": ".bridge/\n.venv/\n",
        target / ".github" / "workflows" / "check.yml": _WORKFLOW,
        target / "schedules" / _SCHEDULE: (EXAMPLES.schedules / _SCHEDULE).read_text(),
    }
    copies = {target / "forms" / f"{name}.yaml": EXAMPLES.forms / f"{name}.yaml" for name in selected}
    copies |= {target / "samples" / sample.name: sample for name in selected for sample in known[name]}
    files = [*texts, *copies]
    if there := [str(path) for path in files if path.exists()]:
        raise BridgeError(f"Nothing is written, for this would overwrite: {', '.join(there)}")
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
    names_queues = parameters.get("Helpdesks", "kapture").startswith("kapture")
    for path, origin in copies.items():
        path.write_text(origin.read_text() if names_queues else _without_queue(origin))
    for name in ("forms", "samples"):
        (target / name).mkdir(exist_ok=True)
    return sorted(files)


def _without_queue(origin: Path) -> str:
    """A form or a sample for Socialboards, whose queues are numbers that only its account knows."""
    text = origin.read_text()
    if origin.suffix == ".yaml":
        return re.sub(r"^    queue: .*\n", "", text, flags=re.MULTILINE)
    sample = json.loads(text)
    sample["becomes"].get("ticket", {}).pop("queue", None)
    return json.dumps(sample, indent=2, ensure_ascii=False) + "\n"


def _settings(given: Mapping[str, str]) -> str:
    known = sources.parameters()
    parts = []
    for title, names in sources.groups():
        parts.append(f"# ── {title} ──\n")
        for name in names:
            default = known[name].get("Default", "")
            about = known[name].get("Description", "")
            if allowed := known[name].get("AllowedValues"):
                about += f" [{' | '.join(str(value) or '(empty)' for value in allowed)}]"
            parts.append(textwrap.indent(textwrap.fill(about.strip(), _WIDTH), "# "))
            value = given.get(name, default)
            line = f"{name} = {_as_toml(value, known[name]['Type'])}"
            parts.append(f"{'' if name in given else '# '}{line}\n")
    return "\n".join(parts)


def _as_toml(value: object, type_: str) -> str:
    return str(value) if type_ == "Number" else json.dumps(str(value), ensure_ascii=False)
