"""Reads the body of a call from outside: JSON, a web form's pairs, or a multipart form's text fields."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from helpdesk.errors import FieldProblem, RejectedError

_MOST_FIELDS = 1000
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_FIELD_NAME = re.compile(r';\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE_NAME = re.compile(r';\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def read_json(raw: bytes) -> Any:
    """The value in a JSON body. Raises RejectedError `not_json`."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        problem = FieldProblem("body", "is not JSON in UTF-8")
        raise RejectedError("not_json", "the body is not JSON", (problem,)) from error


def read_fields(content_type: str, raw: bytes) -> dict[str, Any]:
    """The fields of a web form: a text for each, a list of texts where a name comes more than once.

    Of an uploaded file only the name is kept. Raises RejectedError where the body is of another kind.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        body = read_json(raw)
        if not isinstance(body, dict):
            raise _unlike("must be a JSON object")
        return body
    if kind == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(
                raw.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError as error:
            raise _unlike(f"has more than {_MOST_FIELDS} fields") from error
        return _together(pairs)
    boundary = _BOUNDARY.search(content_type) if kind == "multipart/form-data" else None
    if boundary is None:
        detail = "send application/x-www-form-urlencoded, multipart/form-data or application/json"
        problem = FieldProblem("Content-Type", "is not one of a form")
        raise RejectedError("unsupported_media_type", detail, (problem,))
    return _together(_parts(raw, (boundary[1] or boundary[2]).encode()))


def _parts(raw: bytes, boundary: bytes) -> Iterable[tuple[str, str]]:
    for part in (b"\r\n" + raw).split(b"\r\n--" + boundary, _MOST_FIELDS + 1)[1:]:
        if part.startswith(b"--"):
            return
        head, _, content = part.partition(b"\r\n\r\n")
        described = head.decode(errors="replace")
        name = _FIELD_NAME.search(described)
        if name is None:
            continue
        file = _FILE_NAME.search(described)
        # Browsers write a quotation mark in a name as %22.
        yield name[1].replace("%22", '"'), file[1] if file else content.decode(errors="replace")


def _together(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        # Some frameworks ask for the brackets; without them the name reads as people wrote it.
        is_list = name.endswith("[]")
        key = name.removesuffix("[]")
        if key not in fields:
            fields[key] = [value] if is_list else value
        elif isinstance(fields[key], list):
            fields[key].append(value)
        else:
            fields[key] = [fields[key], value]
    return fields


def _unlike(problem: str) -> RejectedError:
    return RejectedError(
        "unexpected_body", "the body is not what this form sends", (FieldProblem("body", problem),)
    )


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one: senders leave out and change what they like."""
    return value if isinstance(value, dict) else {}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
