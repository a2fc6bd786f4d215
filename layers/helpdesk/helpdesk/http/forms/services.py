"""Flattens what form services send: answers by name, so that a mapping reads the same for each service.

An answer has every name that its service gives it: its reference or key first, then its label. A compound
answer (a name, an address) is a text, and each of its parts is an answer `name.part` as well. Empty answers
are left out. The shapes are those of the services' public documentation.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from helpdesk.errors import FieldProblem, RejectedError
from helpdesk.intake.bodies import WebForm, mapping, read_fields, read_json

# Gravity Forms' fields about the entry itself; every other field is an answer.
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
# In letters, of all names together: a part's name repeats the names of everything around it.
_LONGEST_NAMES = 500_000


@dataclass(frozen=True)
class Submission:
    """A filled-in form. `id` is the service's own; `at` is its time, where the service sends an offset.

    `files` have URLs; of the files in `left_behind` the service sent only names.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, str]] = field(default_factory=list)
    left_behind: tuple[str, ...] = ()
    id: str | None = None
    at: str | None = None


def read_submission(
    service: str, content_type: str, raw: bytes, uploads: Collection[str] = ()
) -> Submission | None:
    """The submission; None for an event that is no finished submission.

    `uploads` names the questions for files, for services that do not mark files.

    Raises:
        RejectedError: the body is not what this service sends.
    """
    collected = _Collected(uploads)
    if service in _FIELDS_READERS:
        return _FIELDS_READERS[service](read_fields(content_type, raw), collected)
    body = read_json(raw)
    if not isinstance(body, dict):
        raise _unlike("must be a JSON object")
    return _JSON_READERS[service](body, collected)


