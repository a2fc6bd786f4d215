"""Which answers of a submission a form file uses, and which of its expressions find nothing in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from helpdesk.http.forms.expressions import as_text, compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from helpdesk.http.forms.form_file import Form
    from helpdesk.http.forms.services import Submission

_READS_ANSWERS = re.compile(r"\b(answers|files)\b")
_NOTHING: tuple[Any, ...] = (None, "", [], {})


class Coverage(NamedTuple):
    """Answers that no expression uses, by all of their names, and expressions that find nothing."""

    unused: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()


def coverage(form: Form, submission: Submission) -> Coverage:
    """How form file and submission fit. Answers with the same text count as one: it may have many names."""
    context = form.context_of(submission)
    fields = {name: leaf for name, leaf in form.request.items() if name != "operation"}
    expressions = [
        expression for expression in dict.fromkeys(_expressions(fields)) if _READS_ANSWERS.search(expression)
    ]
    found = {expression: _result(expression, context) for expression in expressions}

    def is_unused(part: str, rest: Any) -> bool:
        without = {**context, part: rest}
        return all(_result(expression, without) == result for expression, result in found.items())

    answers = context["answers"]
    unused = []
    files = [*(file["url"] for file in submission.files), *submission.left_behind]
    for text, group in _groups(answers):
        if any(file in text for file in files):
            # A file is an answer as well, and the ticket tells of one that was left behind.
            continue
        rest = {name: value for name, value in answers.items() if _root(name, answers) not in group}
        if is_unused("answers", rest):
            unused.append(" / ".join(group))
    if submission.files and is_unused("files", []):
        unused.append("files")
    unmet = [expression for expression, result in found.items() if result in _NOTHING]
    return Coverage(tuple(unused), tuple(unmet))


def _groups(answers: Mapping[str, Any]) -> Iterable[tuple[str, list[str]]]:
    """The text and the names of each answer, without those of its parts."""
    names: dict[str, list[str]] = {}
    for name, value in answers.items():
        if _root(name, answers) == name and (text := as_text(value)):
            names.setdefault(text, []).append(name)
    return names.items()


def _root(name: str, answers: Mapping[str, Any]) -> str:
    """The answer that this one is a part of, or itself."""
    whole = name.partition(".")[0]
    return whole if whole in answers else name


def _expressions(leaf: Any) -> Iterator[str]:
    match leaf:
        case str():
            yield leaf
        case {"constant": _}:
            return
        case {"value": expression} | {"choose": expression}:
            yield expression
        case {"join": parts} | {"lines": parts}:
            yield from _expressions(parts)
        case dict():
            for inner in leaf.values():
                yield from _expressions(inner)
        case list() | tuple():
            for inner in leaf:
                yield from _expressions(inner)


def _result(expression: str, context: Mapping[str, Any]) -> Any:
    try:
        return compiled(expression).search(context)
    except (ValueError, ArithmeticError):
        # That it fails is said elsewhere.
        return None
