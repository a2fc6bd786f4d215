"""Forms as data: what a form file may hold, and how it turns a submission into a request."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
)

from helpdesk.errors import SettingsError
from helpdesk.http.forms.expressions import KINDS, Evaluation, Leaf, Part, as_text, kind_of
from helpdesk.http.forms.services import Submission
from helpdesk.http.signatures import SCHEMES, Verification
from helpdesk.models import HelpdeskName, Operation, Source, one_line

# Names of secrets and paths hold it.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DAY_OF_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ]\d\d:\d\d")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

Service = Literal["typeform", "tally", "jotform", "google", "microsoft", "gravity", "html", "json"]
# Their senders are other companies' programs, which cannot correct a submission.
_SERVICES_THAT_ONLY_REPEAT = {"typeform", "tally", "jotform", "google", "microsoft", "gravity"}


def _branch_of(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, Mapping) and not any(kind in value for kind in KINDS):
        return "block"
    return "leaf"


type Tree = Annotated[
    Annotated[Leaf, Tag("leaf")]
    | Annotated[dict[str, "Tree"], Tag("block")]
    | Annotated[tuple["Tree", ...], Tag("list")],
    Discriminator(_branch_of),
]
type LeafOrList = Annotated[
    Annotated[Leaf, Tag("leaf")] | Annotated[tuple[Leaf, ...], Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "leaf"),
]


class RequesterFields(Part):
    """The person for whom a ticket is made."""

    email: Leaf | None = None
    name: Leaf | None = None
    phone: Leaf | None = None
    customer_id: Leaf | None = None


class TicketFields(Part):
    """What a ticket is to hold."""

    title: Leaf
    details: Leaf | None = None
    due_date: Leaf | None = None
    requester: RequesterFields | None = None
    queue: Leaf | None = None
    disposition: Leaf | None = None
    priority: Leaf | None = None
    tags: LeafOrList | None = None
    attachments: Leaf | None = None
    extra: dict[str, Tree] = Field(default_factory=dict)


class ChangesFields(Part):
    """What an update is to change."""

    sub_status: Leaf | None = None
    status: Leaf | None = None
    queue: Leaf | None = None
    comment: Leaf | None = None
    callback_at: Leaf | None = None
    disposition: Leaf | None = None
    assignee: Leaf | None = None
    extra: dict[str, Tree] = Field(default_factory=dict)


class _RequestFields(Part):
    request_id: Leaf = "submission.id"
    reference: Leaf | None = None
    occurred_at: Leaf | None = "submission.at"


class AddFields(_RequestFields):
    """A form that makes a ticket."""

    operation: Literal[Operation.ADD]
    ticket: TicketFields


class UpdateFields(_RequestFields):
    """A form that changes a ticket."""

    operation: Literal[Operation.UPDATE]
    ticket_id: Leaf | None = None
    changes: ChangesFields


# Another site's page, or a path on our own host; never taken from a submission.
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]+(/\S*)?|/[^\s/]\S*)$")]


class SenderAnswer(Part):
    """What the sender gets back: 202 with the request_id, another status, or a page to go to."""

    status: Literal[200, 202] = 202
    redirect: Address | None = None


class Limit(Part):
    """How many submissions an instance takes: `rate` a second, `burst` at once."""

    rate: Annotated[float, Field(gt=0, le=10_000)] = 100
    burst: Annotated[int, Field(ge=1, le=10_000)] = 200


class FormFile(Part):
    """A form file."""

    description: str = ""
    service: Service
    verify: Verification
    helpdesk: HelpdeskName | None = None
    source: Source | None = None
    # Readable names for answers that their service names by ids only.
    names: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    # The questions for files, by either name: in any other answer a link is text that a person typed.
    uploads: tuple[str, ...] = ()
    # A submission that makes no valid request: refused with 422, or kept for a person to see.
    when_invalid: Literal["refuse", "keep"] | None = None
    answer: SenderAnswer = SenderAnswer()
    limit: Limit = Limit()
    request: Annotated[AddFields | UpdateFields, Field(discriminator="operation")]


FORM_FILE: TypeAdapter[FormFile] = TypeAdapter(FormFile)

type Lines = Mapping[str, int]


@dataclass(frozen=True)
class Mapped:
    """A request's body, the expressions that failed, and whether the body holds none of the answers."""

    body: dict[str, Any]
    failures: list[str]
    is_unmapped: bool


