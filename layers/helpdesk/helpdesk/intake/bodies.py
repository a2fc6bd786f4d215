"""Reads the body of a call from outside: JSON, a web form's pairs, or a multipart form's text fields."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl

from helpdesk.errors import FieldProblem, RejectedError

URLENCODED = "application/x-www-form-urlencoded"
_MOST_FIELDS = 1000
# No form has as many; later steps copy names and values several times.
_MOST_VALUES = 50_000
_MOST_LEVELS = 64
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset="?([\w-]{1,40})', re.IGNORECASE)
_FIELD_NAME = re.compile(rb';\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_FILE_NAME = re.compile(
    rb""";\s*filename(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))|\*=(?:[\w-]*'[\w-]*')?([^\s;]+))""", re.IGNORECASE
)
_FIELD_OF_CHARSET = b"_charset_"
# The charsets of web pages, by their usual names. Python's other codecs include some that are no charsets.
_CHARSETS = {
    **{name: name for name in ("utf-8", "utf8", "koi8-r", "koi8-u", "big5", "gbk", "gb18030", "gb2312")},
    **{name: name for name in ("shift_jis", "euc-jp", "iso-2022-jp", "euc-kr")},
    **{name: name for name in (f"iso-8859-{part}" for part in range(2, 17) if part != 12)},
    **{name: name for name in (f"windows-{page}" for page in range(1250, 1259))},
    # Browsers read all of these as windows-1252.
    **dict.fromkeys(("us-ascii", "iso-8859-1", "latin1", "windows-1252"), "windows-1252"),
}


class WebForm(NamedTuple):
    """The fields of a web form: a text for each, a list of texts where a name comes more than once.

    An uploaded file leaves only its name: as the field's text, and in `files`.
    """

    fields: dict[str, Any]
    files: tuple[str, ...] = ()


class _Pair(NamedTuple):
    name: bytes
    value: bytes
    is_file: bool = False


def read_json(raw: bytes) -> Any:
    """The value in a JSON body. Raises RejectedError `not_json`, or `unexpected_body` for one too large."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        problem = FieldProblem("body", "is not JSON in UTF-8")
        raise RejectedError("not_json", "the body is not JSON", (problem,)) from error
    _check_size(value)
    return value


def _check_size(value: Any) -> None:
    level, left = [value], _MOST_VALUES
    for _ in range(_MOST_LEVELS):
        blocks = [item for item in level if isinstance(item, dict | list)]
        level = [
            inner for block in blocks for inner in (block.values() if isinstance(block, dict) else block)
        ]
        left -= len(level)
        if left < 0:
            raise _unexpected(f"holds more than {_MOST_VALUES} values")
        if not level:
            return
    raise _unexpected("is nested too deeply")


def read_fields(content_type: str, raw: bytes) -> WebForm:
    """The fields of a web form.

    Raises RejectedError where the body is of another kind, or its charset cannot be found out.
    """
    kind = content_type.partition(";")[0].strip().lower()
    boundary = _boundary_in(content_type)
    if kind == URLENCODED:
        pairs = _urlencoded(raw)
    elif boundary:
        pairs = list(_parts(raw, boundary))
    else:
        detail = f"send {URLENCODED} or multipart/form-data"
        problem = FieldProblem("Content-Type", "is not one of a form")
        raise RejectedError("unsupported_media_type", detail, (problem,))
    if len(pairs) > _MOST_FIELDS:
        raise _unexpected(f"has more than {_MOST_FIELDS} fields")
    charset = _CHARSET.search(content_type)
    names, values = _decoded(pairs, charset[1] if charset else None)
    files = tuple(value for pair, value in zip(pairs, values, strict=True) if pair.is_file and value)
    return WebForm(_grouped(names, values), files)


def without_boundary(content_type: str, raw: bytes) -> bytes:
    """The body without the boundary, which a browser makes anew each time that it sends the same form."""
    boundary = _boundary_in(content_type)
    return raw.replace(boundary, b"") if boundary else raw


def _boundary_in(content_type: str) -> bytes | None:
    is_multipart = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    match = _BOUNDARY.search(content_type) if is_multipart else None
    return (match[1] or match[2]).encode(errors="replace") if match else None


def _urlencoded(raw: bytes) -> list[_Pair]:
    try:
        # As bytes: the charset is known only when all pairs are read.
        pairs = parse_qsl(
            raw.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise _unexpected(f"has more than {_MOST_FIELDS} fields") from error
    return [_Pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def _parts(raw: bytes, boundary: bytes) -> Iterator[_Pair]:
    for part in (b"\r\n" + raw).split(b"\r\n--" + boundary, _MOST_FIELDS + 2)[1:]:
        if part.startswith(b"--"):
            return
        head, _, content = part.partition(b"\r\n\r\n")
        name, file = _FIELD_NAME.search(head), _FILE_NAME.search(head)
        if name is not None:
            # Browsers write a quotation mark in a name as %22.
            label = (name[1] or name[2] or b"").replace(b"%22", b'"')
            value = content if file is None else file[1] or file[2] or file[3] or b""
            yield _Pair(label, value, is_file=file is not None)


def _decoded(pairs: list[_Pair], of_sender: str | None) -> tuple[list[str], list[str]]:
    """Names and values, no character replaced.

    The page or the sender declares the charset; else it is UTF-8, else the charset that browsers use for a
    page that declares none.
    """
    of_page = (pair.value for pair in pairs if pair.name == _FIELD_OF_CHARSET)
    declared = next(of_page, b"").decode("latin-1") or of_sender
    charsets = [_CHARSETS.get(declared.strip().lower(), "")] if declared else ["utf-8", "windows-1252"]
    for charset in filter(None, charsets):
        try:
            names = [pair.name.decode(charset) for pair in pairs]
            return names, [pair.value.decode(charset) for pair in pairs]
        except ValueError:
            continue
    raise _unexpected("is not in the charset that it declares" if declared else "is not in UTF-8")


def _grouped(names: list[str], values: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        # Some frameworks want brackets behind the name of a list; the field's name is without them.
        is_list = name.endswith("[]")
        key = name.removesuffix("[]")
        if key not in fields:
            fields[key] = [value] if is_list else value
        elif isinstance(fields[key], list):
            fields[key].append(value)
        else:
            fields[key] = [fields[key], value]
    return fields


def _unexpected(problem: str) -> RejectedError:
    return RejectedError(
        "unexpected_body", "the body is not what this form sends", (FieldProblem("body", problem),)
    )


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty object: senders leave out and change fields at will."""
    return value if isinstance(value, dict) else {}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
