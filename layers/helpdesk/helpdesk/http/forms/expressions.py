"""What a form file may write for a value: a JMESPath expression, a constant, or a simple combination.

Expressions come from form files only and are data: JMESPath selects and cannot call out, loop or assign.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jmespath  # type: ignore[import-untyped]  # it has no types

# What a leaf can be besides an expression, by the key that tells it.
KINDS = ("constant", "value", "join", "choose", "lines")


@cache
def compiled(expression: str) -> Any:
    """The expression, ready to search. Raises JMESPathError where it is none."""
    return jmespath.compile(expression)


def kind_of(value: Any) -> str | None:
    """Which kind of leaf this is; None where it is none."""
    if isinstance(value, str):
        return "expression"
    return next((kind for kind in KINDS if kind in value), None) if isinstance(value, Mapping) else None


class Evaluation:
    """Evaluates a form's leaves against a submission; `failures` lists the expressions that failed.

    `reads_answers` says whether any expression reads answers, and `found_answers` whether any was there.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._context = context
        self.failures: list[str] = []
        self.reads_answers = False
        self.found_answers = False

    def value(self, leaf: Any) -> Any:
        """What the leaf stands for; None where there is nothing."""
        match leaf:
            case str():
                return self._search(leaf)
            case {"constant": constant}:
                return constant
            case {"value": expression, "default": default}:
                value = self._search(expression)
                return default if value in (None, "", []) else value
            case {"join": parts, "with": between}:
                texts = [self.text(part) for part in parts]
                return between.join(text for text in texts if text)
            case {"choose": expression, "of": choices, "default": default}:
                return choices.get(as_text(self._search(expression)) or "", default)
            case {"lines": parts}:
                texts_by_label = {label: self.text(part) for label, part in parts.items()}
                return "\n".join(f"{label}: {text}" for label, text in texts_by_label.items() if text)
        return None

    def text(self, leaf: Any) -> str | None:
        """The same as a text; None where there is nothing."""
        return as_text(self.value(leaf))

    def _search(self, expression: str) -> Any:
        try:
            value = compiled(expression).search(self._context)
        except (ValueError, ArithmeticError):
            # This covers JMESPath's own errors and infinite numbers. Their messages would quote the answers.
            self.failures.append(expression)
            value = None
        if re.search(r"\b(answers|files)\b", expression):
            self.reads_answers = True
            self.found_answers |= value not in (None, "", [], {})
        return value


def as_text(value: Any) -> str | None:
    """An answer as people read it; None where there is nothing to read."""
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(text for inner in value if (text := as_text(inner))) or None
        case dict():
            return " ".join(text for inner in value.values() if (text := as_text(inner))) or None
    return str(value).strip() or None
