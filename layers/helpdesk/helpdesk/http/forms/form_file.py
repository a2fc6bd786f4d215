"""A form, as the build has checked and written it, and how it turns a submission into a request."""

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from helpdesk.http.forms.expressions import Evaluation, as_text, kind_of
from helpdesk.http.forms.services import Submission
from helpdesk.http.signatures import Verification, verification
from helpdesk.models import one_line


class Mapped(NamedTuple):
    """A request's body, the expressions that failed, and whether the body holds none of the answers."""

    body: dict[str, Any]
    failures: list[str]
    is_unmapped: bool


class Form(NamedTuple):
    """A form that submissions can be sent to; docs/forms.md tells what each field means.

    `request` holds the fields of the request; their values are for `Evaluation`.
    """

    name: str
    service: str
    verify: Verification
    helpdesk: str | None
    # The request's source.
    source: str
    # Readable names for answers that their service names by ids only.
    names: Mapping[str, str]
    # The questions for files, by the names that their service gives them.
    uploads: Sequence[str]
    # Whether a submission that makes no valid request is accepted anyway.
    keeps_invalid: bool
    # What the sender gets back.
    status: int
    redirect: str | None
    # How many submissions an instance takes: `rate` a second, `burst` at once.
    rate: float
    burst: int
    request: Mapping[str, Any]

    def request_of(self, submission: Submission) -> Mapped:
        """The request that a submission becomes."""
        fields, context = self.request, self.context_of(submission)
        evaluation, content = Evaluation(context), Evaluation(context)
        body: dict[str, Any] = {
            "operation": fields["operation"],
            "request_id": self._request_id(evaluation.text(fields["request_id"]) or submission.id),
            "helpdesk": self.helpdesk,
            "source": self.source,
            "reference": evaluation.text(fields["reference"]),
            "occurred_at": evaluation.text(fields["occurred_at"]),
        }
        if "ticket" in fields:
            body["ticket"] = _ticket(fields["ticket"], content)
        else:
            body["ticket_id"] = evaluation.text(fields["ticket_id"])
            body["changes"] = _changes(fields["changes"], content)
        is_unmapped = content.reads_answers and not content.found_answers and bool(submission.answers)
        notes = [
            f"Uploaded file that was not taken over: {one_line(name)}" for name in submission.left_behind
        ]
        if is_unmapped:
            notes += [_UNMAPPED, *_listed(submission.answers)]
        if notes:
            key, text = ("ticket", "details") if "ticket" in fields else ("changes", "comment")
            note = "\n".join(notes)[:_LONGEST_NOTES]
            body[key][text] = "\n\n".join(filter(None, (body[key].get(text), note)))
        return Mapped(_there(body), [*evaluation.failures, *content.failures], is_unmapped)

    def context_of(self, submission: Submission) -> dict[str, Any]:
        """What expressions can name."""
        answers = dict(submission.answers)
        for name, readable in self.names.items():
            if name in answers:
                answers[readable] = answers[name]
        about = {"id": submission.id, "at": submission.at, "form": self.name}
        return {"answers": answers, "files": submission.files, "submission": about}

    def _request_id(self, own_id: str | None) -> str:
        """Two forms may count their submissions alike, so the id begins with the form's name."""
        request_id = f"{self.name}:{own_id or ''}"
        if re.fullmatch(r"[\x21-\x7e]{1,128}", request_id):
            return request_id
        return f"{self.name}:{sha256((own_id or '').encode(errors='replace')).hexdigest()[:32]}"


def load_forms(text: str) -> dict[str, Form]:
    """The forms by name, from the JSON into which the build puts all form files."""
    forms = [Form(**plain | {"verify": verification(plain["verify"])}) for plain in json.loads(text)]
    return {form.name: form for form in forms}


_UNMAPPED = "The form file names none of this submission's answers. They are:"
_LONGEST_NOTES = 20_000


def _listed(answers: Mapping[str, Any]) -> list[str]:
    """A line for each answer, with all of its names."""
    names: dict[str, list[str]] = {}
    for name, value in answers.items():
        if text := as_text(value):
            names.setdefault(text, []).append(name)
    return [f"{' / '.join(map(one_line, named))}: {text}" for text, named in names.items()]


# ── the request's parts ──────────────────────────────────────────────────────────────────────────────────


# Whatever else a ticket, its requester or a change has is a text.
_NO_TEXTS = {"requester", "tags", "attachments", "extra"}


def _ticket(fields: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    ticket = _texts(fields, evaluation)
    if moment := re.match(r"(\d{4}-\d\d-\d\d)[T ]\d\d:\d\d", ticket["due_date"] or ""):
        ticket["due_date"] = moment[1]
    ticket["requester"] = _there(_texts(fields["requester"] or {}, evaluation))
    ticket["tags"] = _tags(fields["tags"], evaluation)
    ticket["attachments"] = _attachments(evaluation.value(fields["attachments"]))
    ticket["extra"] = _extra(fields["extra"], evaluation)
    return _there(ticket)


def _changes(fields: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    return _there({**_texts(fields, evaluation), "extra": _extra(fields["extra"], evaluation)})


def _texts(fields: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    return {name: evaluation.text(leaf) for name, leaf in fields.items() if name not in _NO_TEXTS}


def _tags(leaves: Any, evaluation: Evaluation) -> list[str]:
    values = [evaluation.value(leaf) for leaf in (leaves if isinstance(leaves, list) else [leaves])]
    tags = [tag for value in values for tag in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(text for tag in tags if (text := as_text(tag))))


def _attachments(value: Any) -> list[Any]:
    files = value if isinstance(value, list) else [value]
    return [{"url": file} if isinstance(file, str) else file for file in files if file]


def _extra(blocks: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    return _there({name: _tree(inner, evaluation) for name, inner in blocks.items()})


def _tree(value: Any, evaluation: Evaluation) -> Any:
    if kind_of(value):
        return evaluation.value(value)
    if isinstance(value, list):
        return [item for inner in value if (item := _tree(inner, evaluation)) not in (None, "", [], {})]
    if isinstance(value, dict):
        return _extra(value, evaluation)
    return None


def _there(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
