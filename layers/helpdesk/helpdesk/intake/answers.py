"""Flattens what form services send: answers by name, so that a mapping reads the same for each service.

An answer stands under every name that its service gives it: its reference or key first, then its label. A
compound one (a name, an address) is a text, and each part stands under `name.part` as well. Empty answers are
left out. The shapes are those of the services' public documentation.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from helpdesk.errors import FieldProblem, RejectedError
from helpdesk.intake.bodies import mapping, read_fields, read_json

# What Gravity Forms says of the entry itself; everything else in it is an answer.
_GRAVITY_ENTRY = {
    "id",
    "form_id",
    "post_id",
    "date_created",
    "date_updated",
    "is_starred",
    "is_read",
    "ip",
    "source_url",
    "source_id",
    "user_agent",
    "currency",
    "payment_status",
    "payment_date",
    "payment_amount",
    "payment_method",
    "transaction_id",
    "is_fulfilled",
    "created_by",
    "transaction_type",
    "status",
}
_JOTFORM_QUESTION = re.compile(r"q\d+_(?P<name>.+)")
_GRAVITY_PART = re.compile(r"(?P<field>\d+)\.\d+")
_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Submission:
    """One filled-in form. `id` is the service's own; `at` is when, where it says so beyond doubt."""

    answers: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, str]] = field(default_factory=list)
    id: str | None = None
    at: str | None = None


def read_submission(service: str, content_type: str, raw: bytes) -> Submission | None:
    """What was filled in; None for an event that is no finished submission.

    Raises:
        RejectedError: the body is not what this service sends.
    """
    if service in _FIELDS_READERS:
        return _FIELDS_READERS[service](read_fields(content_type, raw))
    body = read_json(raw)
    if not isinstance(body, dict):
        raise _unlike("must be a JSON object")
    return _JSON_READERS[service](body)


