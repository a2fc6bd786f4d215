"""Takes a request out of the envelope in which it travels."""

import base64
import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from helpdesk.errors import FieldProblem, RejectedError
from helpdesk.models import Identifier, Source

IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
SOURCE: TypeAdapter[str] = TypeAdapter(Source)


class Unwrapped(NamedTuple):
    """A request's own body, and its envelope's id and source, which hold where the body names none."""

    body: dict[str, Any]
    event_id: str | None = None
    source: str | None = None


def unwrap(text: str, attributes: Mapping[str, str] | None = None) -> Unwrapped:
    """The request inside `text`: bare, an SNS notification, an EventBridge event, a CloudEvent, or a list of
    one as Kapture's API takes it. Envelopes may be nested.

    `attributes` are those of a CloudEvent whose data is the text.

    Raises:
        RejectedError: the text is no JSON object.
    """
    event = attributes or {}
    unwrapped = Unwrapped(_object_in(_parse(text)), _cloudevent_id(event), _text(event, "source"))
    # An SNS notification of a bus's event is the deepest real case; the limit only stops mischief.
    for _ in range(4):
        inner = _unwrap_once(unwrapped)
        if inner is None:
            break
        unwrapped = inner
    event_id = unwrapped.event_id
    if event_id is not None and fitting(IDENTIFIER, event_id) is None:
        event_id = _digest(event_id)
    return Unwrapped(unwrapped.body, event_id, fitting(SOURCE, unwrapped.source))


def fitting[T](adapter: TypeAdapter[T], value: Any) -> T | None:
    """The value where the adapter accepts it, else None."""
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _unwrap_once(outer: Unwrapped) -> Unwrapped | None:
    body = outer.body
    if body.get("Type") == "Notification" and isinstance(body.get("Message"), str):
        return Unwrapped(
            _object_in(_parse(body["Message"])), outer.event_id or _text(body, "MessageId"), outer.source
        )
    if "detail-type" in body and "detail" in body:
        return _unwrap_key(body, "detail", _text(body, "id"), outer)
    if "specversion" in body and "data" in body:
        return _unwrap_key(body, "data", _cloudevent_id(body), outer)
    if "specversion" in body and "data_base64" in body:
        decoded = body | {"data_base64": _decoded(body["data_base64"])}
        return _unwrap_key(decoded, "data_base64", _cloudevent_id(body), outer)
    return None


def _unwrap_key(body: Mapping[str, Any], key: str, event_id: str | None, outer: Unwrapped) -> Unwrapped:
    inner = body[key]
    if isinstance(inner, str):
        inner = _parse(inner)
    return Unwrapped(
        _object_in(inner, key), event_id or outer.event_id, _text(body, "source") or outer.source
    )


def _cloudevent_id(event: Mapping[str, Any]) -> str | None:
    """Source and id together: an id alone is unique only within its source."""
    event_id, source = _text(event, "id"), _text(event, "source") or ""
    if event_id is None:
        return None
    # With another # in the source nobody could tell where it ends.
    return _digest(f"{source} {event_id}") if "#" in source else f"{source}#{event_id}"


def _digest(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:32]


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise RejectedError(
            "not_json", f"the body is not JSON{where}", (FieldProblem("body", f"is not JSON{where}"),)
        ) from error


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (TypeError, ValueError) as error:
        problem = FieldProblem("data_base64", "is not UTF-8 text in base64")
        raise RejectedError("not_json", "the body is not JSON", (problem,)) from error


def _object_in(value: Any, field: str = "body") -> dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise RejectedError(
            "not_json",
            "the body is no JSON object",
            (FieldProblem(field, "must be a JSON object, or a list of one"),),
        )
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) and value else None
