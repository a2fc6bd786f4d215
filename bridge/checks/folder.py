"""What can be known of a user's folder without an account."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from bridge.errors import BridgeError
from bridge.generate import form_files, schedules, sources
from bridge.generate.coverage import Coverage
from bridge.generate.form_files import Rules
from bridge.learning import facts
from bridge.local.folder import LOCAL
from bridge.local.helpdesks import HELPDESKS
from bridge.sending import samples
from bridge.sending.samples import FormSend
from bridge.stacks.local_stack import OF_THIS_MACHINE, settings_of
from helpdesk.errors import SettingsError
from helpdesk.parts import Parts
from helpdesk.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.learning.facts import Learnt
    from bridge.local.folder import Folder, Stage
    from helpdesk.runtime.aws import Clients
    from helpdesk.store.table import Table

# What `bridge init` writes where nobody has said the account.
PLACEHOLDER = "YOUR-ACCOUNT"
# Addresses of the kind that `bridge up` gives its stack.
_SIMULATED = {desk.url_parameter: "http://127.0.0.1" for desk in HELPDESKS}
_TICKS_SHOWN = 3
# Stands for what a deployment makes: names, addresses and ARNs.
_MADE_LATER = "made-by-the-deployment"


@dataclass(frozen=True)
class Result:
    """One check: what was looked at, and all that is wrong with it."""

    what: str
    problems: tuple[str, ...] = ()
    # Worth a look, and nothing wrong.
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


def check(own: Folder) -> Iterator[Result]:
    """Every check of a folder, as it is made."""
    yield from _settings(own)
    yield from _forms(own)
    yield from _schedules(own)
    yield _template(own)


def wrong_parameters(given: Mapping[str, str], running: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with the values of parameters; the others keep the value that runs, else the default."""
    known = sources.parameters()
    problems = [f"{name}: there is no such setting" for name in given if name not in known]
    for name, value in given.items():
        problems += [f"{name}: {problem}" for problem in _wrong(value, known.get(name, {}))]
        if PLACEHOLDER in value:
            problems.append(f"{name}: put the name of your account in the place of {PLACEHOLDER}")
    return problems or _refused_by_the_functions({**_defaults(), **(running or {}), **given})


def with_learnt(
    own: Folder, parameters: Mapping[str, str], running: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, Learnt]]:
    """The values of a stage and, where they say nothing, what `bridge learn` has proposed for its helpdesks.

    Also the origin of each value that was added. Raises BridgeError where a file cannot be read.
    """
    known = {**_defaults(), **(running or {}), **parameters}
    served = known["Helpdesks"].split(",")
    addresses = {desk.name: known[desk.url_parameter] for desk in HELPDESKS if desk.name in served}
    proposed = facts.settings_for(own.root, addresses)
    added = {name: proposal for name, proposal in proposed.items() if name not in parameters}
    values = {name: value for name, (value, _) in added.items()}
    return values | dict(parameters), {name: learnt for name, (_, learnt) in added.items()}


def _settings(own: Folder) -> Iterator[Result]:
    try:
        config = own.config()
        given_to = {
            name: with_learnt(own, config.parameters_of(stage))[0] for name, stage in config.stages.items()
        }
    except BridgeError as error:
        yield Result("settings", tuple(str(error).splitlines()))
        return
    for name in [*config.stages, LOCAL]:
        _, stage = config.stage(name)
        given = settings_of(own) if name == LOCAL else given_to[name]
        unused = _unused(stage) if name == LOCAL else []
        what = f"settings of the stage {name}: {len(given)} given"
        yield Result(what, (*unused, *wrong_parameters(given | (_SIMULATED if name == LOCAL else {}))))


def _unused(local: Stage) -> list[str]:
    """What stands in [stages.local] and has no effect there."""
    names = sorted(local.model_fields_set - {"parameters"})
    names += [f"parameters.{name}" for name in sorted(local.parameters.keys() & OF_THIS_MACHINE)]
    return [f"stages.{LOCAL}.{name}: is not used: `bridge up` has its own" for name in names]


def _defaults() -> dict[str, str]:
    return {name: str(about.get("Default", "")) for name, about in sources.parameters().items()}


def _wrong(value: str, about: Mapping[str, Any]) -> Iterator[str]:
    if about.get("Type") == "Number":
        # CloudFormation compares texts: a condition takes 0.0 for another number than 0.
        if not re.fullmatch(r"-?[0-9]+", value):
            yield f"is no whole number: {value!r}"
            return
        number = int(value)
        if number < about.get("MinValue", number) or number > about.get("MaxValue", number):
            yield f"must be {about.get('MinValue', '-')} to {about.get('MaxValue', '-')}, and not {value}"
    allowed = [str(choice) for choice in about.get("AllowedValues", [value])]
    if value not in allowed:
        yield f"must be one of {', '.join(allowed)}, and not {value!r}"
    if not re.fullmatch(about.get("AllowedPattern", ".*"), value, re.DOTALL):
        yield f"{about.get('ConstraintDescription', 'must fit ' + about['AllowedPattern'])}: {value!r}"