class _Collected:
    """Answers on the way, each with its names; earlier kinds of names go before later ones."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, tuple[Any, ...]]] = []
        self.files: list[dict[str, str]] = []

    def put(self, value: Any, *names: Any) -> None:
        self._entries.append((value, names))

    def put_files(self, found: Iterable[Any], *names: Any) -> None:
        """Files as URLs, or as objects that hold a URL and perhaps a name."""
        urls = []
        for one in found:
            url = one if isinstance(one, str) else mapping(one).get("url") or mapping(one).get("link")
            if isinstance(url, str) and _URL.fullmatch(url):
                name = mapping(one).get("name") or url.partition("?")[0].rpartition("/")[2]
                self.files.append({"url": url, **({"name": name} if name else {})})
                urls.append(url)
        self.put(urls, *names)

    def answers(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for place in range(max((len(names) for _, names in self._entries), default=0)):
            for value, names in self._entries:
                name = names[place].strip() if place < len(names) and isinstance(names[place], str) else ""
                if name:
                    _spread(found, name, value)
        return found


def _spread(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for part, inner in value.items():
            _spread(found, f"{name}.{part}", inner)
        value = " ".join(str(inner).strip() for inner in value.values() if _is_scalar(inner)).strip()
    elif isinstance(value, list):
        value = [inner for inner in value if inner not in (None, "")]
        value = value[0] if len(value) == 1 and _is_scalar(value[0]) else value
    elif isinstance(value, str):
        # Browsers send the lines of a text area with a carriage return each.
        value = value.strip().replace("\r\n", "\n")
    if value not in (None, "", []):
        found.setdefault(name, value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────


def _typeform(body: Mapping[str, Any]) -> Submission | None:
    if body.get("event_type") != "form_response":
        return None
    response = mapping(body.get("form_response"))
    asked = _list(mapping(response.get("definition")).get("fields"))
    titles = {mapping(one).get("id"): mapping(one).get("title") for one in asked}
    collected = _Collected()
    for answer in map(mapping, _list(response.get("answers"))):
        asked_by = mapping(answer.get("field"))
        names = (asked_by.get("ref"), asked_by.get("id"), titles.get(asked_by.get("id")))
        kind = answer.get("type")
        value = answer.get(kind) if isinstance(kind, str) else None
        if kind == "file_url":
            collected.put_files([value], *names)
        elif kind == "choice":
            collected.put(mapping(value).get("label") or mapping(value).get("other"), *names)
        elif kind == "choices":
            collected.put([*_list(mapping(value).get("labels")), mapping(value).get("other")], *names)
        else:
            collected.put(value, *names)
    for name, value in mapping(response.get("hidden")).items():
        collected.put(value, name)
    for variable in map(mapping, _list(response.get("variables"))):
        collected.put(variable.get(str(variable.get("type"))), variable.get("key"))
    return _submission(collected, response.get("token"), response.get("submitted_at"))


def _tally(body: Mapping[str, Any]) -> Submission | None:
    if body.get("eventType") != "FORM_RESPONSE":
        return None
    response = mapping(body.get("data"))
    collected = _Collected()
    for one in map(mapping, _list(response.get("fields"))):
        names, value = (one.get("key"), one.get("label")), one.get("value")
        if one.get("type") in ("FILE_UPLOAD", "SIGNATURE"):
            collected.put_files(_list(value), *names)
        elif one.get("type") == "MATRIX":
            rows, columns = _texts_by_id(one.get("rows")), _texts_by_id(one.get("columns"))
            chosen = {
                rows.get(row, row): [columns.get(column, column) for column in _list(picked)]
                for row, picked in mapping(value).items()
            }
            collected.put(chosen, *names)
        else:
            options = _texts_by_id(one.get("options"))
            chosen_ids = value if isinstance(value, list) else [value]
            chosen_texts = [options.get(item, item) if isinstance(item, str) else item for item in chosen_ids]
            collected.put(chosen_texts if isinstance(value, list) else chosen_texts[0], *names)
    submission_id = response.get("submissionId") or response.get("responseId")
    return _submission(collected, submission_id, response.get("createdAt"))


def _jotform(fields: Mapping[str, Any]) -> Submission | None:
    collected = _Collected()
    answers = fields.get("rawRequest")
    if not isinstance(answers, str):
        raise _unlike("has no rawRequest")
    for key, value in mapping(read_json(answers.encode())).items():
        question = _JOTFORM_QUESTION.fullmatch(key)
        if isinstance(value, list) and value and all(_is_url(one) for one in value):
            collected.put_files(value, question["name"] if question else key)
        elif question:
            collected.put(_date_in(value) or value, question["name"], key)
    return _submission(collected, fields.get("submissionID"), None)


def _google(body: Mapping[str, Any]) -> Submission | None:
    named = body.get("namedValues")
    if not isinstance(named, dict):
        raise _unlike("has no namedValues")
    collected = _Collected()
    for title, value in named.items():
        collected.put(value, title)
    collected.put(body.get("respondentEmail"), "respondentEmail")
    return _submission(collected, body.get("responseId"), body.get("timestamp"))


def _microsoft(body: Mapping[str, Any]) -> Submission | None:
    # The flow sends the details beside the id; as the whole body they are understood too.
    details = mapping(body.get("details")) or body
    collected = _Collected()
    for key, value in details.items():
        found = _list_in(value)
        if any(isinstance(one, dict) for one in found):
            collected.put_files(found, key)
        elif key not in ("responseId", "submitDate"):
            collected.put(found or value, key)
    return _submission(collected, body.get("responseId"), details.get("submitDate"))


def _gravity(body: Mapping[str, Any]) -> Submission | None:
    is_entry = "form_id" in body
    collected = _Collected()
    parts: dict[str, list[Any]] = {}
    for key, value in body.items():
        if is_entry and key in _GRAVITY_ENTRY:
            continue
        found = _list_in(value) or [value]
        if found and all(_is_url(one) for one in found):
            collected.put_files(found, key)
        else:
            collected.put(value, key)
        if part := _GRAVITY_PART.fullmatch(key):
            parts.setdefault(part["field"], []).append(value)
    for field_id, values in parts.items():
        # A name or an address comes in parts; the whole reads as a person writes it.
        collected.put(" ".join(str(value) for value in values if _is_scalar(value)), field_id)
    return _submission(collected, body.get("id"), _as_utc(body.get("date_created")))


def _html(fields: Mapping[str, Any]) -> Submission | None:
    collected = _Collected()
    for name, value in fields.items():
        collected.put(value, name)
    return _submission(collected, None, None)


def _json_body(body: Mapping[str, Any]) -> Submission | None:
    # A program's own objects keep their shape: expressions reach into them by themselves.
    return Submission(answers=dict(body))


_FIELDS_READERS: dict[str, Callable[[Mapping[str, Any]], Submission | None]] = {
    "jotform": _jotform,
    "html": _html,
}
_JSON_READERS: dict[str, Callable[[Mapping[str, Any]], Submission | None]] = {
    "typeform": _typeform,
    "tally": _tally,
    "google": _google,
    "microsoft": _microsoft,
    "gravity": _gravity,
    "json": _json_body,
}


def _submission(collected: _Collected, own_id: Any, at: Any) -> Submission:
    return Submission(
        answers=collected.answers(),
        files=collected.files,
        id=str(own_id) if _is_scalar(own_id) else None,
        at=at if _has_offset(at) else None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_in(value: Any) -> list[Any]:
    """A list, also one that comes written out as JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return _list(json.loads(value))
        except (ValueError, RecursionError):
            return []
    return _list(value)


def _texts_by_id(options: Any) -> dict[Any, Any]:
    return {
        option["id"]: option.get("text")
        for option in map(mapping, _list(options))
        if isinstance(option.get("id"), str)
    }


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _date_in(value: Any) -> str | None:
    """Jotform sends a date as its parts."""
    parts = mapping(value)
    if not {"year", "month", "day"} <= parts.keys():
        return None
    try:
        return date(int(parts["year"]), int(parts["month"]), int(parts["day"])).isoformat()
    except (TypeError, ValueError):
        return None


def _as_utc(value: Any) -> str | None:
    """Gravity Forms writes times in UTC and does not say so."""
    text = str(value).replace(" ", "T") + "Z"
    return text if _has_offset(text) else None


def _has_offset(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _unlike(problem: str) -> RejectedError:
    return RejectedError(
        "unexpected_body", "the body is not what this form's service sends", (FieldProblem("body", problem),)
    )