class _Collected:
    """Collects answers with their names. An answer's first name wins over another answer's second name."""

    def __init__(self, uploads: Collection[str]) -> None:
        self.uploads = uploads
        self._entries: list[tuple[Any, tuple[Any, ...]]] = []
        self._room = _LONGEST_NAMES
        self.files: list[dict[str, str]] = []
        self.left_behind: list[str] = []

    def put(self, value: Any, *names: Any) -> None:
        self._entries.append((value, names))

    def put_answer(self, value: Any, *names: Any) -> None:
        """Puts files where the form file says that the question is for files; any other link is text."""
        if any(name in self.uploads for name in names if isinstance(name, str)):
            self.put_files(_list_in(value) or [value], *names)
        else:
            self.put(value, *names)

    def put_files(self, files: Iterable[Any], *names: Any) -> None:
        """Puts files that come as URLs, or as objects with a URL and perhaps a name."""
        urls = []
        for file in files:
            url = file if isinstance(file, str) else mapping(file).get("url") or mapping(file).get("link")
            name = mapping(file).get("name")
            if isinstance(url, str) and _URL.fullmatch(url):
                name = name or url.partition("?")[0].rpartition("/")[2]
                self.files.append({"url": url, **({"name": name} if name else {})})
                urls.append(url)
            elif file:
                self.left_behind.append(str(name or url or "a file"))
        self.put(urls, *names)

    def answers(self) -> dict[str, Any]:
        """The answers by name. Raises RejectedError where the names are longer than any form's."""
        answers: dict[str, Any] = {}
        for place in range(max((len(names) for _, names in self._entries), default=0)):
            for value, names in self._entries:
                name = names[place].strip() if place < len(names) and isinstance(names[place], str) else ""
                if name:
                    self._add(answers, name, value)
        return answers

    def _add(self, answers: dict[str, Any], name: str, value: Any) -> None:
        self._room -= len(name)
        if self._room < 0:
            raise _unlike("has more and longer names than a form's answers")
        if isinstance(value, dict):
            for part, inner in value.items():
                self._add(answers, f"{name}.{part}", inner)
            value = " ".join(str(inner).strip() for inner in value.values() if _is_scalar(inner)).strip()
        elif isinstance(value, list):
            value = [inner for inner in value if inner not in (None, "")]
            value = value[0] if len(value) == 1 and _is_scalar(value[0]) else value
        elif isinstance(value, str):
            # Browsers end each line of a text area with a carriage return and a line feed.
            value = value.strip().replace("\r\n", "\n")
        if value not in (None, "", []):
            answers.setdefault(name, value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────


def _typeform(body: Mapping[str, Any], collected: _Collected) -> Submission | None:
    if body.get("event_type") != "form_response":
        return None
    response = mapping(body.get("form_response"))
    # An answer may lack its question's reference; the definition holds it.
    questions = _by_id(mapping(response.get("definition")).get("fields"))
    for answer in map(mapping, _list(response.get("answers"))):
        about = mapping(answer.get("field"))
        field_id = about.get("id")
        question = questions.get(field_id, {}) if isinstance(field_id, str) else {}
        names = (about.get("ref") or question.get("ref"), field_id, question.get("title"))
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


def _tally(body: Mapping[str, Any], collected: _Collected) -> Submission | None:
    if body.get("eventType") != "FORM_RESPONSE":
        return None
    response = mapping(body.get("data"))
    for question in map(mapping, _list(response.get("fields"))):
        names, value = (question.get("key"), question.get("label")), question.get("value")
        if question.get("type") in ("FILE_UPLOAD", "SIGNATURE"):
            collected.put_files(_list(value), *names)
        elif question.get("type") == "MATRIX":
            rows, columns = _by_id(question.get("rows")), _by_id(question.get("columns"))
            texts_by_row = {
                str(_text_of(rows, row)): [_text_of(columns, column) for column in _list(picked)]
                for row, picked in mapping(value).items()
            }
            collected.put(texts_by_row, *names)
        else:
            options = _by_id(question.get("options"))
            texts = [_text_of(options, item) for item in (value if isinstance(value, list) else [value])]
            collected.put(texts if isinstance(value, list) else texts[0], *names)
    submission_id = response.get("submissionId") or response.get("responseId")
    return _submission(collected, submission_id, response.get("createdAt"))


def _jotform(sent: WebForm, collected: _Collected) -> Submission | None:
    answers = sent.fields.get("rawRequest")
    if not isinstance(answers, str):
        raise _unlike("has no rawRequest")
    for key, value in mapping(read_json(answers.encode())).items():
        question = _JOTFORM_QUESTION.fullmatch(key)
        # Questions for files may come without a number; any other name without one is Jotform's own.
        if question or key in collected.uploads:
            collected.put_answer(
                _moment_in(value) or value, *((question["name"], key) if question else (key,))
            )
    return _submission(collected, sent.fields.get("submissionID"), None)


def _google(body: Mapping[str, Any], collected: _Collected) -> Submission | None:
    named = body.get("namedValues")
    if not isinstance(named, dict):
        raise _unlike("has no namedValues")
    for title, value in named.items():
        collected.put(value, title)
    collected.put(body.get("respondentEmail"), "respondentEmail")
    return _submission(collected, body.get("responseId"), body.get("timestamp"))


def _microsoft(body: Mapping[str, Any], collected: _Collected) -> Submission | None:
    # The flow sends the details beside the id; a body that is the details alone is accepted too.
    details = mapping(body.get("details")) or body
    for key, value in details.items():
        if key in collected.uploads:
            collected.put_answer(value, key)
        elif key not in ("responseId", "submitDate"):
            # Several choices come as a JSON list in a text.
            choices = _list_in(value)
            are_texts = choices and all(isinstance(choice, str) for choice in choices)
            collected.put(choices if are_texts else value, key)
    return _submission(collected, body.get("responseId"), details.get("submitDate"))


def _gravity(body: Mapping[str, Any], collected: _Collected) -> Submission | None:
    is_entry = "form_id" in body
    parts: dict[str, list[Any]] = {}
    for key, value in body.items():
        if is_entry and key in _GRAVITY_ENTRY:
            continue
        collected.put_answer(value, key)
        if part := _GRAVITY_PART.fullmatch(key):
            parts.setdefault(part["field"], []).append(value)
    for field_id, values in parts.items():
        # A name or an address comes in parts; the whole joins them as a person writes it.
        collected.put(" ".join(str(value) for value in values if _is_scalar(value)), field_id)
    return _submission(collected, body.get("id"), _as_utc(body.get("date_created")))


def _html(sent: WebForm, collected: _Collected) -> Submission | None:
    for name, value in sent.fields.items():
        collected.put(value, name)
    collected.left_behind += sent.files
    return _submission(collected, None, None)


def _json_body(body: Mapping[str, Any], _: _Collected) -> Submission | None:
    # A program's objects keep their shape: expressions can reach into them.
    return Submission(answers=dict(body))


_FIELDS_READERS: dict[str, Callable[[WebForm, _Collected], Submission | None]] = {
    "jotform": _jotform,
    "html": _html,
}
_JSON_READERS: dict[str, Callable[[Mapping[str, Any], _Collected], Submission | None]] = {
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
        left_behind=tuple(collected.left_behind),
        id=str(own_id) if _is_scalar(own_id) else None,
        at=at if _has_offset(at) else None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_in(value: Any) -> list[Any]:
    """A list, or the list in a text of JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return _list(read_json(value.encode(errors="replace")))
        except RejectedError:
            return []
    return _list(value)


def _by_id(described: Any) -> dict[str, Mapping[str, Any]]:
    """A service's descriptions of its questions or choices, by their ids."""
    descriptions = map(mapping, _list(described))
    return {item["id"]: item for item in descriptions if isinstance(item.get("id"), str)}


def _text_of(choices: Mapping[str, Mapping[str, Any]], choice: Any) -> Any:
    return choices[choice].get("text") if isinstance(choice, str) and choice in choices else choice


def _moment_in(value: Any) -> str | None:
    """Jotform sends a date, and a time of day, as its parts."""
    parts = mapping(value)
    day = None
    if {"year", "month", "day"} <= parts.keys():
        try:
            day = date(int(parts["year"]), int(parts["month"]), int(parts["day"])).isoformat()
        except (OverflowError, TypeError, ValueError):
            return None
    elif not {"hour", "hourSelect", "timeInput"} & parts.keys():
        return None
    return " ".join(filter(None, (day, _time_in(parts)))) or None


def _time_in(parts: Mapping[str, Any]) -> str | None:
    hour, _, minute = str(parts.get("timeInput") or "").partition(":")
    hour, minute = parts.get("hour") or parts.get("hourSelect") or hour, parts.get("min") or minute
    try:
        number, half = int(hour), str(parts.get("ampm") or "").upper()
        if half in ("AM", "PM"):
            number = number % 12 + (12 if half == "PM" else 0)
        return time(number, int(minute or parts.get("minuteSelect") or 0)).strftime("%H:%M")
    except (OverflowError, TypeError, ValueError):
        return None


def _as_utc(value: Any) -> str | None:
    """A time of Gravity Forms, which writes UTC without an offset."""
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
