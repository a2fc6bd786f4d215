"""Reads form files, and makes of them what is deployed.

python -m bridge.generate.form_files FOLDER OUTPUT
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml  # type: ignore[import-untyped]  # it has no types

from bridge.errors import BridgeError
from bridge.files import text_of
from bridge.generate.coverage import Coverage, coverage
from bridge.generate.form_models import plain_form
from helpdesk.errors import RejectedError, SettingsError
from helpdesk.http.forms.form_file import Form, load_forms
from helpdesk.http.forms.services import read_submission
from helpdesk.intake.requests import Defaults, read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from helpdesk.models import Request


class Rules(NamedTuple):
    """What the helpdesks of a stack take: its default one, and what raises RejectedError. Makes no call."""

    helpdesk: str
    check: Callable[[Request], None]


class Preview(NamedTuple):
    """The body of the request (None for no finished submission), all that is wrong with it, and how form
    file and submission fit."""

    body: dict[str, Any] | None
    problems: Sequence[str] = ()
    coverage: Coverage = Coverage()


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # as above
    """Safe YAML in which dates, and words such as "yes", stay the texts that were written."""


_BOOL, _TIMESTAMP = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("true|false"), ["t", "f"])


def files(folder: Path, begun: str = "") -> list[Path]:
    """The form files of a folder whose names begin so."""
    return sorted(folder.glob(f"{begun}*.y*ml"))


def file_of(folder: Path, form: str) -> Path:
    """The file of a form, or that which it would have."""
    return next((path for path in files(folder) if path.stem == form), folder / f"{form}.yaml")


def read(path: Path) -> Form:
    """The form in a file. Raises BridgeError naming file, line and field of all that is wrong."""
    return parse(path.stem, path.name, text_of(path))


def parse(name: str, file: str, text: str) -> Form:
    """The form in a file's text. Raises as `read`."""
    try:
        # As the function reads it.
        return load_forms(_json([_plain(name, file, text)]))[name]
    except SettingsError as error:
        raise BridgeError(str(error)) from error


def preview(form: Form, content_type: str, raw: bytes, rules: Mapping[str, Rules] = {}) -> Preview:
    """What a submission becomes, by the rules of each stage's helpdesks. Raises BridgeError if unreadable."""
    try:
        submission = read_submission(form.service, content_type, raw, form.uploads)
    except RejectedError as error:
        raise BridgeError(f"{form.name}: {'; '.join(_problems_in(error))}") from error
    if submission is None:
        return Preview(None)
    # What the function makes of the bytes and the day says nothing here.
    mapped = form.request_of(replace(submission, id=submission.id or "(of-the-body)"))
    problems = [f"this expression fails: {expression}" for expression in mapped.failures]
    problems += _refusals(form, mapped.body, rules or {"": Rules("kapture", lambda _: None)})
    if mapped.is_unmapped:
        problems.append("no answer is mapped: `bridge map --answers` shows what there is")
    return Preview(mapped.body, problems, coverage(form, submission))


def _refusals(form: Form, body: dict[str, Any], rules: Mapping[str, Rules]) -> Iterator[str]:
    """Why the request is refused; with the stages where not all of them refuse it."""
    stages_by_problem: dict[str, list[str]] = {}
    for stage, known in rules.items():
        try:
            known.check(read_body(body, Defaults(body["request_id"], form.source, known.helpdesk)))
        except RejectedError as error:
            for problem in _problems_in(error):
                stages_by_problem.setdefault(problem, []).append(stage)
    for problem, stages in stages_by_problem.items():
        yield problem if len(stages) == len(rules) else f"{problem} (stage {', '.join(stages)})"


def _problems_in(error: RejectedError) -> list[str]:
    return [f"{problem.field} {problem.problem}" for problem in error.problems] or [error.message]


def compile_all(folder: Path) -> str:
    """All forms of a folder as the function loads them. Raises BridgeError naming all that is wrong."""
    forms, problems = [], []
    for path in files(folder):
        try:
            forms.append(_plain(path.stem, path.name, text_of(path)))
        except (SettingsError, BridgeError) as error:
            problems.append(str(error))
    if problems:
        raise BridgeError("\n".join(problems))
    return _json(forms)


def _json(forms: list[dict[str, Any]]) -> str:
    return json.dumps(forms, ensure_ascii=False, separators=(",", ":"))


def _plain(name: str, file: str, text: str) -> dict[str, Any]:
    reading = _Reading(file)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = reading.content(loader, node, "") if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{file}:{line}: file: is no YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{file}:1: file: is no YAML") from error
    if reading.problems:
        raise SettingsError("\n".join(reading.problems))
    return plain_form(name, content, file, reading.lines)


class _Reading:
    """Takes a file's content out of its nodes, and notes where each field stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.lines: dict[str, int] = {}
        self.problems: list[str] = []
        self._around: list[Any] = []

    def content(self, loader: _Loader, node: Any, path: str) -> Any:
        """The node's content; every key is a text, also one that looks like a number."""
        if any(node is outer for outer in self._around):
            raise yaml.MarkedYAMLError(problem="it holds itself", problem_mark=node.start_mark)
        self._around.append(node)
        content = self._content(loader, node, path)
        self._around.pop()
        return content

    def _content(self, loader: _Loader, node: Any, path: str) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self.content(loader, inner, f"{path}.{place}") for place, inner in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return loader.construct_object(node)
        content = {}
        for key, inner in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            inner_path = f"{path}.{name}" if path else name
            if name in content:
                self.problems.append(f"{self._file}:{line}: {inner_path}: stands twice")
            self.lines[inner_path] = line
            content[name] = self.content(loader, inner, inner_path)
        return content


def main(arguments: Sequence[str]) -> None:
    """Write what is deployed, or say what is wrong and end with status 1."""
    folder, output = map(Path, arguments)
    try:
        output.write_text(compile_all(folder))
    except BridgeError as error:
        sys.exit(f"forms are wrong:\n{error}")


if __name__ == "__main__":
    main(sys.argv[1:])