def _refused_by_the_functions(values: Mapping[str, str]) -> list[str]:
    """What the functions would say of these values when they start."""
    parameter_of = sources.variables()
    try:
        load_settings(_environment(values))
    except SettingsError as error:
        problems = str(error).split("; ")
        parts = [problem.partition(":") for problem in problems]
        return [f"{parameter_of.get(name) or name}:{rest}" for name, _, rest in parts]
    return []


def _environment(values: Mapping[str, str]) -> dict[str, str]:
    """The variables of the functions under these values of parameters."""
    return {
        variable: values[parameter] if parameter else _MADE_LATER
        for variable, parameter in sources.variables().items()
    }


def rules(own: Folder) -> dict[str, Rules]:
    """What the helpdesks take by the settings of each stage, or of the local one where there is no other.

    A stage whose settings are wrong is left out. Raises BridgeError where a file cannot be read.
    """
    config = own.config()
    given = {
        name: with_learnt(own, config.parameters_of(stage))[0]
        for name, stage in config.stages.items()
        if name != LOCAL
    }
    known = {}
    for name, values in (given or {LOCAL: settings_of(own) | _SIMULATED}).items():
        with suppress(SettingsError):
            known[name] = _rules_under({**_defaults(), **values})
    return known


def _rules_under(values: Mapping[str, str]) -> Rules:
    parts = Parts(_environment(values))
    # Rules are checked without a call.
    parts.clients = cast("Clients", SimpleNamespace(secretsmanager=None))
    parts.table = cast("Table", None)
    return Rules(parts.settings.default_helpdesk, parts.helpdesks.check)


def notes_on(coverage: Coverage) -> Iterator[str]:
    """How form file and submission fit, in lines."""
    yield from (f"no expression uses the answer {names}" for names in coverage.unused)
    yield from (f"this expression finds nothing: {expression}" for expression in coverage.unmet)


def _forms(own: Folder) -> Iterator[Result]:
    by_form: dict[str, list[samples.Sample]] = defaultdict(list)
    unread = []
    for path in sorted(own.samples.glob("*.json")):
        try:
            sample = samples.read(path)
        except BridgeError as error:
            unread.append(str(error))
            continue
        if isinstance(sample.send, FormSend) and sample.becomes is not None:
            by_form[sample.send.form].append(sample)
    if unread:
        yield Result("samples", tuple(unread))
    known: dict[str, Rules] = {}
    with suppress(BridgeError):
        # What is wrong here, the settings say.
        known = rules(own)
    for path in form_files.files(own.forms):
        yield _form(path, by_form.pop(path.stem, []), known)
    for form, left in by_form.items():
        names = ", ".join(sample.name for sample in left)
        yield Result(f"samples of {form}", (f"there is no form {form}, but samples of it: {names}",))


def _form(path: Path, known: list[samples.Sample], rules_by_stage: Mapping[str, Rules]) -> Result:
    what = f"form {path.stem}: {len(known)} sample{'' if len(known) == 1 else 's'}"
    try:
        form = form_files.read(path)
    except BridgeError as error:
        return Result(what, tuple(str(error).splitlines()))
    fits: list[Coverage] = []
    problems = [] if known else [f"no sample: keep one as samples/form_add_{path.stem}.json, with `becomes`"]
    for sample in known:
        send = sample.send
        if not isinstance(send, FormSend):
            continue
        try:
            body, wrong, fit = form_files.preview(form, send.content_type, send.raw, rules_by_stage)
            fits.append(fit)
        except BridgeError as error:
            wrong, body = [str(error)], sample.becomes
        problems += [f"{sample.name}: {problem}" for problem in wrong]
        if body != sample.becomes:
            problems.append(f"{sample.name}: becomes another request; see: bridge map {path.stem} FILE")
    return Result(what, tuple(problems), tuple(notes_on(_of_all(fits))))


def _of_all(fits: Sequence[Coverage]) -> Coverage:
    """The answers that are unused in any sample, and the expressions that find nothing in every one."""
    unused = dict.fromkeys(names for fit in fits for names in fit.unused)
    unmet = dict.fromkeys(expression for fit in fits for expression in fit.unmet)
    return Coverage(tuple(unused), tuple(e for e in unmet if all(e in fit.unmet for fit in fits)))


def _schedules(own: Folder) -> Iterator[Result]:
    try:
        known = schedules.read_all(own.schedules)
    except BridgeError as error:
        yield Result("schedules", tuple(str(error).splitlines()))
        return
    for name, schedule in known.items():
        when = schedules.in_words(schedule, schedule.next_times(datetime.now(UTC), _TICKS_SHOWN))
        state = "" if schedule.enabled else " (disabled)"
        yield Result(f"schedule {name}{state}: {when} {schedule.zone}")


def _template(own: Folder) -> Result:
    """Whether the SAM CLI takes what would be deployed."""
    try:
        text = sources.template(own)
    except BridgeError:
        return Result("template", ("not looked at: the schedules are wrong",))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.yaml"
        file.write_text(text)
        done = subprocess.run(
            [Path(sys.executable).parent / "sam", "validate", "--lint", "--template-file", file],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0"},
            cwd=folder,
        )
    problems = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return Result("template, by the SAM CLI", tuple(problems) if done.returncode else ())
