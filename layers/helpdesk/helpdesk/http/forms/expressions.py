"""What a form file may say of a value: a JMESPath expression, a constant, or a simple combination.

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
    """What the expression finds, else the default."""

    value: Expression
    default: JsonValue


class Joined(Part):
    """The values that are there, one after the other."""

    join: Annotated[tuple["Leaf", ...], Field(min_length=1)]
    between: Annotated[str, Field(alias="with")] = " "


class Chosen(Part):
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
        case Chosen():
            return "choose"
        case Lines():
            return "lines"
    return None


type Leaf = Annotated[
    Annotated[Expression, Tag("expression")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Defaulted, Tag("value")]
    | Annotated[Joined, Tag("join")]
    | Annotated[Chosen, Tag("choose")]
    | Annotated[Lines, Tag("lines")],
    Discriminator(
        kind_of,
        custom_error_type="no_leaf",
        custom_error_message=f"must be an expression (a text), or hold one of {', '.join(KINDS)}",
    ),
]


@dataclass
class Evaluation:
    """Evaluates the leaves of one form against one submission; `failures` tells expressions that failed.

    `reads_answers` says whether any expression looks for answers, and `found_answers` whether one found some.
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
                found = self._searched(leaf.value)
                return leaf.default if found in (None, "", []) else found
            case Joined():
                texts = [self.text(part) for part in leaf.join]
                return leaf.between.join(text for text in texts if text)
            case Chosen():
                return leaf.of.get(as_text(self._searched(leaf.choose)) or "", leaf.default)
            case Lines():
                texts_by_label = {label: self.text(part) for label, part in leaf.lines.items()}
                return "\n".join(f"{label}: {text}" for label, text in texts_by_label.items() if text)
            case str():
                return self._searched(leaf)
        return None

    def text(self, leaf: Any) -> str | None:
        """The same as a text; None where there is nothing."""
        return as_text(self.value(leaf))

    def _searched(self, expression: str) -> Any:
        try:
            found = _compiled(expression).search(self.context)
        except (ValueError, ArithmeticError):
            # JMESPath's own errors among them, and numbers without end. Its message would quote the answers.
            self.failures.append(expression)
            found = None
        if _FILLED_IN.search(expression):
            self.reads_answers = True
            self.found_answers |= found not in (None, "", [], {})
        return found


def as_text(value: Any) -> str | None:
    """An answer as people read it; None where there is nothing to read."""
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(text for one in value if (text := as_text(one))) or None
        case dict():
            return " ".join(text for one in value.values() if (text := as_text(one))) or None
    return str(value).strip() or None