@dataclass(frozen=True)
class Form:
    """A form that submissions can be sent to."""

    name: str
    file: FormFile

    @property
    def source(self) -> str:
        """The request's source, from the file or from the form's name."""
        return self.file.source or f"form/{self.name}"

    @property
    def keeps_invalid(self) -> bool:
        """Whether a submission that makes no valid request is accepted anyway."""
        if self.file.when_invalid:
            return self.file.when_invalid == "keep"
        return self.file.service in _SERVICES_THAT_ONLY_REPEAT

    @property
    def uploads(self) -> frozenset[str]:
        """The questions for files, by the names that their service gives them."""
        named = self.file.uploads
        return frozenset(named) | {name for name, readable in self.file.names.items() if readable in named}

    def request_of(self, submission: Submission) -> Mapped:
        """The request that a submission becomes."""
        fields = self.file.request
        answers = dict(submission.answers)
        for name, readable in self.file.names.items():
            if name in answers:
                answers[readable] = answers[name]
        about = {"id": submission.id, "at": submission.at, "form": self.name}
        context = {"answers": answers, "files": submission.files, "submission": about}
        evaluation, content = Evaluation(context), Evaluation(context)
        body: dict[str, Any] = {
            "operation": fields.operation.value,
            "request_id": self._request_id(evaluation.text(fields.request_id) or submission.id),
            "helpdesk": self.file.helpdesk,
            "source": self.source,
            "reference": evaluation.text(fields.reference),
            "occurred_at": evaluation.text(fields.occurred_at),
        }
        if isinstance(fields, AddFields):
            body["ticket"] = _ticket(fields.ticket, content)
        else:
            body["ticket_id"] = evaluation.text(fields.ticket_id)
            body["changes"] = _changes(fields.changes, content)
        is_unmapped = content.reads_answers and not content.found_answers and bool(submission.answers)
        notes = [
            f"Uploaded file that was not taken over: {one_line(name)}" for name in submission.left_behind
        ]
        if is_unmapped:
            notes += [_UNMAPPED, *_listed(submission.answers)]
        if notes:
            key, text = ("ticket", "details") if isinstance(fields, AddFields) else ("changes", "comment")
            note = "\n".join(notes)[:_LONGEST_NOTES]
            body[key][text] = "\n\n".join(filter(None, (body[key].get(text), note)))
        return Mapped(_there(body), [*evaluation.failures, *content.failures], is_unmapped)

    def _request_id(self, own_id: str | None) -> str:
        """Two forms may count their submissions alike, so the id begins with the form's name."""
        request_id = f"{self.name}:{own_id or ''}"
        if _REQUEST_ID.fullmatch(request_id):
            return request_id
        return f"{self.name}:{sha256((own_id or '').encode(errors='replace')).hexdigest()[:32]}"


_UNMAPPED = "The form file names none of this submission's answers. They are:"
_LONGEST_NOTES = 20_000


def _listed(answers: Mapping[str, Any]) -> list[str]:
    """A line for each answer, with all of its names."""
    names: dict[str, list[str]] = {}
    for name, value in answers.items():
        if text := as_text(value):
            names.setdefault(text, []).append(name)
    return [f"{' / '.join(map(one_line, named))}: {text}" for text, named in names.items()]


def read_form(name: str, content: JsonValue, file: str, lines: Lines) -> Form:
    """The form in a file's content; `lines` holds the line of each field by its dotted path.

    Raises:
        SettingsError: lists file, line and field of every problem.
    """
    problems = [] if NAME.fullmatch(name) else [f"{file}:1: name: takes a-z, 0-9 and -, at most 32 of them"]
    try:
        form = Form(name, FORM_FILE.validate_python(content))
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            path, line = _place([str(step) for step in detail["loc"]], lines)
            problem = _PROBLEMS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
            problems.append(f"{file}:{line}: {path or 'file'}: {problem}")
    if problems:
        raise SettingsError("\n".join(problems))
    return form


def load_forms(text: str) -> dict[str, Form]:
    """The forms by name, from the JSON into which the build puts all form files. Raises as `read_form`."""
    return {
        form["name"]: read_form(form["name"], form["content"], form["file"], form["lines"])
        for form in json.loads(text)
    }


_PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "union_tag_invalid": "must be add or update",
    "union_tag_not_found": "operation is missing",
    "string_type": "must be a text",
    "model_attributes_type": "must hold keys",
    "model_type": "must hold keys",
    "dict_type": "must hold keys",
}
# Steps that pydantic adds to a path where a value can be of several kinds.
_TAGS = {"expression", "leaf", "block", "list", *KINDS, *SCHEMES, *map(str, Operation)}


def _place(steps: Iterable[str], lines: Lines) -> tuple[str, int]:
    """The dotted path of a problem, and the line of the field, or of the block that lacks it."""
    path, line = "", lines.get("", 1)
    for step in steps:
        longer = f"{path}.{step}" if path else step
        if longer in lines:
            path, line = longer, lines[longer]
        elif step not in _TAGS:
            path = longer
    return path, line


# ── the request's parts ──────────────────────────────────────────────────────────────────────────────────


def _ticket(fields: TicketFields, evaluation: Evaluation) -> dict[str, Any]:
    texts = ("title", "details", "due_date", "queue", "disposition", "priority")
    ticket: dict[str, Any] = {name: evaluation.text(getattr(fields, name)) for name in texts}
    if moment := _DAY_OF_MOMENT.match(ticket["due_date"] or ""):
        ticket["due_date"] = moment[1]
    if fields.requester:
        person = {
            name: evaluation.text(getattr(fields.requester, name)) for name in RequesterFields.model_fields
        }
        ticket["requester"] = _there(person)
    ticket["tags"] = _tags(fields.tags, evaluation)
    ticket["attachments"] = _attachments(evaluation.value(fields.attachments))
    ticket["extra"] = _extra(fields.extra, evaluation)
    return _there(ticket)


def _changes(fields: ChangesFields, evaluation: Evaluation) -> dict[str, Any]:
    texts = ("sub_status", "status", "queue", "comment", "callback_at", "disposition", "assignee")
    changes: dict[str, Any] = {name: evaluation.text(getattr(fields, name)) for name in texts}
    return _there(changes | {"extra": _extra(fields.extra, evaluation)})


def _tags(leaves: Any, evaluation: Evaluation) -> list[str]:
    values = [evaluation.value(leaf) for leaf in (leaves if isinstance(leaves, tuple) else (leaves,))]
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
    if isinstance(value, tuple):
        return [item for inner in value if (item := _tree(inner, evaluation)) not in (None, "", [], {})]
    if isinstance(value, dict):
        return _extra(value, evaluation)
    return None


def _there(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
