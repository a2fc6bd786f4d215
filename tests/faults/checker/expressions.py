"""DynamoDB's expressions, as far as the layer speaks them; whatever else is said ends the run."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, NoReturn

type Value = dict[str, Any]
type Item = dict[str, Value]
type _Operand = Callable[[Item, Mapping[str, Value]], Value | None]
type Condition = Callable[[Item, Mapping[str, Value]], bool]
type Update = Callable[[Item, Mapping[str, Value]], Item]

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[#:]\w+|<>|<=|>=|[=<>+\-(),])")
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class NotSpokenError(BaseException):
    """A call or an expression that the doubles do not know; no handler may mistake it for a fault of AWS."""


def condition(expression: str, names: Mapping[str, str]) -> tuple[Condition, frozenset[str]]:
    """The condition, and the placeholders that it uses."""
    return _condition(expression, tuple(sorted(names.items())))


def update(expression: str, names: Mapping[str, str]) -> tuple[Update, frozenset[str]]:
    """What makes the new item from the old, and the placeholders that it uses."""
    return _update(expression, tuple(sorted(names.items())))


@lru_cache(maxsize=512)
def _condition(expression: str, names: tuple[tuple[str, str], ...]) -> tuple[Condition, frozenset[str]]:
    reader = _Reader(expression, dict(names))
    found = reader.either()
    reader.end()
    return found, frozenset(reader.used)


@lru_cache(maxsize=512)
def _update(expression: str, names: tuple[tuple[str, str], ...]) -> tuple[Update, frozenset[str]]:
    reader = _Reader(expression, dict(names))
    found = reader.changes()
    reader.end()
    return found, frozenset(reader.used)


class _Reader:
    def __init__(self, expression: str, names: Mapping[str, str]) -> None:
        self._expression = expression
        self._names = names
        self.used: set[str] = set()
        self._tokens: list[str] = []
        place = 0
        text = expression.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise _not_known(expression)
            self._tokens.append(found[1])
            place = found.end()
        self._tokens.reverse()

    def _refuse(self) -> NoReturn:
        raise _not_known(self._expression)

    def _next(self) -> str:
        return self._tokens.pop() if self._tokens else self._refuse()

    def _peek(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def _took(self, token: str) -> bool:
        if self._peek().upper() == token:
            self._tokens.pop()
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._took(token):
            self._refuse()

    def end(self) -> None:
        if self._tokens:
            self._refuse()

    # ── conditions ───────────────────────────────────────────────────────────────────────────────────────

    def either(self) -> Condition:
        parts = [self._both()]
        while self._took("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda item, values: any(part(item, values) for part in parts)

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._took("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda item, values: all(part(item, values) for part in parts)

    def _one(self) -> Condition:
        if self._took("NOT"):
            inner = self._one()
            return lambda item, values: not inner(item, values)
        if self._took("("):
            inner = self.either()
            self._expect(")")
            return inner
        if len(self._tokens) > 1 and self._tokens[-2] == "(":
            return self._function()
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._operand()
        if self._took("IN"):
            self._expect("(")
            choices = [self._operand()]
            while self._took(","):
                choices.append(self._operand())
            self._expect(")")
            return lambda item, values: any(
                (mine := left(item, values)) is not None and _equal(mine, choice(item, values))
                for choice in choices
            )
        sign, right = self._next(), self._operand()
        if sign == "=":
            return lambda item, values: _equal(left(item, values), right(item, values))
        if sign == "<>":
            return lambda item, values: not _equal(left(item, values), right(item, values))
        if sign not in _ORDERED:
            self._refuse()
        ordered = _ORDERED[sign]

        def compared(item: Item, values: Mapping[str, Value]) -> bool:
            first, second = left(item, values), right(item, values)
            if first is None or second is None or first.keys() != second.keys():
                return False
            [kind] = first
            if kind not in ("N", "S"):
                raise NotSpokenError(f"{sign} of {kind}")
            return ordered(_plain(first), _plain(second))

        return compared

    def _function(self) -> Condition:
        name = self._next().lower()
        self._expect("(")
        path = self._path()
        if name == "begins_with":
            self._expect(",")
            prefix = self._operand()
            self._expect(")")
            return lambda item, values: str(item.get(path, {}).get("S", "\0")).startswith(
                (prefix(item, values) or {})["S"]
            )
        self._expect(")")
        if name == "attribute_exists":
            return lambda item, _: path in item
        if name == "attribute_not_exists":
            return lambda item, _: path not in item
        raise _not_known(self._expression)

    # ── operands ─────────────────────────────────────────────────────────────────────────────────────────

    def _path(self) -> str:
        token = self._next()
        if token.startswith("#"):
            self.used.add(token)
            return self._names[token] if token in self._names else self._refuse()
        return token if token[0].isalpha() or token[0] == "_" else self._refuse()

    def _operand(self) -> _Operand:
        if self._peek().startswith(":"):
            name = self._next()
            self.used.add(name)
            return lambda _, values: values[name]
        path = self._path()
        return lambda item, _: item.get(path)

    # ── updates ──────────────────────────────────────────────────────────────────────────────────────────

    def changes(self) -> Update:
        steps: list[Callable[[Item, Item, Mapping[str, Value]], None]] = []
        touched: list[str] = []
        seen: set[str] = set()
        while self._tokens:
            verb = self._next().upper()
            if verb in seen or verb not in ("SET", "REMOVE", "ADD", "DELETE"):
                self._refuse()
            seen.add(verb)
            while True:
                path = self._path()
                touched.append(path)
                steps.append(self._step(verb, path))
                if not self._took(","):
                    break
        if len(set(touched)) != len(touched) or not steps:
            self._refuse()

        def changed(old: Item, values: Mapping[str, Value]) -> Item:
            new = dict(old)
            for step in steps:
                step(old, new, values)
            return new

        return changed

    def _step(self, verb: str, path: str) -> Callable[[Item, Item, Mapping[str, Value]], None]:
        if verb == "REMOVE":
            return lambda old, new, values: _without(new, path)
        if verb == "DELETE":
            taken = self._operand()
            return lambda old, new, values: _taken_out(new, path, old.get(path), _there(taken(old, values)))
        if verb == "ADD":
            added = self._operand()
            return lambda old, new, values: new.__setitem__(
                path, _sum(old.get(path), _there(added(old, values)))
            )
        self._expect("=")
        value = self._set_value()
        return lambda old, new, values: new.__setitem__(path, _there(value(old, values)))

    def _set_value(self) -> _Operand:
        if len(self._tokens) > 1 and self._tokens[-2] == "(":
            return self._set_function()
        first = self._operand()
        sign = self._peek()
        if sign not in ("+", "-"):
            return first
        self._next()
        second = self._operand()
        factor = 1 if sign == "+" else -1

        def reckoned(item: Item, values: Mapping[str, Value]) -> Value:
            one, other = _there(first(item, values)), _there(second(item, values))
            return {"N": str(Decimal(one["N"]) + factor * Decimal(other["N"]))}

        return reckoned

    def _set_function(self) -> _Operand:
        name = self._next().lower()
        self._expect("(")
        if name == "if_not_exists":
            path = self._path()
            self._expect(",")
            other = self._set_value()
            self._expect(")")
            return lambda item, values: item[path] if path in item else other(item, values)
        if name == "list_append":
            first = self._set_value()
            self._expect(",")
            second = self._set_value()
            self._expect(")")
            return lambda item, values: {
                "L": [*_there(first(item, values))["L"], *_there(second(item, values))["L"]]
            }
        raise _not_known(self._expression)


def _not_known(expression: str) -> NotSpokenError:
    return NotSpokenError(f"not an expression that is known here: {expression}")


def _without(item: Item, path: str) -> None:
    item.pop(path, None)


def _taken_out(new: Item, path: str, old: Value | None, taken: Value) -> None:
    left = sorted({*(old or {"SS": []})["SS"]} - {*taken["SS"]})
    if left:
        new[path] = {"SS": left}
    else:
        # There are no empty sets.
        new.pop(path, None)


def _there(value: Value | None) -> Value:
    if value is None:
        raise NotSpokenError("an attribute that is not there is used as a value")
    return value


def _plain(value: Value) -> Any:
    [(kind, content)] = value.items()
    return Decimal(content) if kind == "N" else content.encode() if kind == "S" else content


def _equal(first: Value | None, second: Value | None) -> bool:
    if first is None or second is None or first.keys() != second.keys():
        return False
    [kind] = first
    return set(first["SS"]) == set(second["SS"]) if kind == "SS" else bool(_plain(first) == _plain(second))


def _sum(old: Value | None, added: Value) -> Value:
    [kind] = added
    if old is None:
        return added
    if kind == "N":
        return {"N": str(Decimal(old["N"]) + Decimal(added["N"]))}
    if kind == "SS":
        return {"SS": sorted({*old["SS"], *added["SS"]})}
    raise NotSpokenError(f"ADD of {kind}")
