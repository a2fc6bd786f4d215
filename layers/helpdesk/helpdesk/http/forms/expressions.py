"""What a form file may write for a value: a JMESPath expression, a constant, or a simple combination.

Expressions come from form files only and are data: JMESPath selects and cannot call out, loop or assign.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

import jmespath  # type: ignore[import-untyped]  # it has no types
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]  # as above
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

_FILLED_IN = re.compile(r"\b(answers|files)\b")


@cache
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _is_expression(text: str) -> str:
    try:
        _compiled(text)
    except JMESPathError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"is no JMESPath expression: {reason}") from error
    return text


Expression = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_is_expression)]


class Part(BaseModel):
    """A part of a form file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Constant(Part):
    """Always the same."""

    constant: JsonValue


class Defaulted(Part):
    """The expression's result, or the default where there is none."""

    value: Expression
    default: JsonValue


class Joined(Part):
    """The values that are there, one after the other."""

    join: Annotated[tuple["Leaf", ...], Field(min_length=1)]
    between: Annotated[str, Field(alias="with")] = " "


class Choice(Part):
    """The value that belongs to an answer, for example the queue of a topic."""

    choose: Expression
    of: dict[str, JsonValue]
    default: JsonValue = None


class Lines(Part):
    """A line `label: value` for each value that is there."""

    lines: Annotated[dict[str, "Leaf"], Field(min_length=1)]


KINDS = ("constant", "value", "join", "choose", "lines")


def kind_of(value: Any) -> str | None:
    """Which kind of leaf this is; None where it is none."""
    if isinstance(value, str):
        return "expression"
    if isinstance(value, Mapping):
        return next((kind for kind in KINDS if kind in value), None)
    match value:
        case Constant():
            return "constant"
        case Defaulted():
            return "value"
        case Joined():
            return "join"
        case Choice():
            return "choose"
        case Lines():
            return "lines"
    return None


type Leaf = Annotated[
    Annotated[Expression, Tag("expression")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Defaulted, Tag("value")]
    | Annotated[Joined, Tag("join")]
    | Annotated[Choice, Tag("choose")]
    | Annotated[Lines, Tag("lines")],
    Discriminator(
        kind_of,
        custom_error_type="no_leaf",
        custom_error_message=f"must be an expression (a text), or hold one of {', '.join(KINDS)}",
    ),
]


@dataclass
class Evaluation:
    """Evaluates a form's leaves against a submission; `failures` lists the expressions that failed.

    `reads_answers` says whether any expression reads answers, and `found_answers` whether any was there.
    """

    context: Mapping[str, Any]
    failures: list[str] = field(default_factory=list)
    reads_answers: bool = False
    found_answers: bool = False

    def value(self, leaf: Any) -> Any:
        """What the leaf stands for; None where there is nothing."""
        match leaf:
            case Constant():
                return leaf.constant
            case Defaulted():
                value = self._search(leaf.value)
                return leaf.default if value in (None, "", []) else value
            case Joined():
                texts = [self.text(part) for part in leaf.join]
                return leaf.between.join(text for text in texts if text)
            case Choice():
                return leaf.of.get(as_text(self._search(leaf.choose)) or "", leaf.default)
            case Lines():
                texts_by_label = {label: self.text(part) for label, part in leaf.lines.items()}
                return "\n".join(f"{label}: {text}" for label, text in texts_by_label.items() if text)
            case str():
                return self._search(leaf)
        return None

    def text(self, leaf: Any) -> str | None:
        """The same as a text; None where there is nothing."""
        return as_text(self.value(leaf))

    def _search(self, expression: str) -> Any:
        try:
            value = _compiled(expression).search(self.context)
        except (ValueError, ArithmeticError):
            # This covers JMESPath's own errors and infinite numbers. Their messages would quote the answers.
            self.failures.append(expression)
            value = None
        if _FILLED_IN.search(expression):
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
