"""Forms as data: what a form file may say, and the request that a submission becomes by it."""

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

# Secrets and paths hold it.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DAY_OF_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ]\d\d:\d\d")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

Service = Literal["typeform", "tally", "jotform", "google", "microsoft", "gravity", "html", "json"]
# Their senders are programs of somebody else's, which can put nothing right.
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
    tags: LeafOrList | None = None
    attachments: Leaf | None = None
    extra: dict[str, Tree] = Field(default_factory=dict)


class ChangesFields(Part):
    """What an update is to change."""

    sub_status: Leaf | None = None
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


# Another site's page, or one below our own host; never what a submission says.
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]+(/\S*)?|/[^\s/]\S*)$")]


class SenderAnswer(Part):
    """What the sender gets back: 202 with the request_id, another status, or a page to go to."""

    status: Literal[200, 202] = 202
    redirect: Address | None = None


class Limit(Part):
    """How many submissions one running instance takes: `rate` a second, `burst` at once."""

    rate: Annotated[float, Field(gt=0, le=10_000)] = 100
    burst: Annotated[int, Field(ge=1, le=10_000)] = 200


class FormFile(Part):
    """A form file."""

    description: str = ""
    service: Service
    verify: Verification
    helpdesk: HelpdeskName | None = None
    source: Source | None = None
    # Readable names for answers whose service gives them ids only.
    names: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    # The questions for files, by either name: elsewhere a link is what a person has typed.
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
    """The body of a request, the expressions that failed, and whether nothing that was filled in is in it."""

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
        """Who asks, where the file does not say."""
        return self.file.source or f"form/{self.name}"

    @property
    def keeps_invalid(self) -> bool:
        """Whether a submission that makes no valid request is accepted all the same."""
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
        asked = self.file.request
        answers = dict(submission.answers)
        for name, readable in self.file.names.items():
            if name in answers:
                answers[readable] = answers[name]
        about = {"id": submission.id, "at": submission.at, "form": self.name}
        context = {"answers": answers, "files": submission.files, "submission": about}
        evaluation, content = Evaluation(context), Evaluation(context)
        body: dict[str, Any] = {
            "operation": asked.operation.value,
            "request_id": self._request_id(evaluation.text(asked.request_id) or submission.id),
            "helpdesk": self.file.helpdesk,
            "source": self.source,
            "reference": evaluation.text(asked.reference),
            "occurred_at": evaluation.text(asked.occurred_at),
        }
        if isinstance(asked, AddFields):
            body["ticket"] = _ticket(asked.ticket, content)
        else:
            body["ticket_id"] = evaluation.text(asked.ticket_id)
            body["changes"] = _changes(asked.changes, content)
        is_unmapped = content.reads_answers and not content.found_answers and bool(submission.answers)
        notes = [
            f"Uploaded file that was not taken over: {one_line(name)}" for name in submission.left_behind
        ]
        if is_unmapped:
            notes += [_UNMAPPED, *_listed(submission.answers)]
        if notes:
            key, text = ("ticket", "details") if isinstance(asked, AddFields) else ("changes", "comment")
            told = "\n".join(notes)[:_LONGEST_NOTES]
            body[key][text] = "\n\n".join(filter(None, (body[key].get(text), told)))
        return Mapped(_there(body), [*evaluation.failures, *content.failures], is_unmapped)

    def _request_id(self, own_id: str | None) -> str:
        """Two forms may count their submissions alike, so the id begins with the form's name."""
        given = own_id or ""
        request_id = f"{self.name}:{given}"
        if _REQUEST_ID.fullmatch(request_id):
            return request_id
        return f"{self.name}:{sha256(given.encode(errors='replace')).hexdigest()[:32]}"


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
    """The form in a file's content; `lines` says on which line each field stands, by its dotted path.

    Raises:
        SettingsError: naming file, line and field of all that is wrong.
    """
    problems = [] if NAME.fullmatch(name) else [f"{file}:1: name: takes a-z, 0-9 and -, at most 32 of them"]
    try:
        form = Form(name, FORM_FILE.validate_python(content))
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            path, line = _place([str(step) for step in found["loc"]], lines)
            problem = _PROBLEMS.get(found["type"], found["msg"].removeprefix("Value error, "))
            problems.append(f"{file}:{line}: {path or 'file'}: {problem}")
    if problems:
        raise SettingsError("\n".join(problems))
    return form


def load_forms(text: str) -> dict[str, Form]:
    """The forms by name, out of what the build has made of the form files. Raises as `read_form`."""
    return {
        one["name"]: read_form(one["name"], one["content"], one["file"], one["lines"])
        for one in json.loads(text)
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
# Steps that pydantic adds where a value can be of several kinds.
_TAGS = {"expression", "leaf", "block", "list", *KINDS, *SCHEMES, "known", *(one.value for one in Operation)}


def _place(steps: Iterable[str], lines: Lines) -> tuple[str, int]:
    """The dotted path of a problem, and the line of what stands there or of what it is missing from."""
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
    texts = ("title", "details", "due_date", "queue", "disposition")
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
    texts = ("sub_status", "queue", "comment", "callback_at", "disposition", "assignee")
    changes: dict[str, Any] = {name: evaluation.text(getattr(fields, name)) for name in texts}
    return _there(changes | {"extra": _extra(fields.extra, evaluation)})


def _tags(given: Any, evaluation: Evaluation) -> list[str]:
    values = [evaluation.value(one) for one in (given if isinstance(given, tuple) else (given,))]
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(text for one in flat if (text := as_text(one))))


def _attachments(value: Any) -> list[Any]:
    listed = value if isinstance(value, list) else [value]
    return [{"url": one} if isinstance(one, str) else one for one in listed if one]


def _extra(blocks: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    return _there({name: _tree(inner, evaluation) for name, inner in blocks.items()})


def _tree(value: Any, evaluation: Evaluation) -> Any:
    if kind_of(value):
        return evaluation.value(value)
    if isinstance(value, tuple):
        return [found for one in value if (found := _tree(one, evaluation)) not in (None, "", [], {})]
    if isinstance(value, dict):
        return _extra(value, evaluation)
    return None


def _there(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
