"""What a form file may hold. What passes becomes plain data, so the function needs none of these models."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]  # it has no types
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from helpdesk.errors import SettingsError
from helpdesk.http.forms.expressions import KINDS, compiled, kind_of
from helpdesk.http.signatures import PLACES
from helpdesk.models import HelpdeskName, Operation, Source

# Names of secrets and paths hold it.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")

Service = Literal["typeform", "tally", "jotform", "google", "microsoft", "gravity", "html", "json"]
# Their senders are other companies' programs, which cannot correct a submission.
_SERVICES_THAT_ONLY_REPEAT = {"typeform", "tally", "jotform", "google", "microsoft", "gravity"}

type Lines = Mapping[str, int]


def plain_form(name: str, content: JsonValue, file: str, lines: Lines) -> dict[str, Any]:
    """What the function reads of a form; `lines` holds the line of each field by its dotted path.

    Raises:
        SettingsError: lists file, line and field of every problem.
    """
    problems = [] if _NAME.fullmatch(name) else [f"{file}:1: name: takes a-z, 0-9 and -, at most 32 of them"]
    try:
        form = _FORM_FILE.validate_python(content)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            path, line = _place([str(step) for step in detail["loc"]], lines)
            problem = _PROBLEMS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
            problems.append(f"{file}:{line}: {path or 'file'}: {problem}")
    if problems:
        raise SettingsError("\n".join(problems))
    return form.plain(name)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────


def _is_expression(text: str) -> str:
    try:
        compiled(text)
    except JMESPathError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"is no JMESPath expression: {reason}") from error
    return text


Expression = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_is_expression)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Constant(_Part):
    """Always the same."""

    constant: JsonValue


class Defaulted(_Part):
    """The expression's result, or the default where there is none."""

    value: Expression
    default: JsonValue


class Joined(_Part):
    """The values that are there, one after the other."""

    join: Annotated[tuple["Leaf", ...], Field(min_length=1)]
    between: Annotated[str, Field(alias="with")] = " "


class Choice(_Part):
    """The value that belongs to an answer, for example the queue of a topic."""

    choose: Expression
    of: dict[str, JsonValue]
    default: JsonValue = None


class LabelledLines(_Part):
    """A line `label: value` for each value that is there."""

    lines: Annotated[dict[str, "Leaf"], Field(min_length=1)]


# Pydantic asks of which kind a value is when it reads it, and again when it writes the plain data.
def _kind_of(value: Any) -> str | None:
    return kind_of(vars(value) if isinstance(value, _Part) else value)


def _branch_of(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "list"
    return "block" if isinstance(value, Mapping) and kind_of(value) is None else "leaf"


type Leaf = Annotated[
    Annotated[Expression, Tag("expression")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Defaulted, Tag("value")]
    | Annotated[Joined, Tag("join")]
    | Annotated[Choice, Tag("choose")]
    | Annotated[LabelledLines, Tag("lines")],
    Discriminator(
        _kind_of,
        custom_error_type="no_leaf",
        custom_error_message=f"must be an expression (a text), or hold one of {', '.join(KINDS)}",
    ),
]
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


# ── verification ─────────────────────────────────────────────────────────────────────────────────────────


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$", to_lower=True)]


def _is_template(text: str) -> str:
    if text.count("{body}") != 1 or re.search(r"[{}]", PLACES.sub("", text)):
        raise ValueError("holds {body} once, and else only {timestamp}, {id} and plain text")
    if text.count("{id}") > 1 or re.search(r"\}\{id\}|\{id\}\{", text):
        # Otherwise letters could move between the id and its neighbours.
        raise ValueError("holds {id} once, with plain text between it and the rest")
    return text


class Timestamp(_Part):
    """Where the time of sending stands: in a header of its own, or in the signature's header as `key=…`."""

    header: HeaderName | None = None
    key: Annotated[
        Annotated[str, StringConstraints(pattern=r"^\w{1,20}$")] | None, Field(validate_default=True)
    ] = None
    window_s: Annotated[int, Field(ge=1, le=86400)] = 300

    @field_validator("key")
    @classmethod
    def _stands_somewhere(cls, key: str | None, info: ValidationInfo) -> str | None:
        if (key is None) == (info.data.get("header") is None):
            raise ValueError("say either header or key")
        return key


class Hmac(_Part):
    scheme: Literal["hmac"] = "hmac"
    header: HeaderName
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    # What the signature is over.
    signed: Annotated[str, AfterValidator(_is_template)] = "{body}"
    id_header: Annotated[HeaderName | None, Field(validate_default=True)] = None
    key_encoding: Literal["text", "base64"] = "text"
    key_prefix: str = ""
    timestamp: Annotated[Timestamp | None, Field(validate_default=True)] = None

    @field_validator("id_header")
    @classmethod
    def _id_is_signed(cls, id_header: str | None, info: ValidationInfo) -> str | None:
        # Anybody could choose an id that is not signed, and so decide what is a repetition.
        if (id_header is not None) != ("{id}" in info.data.get("signed", "")):
            raise ValueError("goes with {id} in signed")
        return id_header

    @field_validator("timestamp")
    @classmethod
    def _timestamp_is_signed(cls, timestamp: Timestamp | None, info: ValidationInfo) -> Timestamp | None:
        # Anybody could choose a timestamp that is not signed.
        if (timestamp is not None) != ("{timestamp}" in info.data.get("signed", "")):
            raise ValueError("goes with {timestamp} in signed")
        return timestamp


class SecretHeader(_Part):
    """The secret itself in a header, for senders that cannot sign."""

    scheme: Literal["header"]
    header: HeaderName
    prefix: str = ""


class Named(_Part):
    """A scheme that needs no more than its name: a service's own; `path`, the secret as the last part of the
    path, for senders that cannot even set a header; or `none`, so that anybody may send."""

    scheme: Literal["typeform", "tally", "standard_webhooks", "path", "none"]


_SCHEMES = ("hmac", "typeform", "tally", "standard_webhooks", "header", "path", "none")


def _scheme_of(value: object) -> str | None:
    scheme = value.get("scheme") if isinstance(value, Mapping) else getattr(value, "scheme", None)
    if scheme in ("hmac", "header"):
        return str(scheme)
    return "named" if scheme in _SCHEMES else None


type Scheme = Annotated[
    Annotated[Hmac, Tag("hmac")] | Annotated[SecretHeader, Tag("header")] | Annotated[Named, Tag("named")],
    Discriminator(
        _scheme_of,
        custom_error_type="no_scheme",
        custom_error_message=f"scheme must be one of {', '.join(_SCHEMES)}",
    ),
]

_SCHEME_OF_SERVICE: dict[str, Hmac] = {
    # typeform.com/developers/webhooks/secure-your-webhooks
    "typeform": Hmac(header="Typeform-Signature", encoding="base64", prefix="sha256="),
    # tally.so/help/webhooks
    "tally": Hmac(header="Tally-Signature", encoding="base64"),
    # standardwebhooks.com
    "standard_webhooks": Hmac(
        header="webhook-signature",
        encoding="base64",
        prefix="v1,",
        signed="{id}.{timestamp}.{body}",
        id_header="webhook-id",
        key_encoding="base64",
        key_prefix="whsec_",
        timestamp=Timestamp(header="webhook-timestamp"),
    ),
}


def plain_scheme(scheme: Scheme) -> dict[str, Any] | str:
    """What the function reads of a scheme; of a service's own scheme the signature that it means."""
    scheme = _SCHEME_OF_SERVICE.get(scheme.scheme, scheme)
    return scheme.model_dump(exclude={"scheme"}) or scheme.scheme


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────


class RequesterFields(_Part):
    """The person for whom a ticket is made."""

    email: Leaf | None = None
    name: Leaf | None = None
    phone: Leaf | None = None
    customer_id: Leaf | None = None


class TicketFields(_Part):
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


class ChangesFields(_Part):
    sub_status: Leaf | None = None
    status: Leaf | None = None
    queue: Leaf | None = None
    comment: Leaf | None = None
    callback_at: Leaf | None = None
    disposition: Leaf | None = None
    assignee: Leaf | None = None
    extra: dict[str, Tree] = Field(default_factory=dict)


class _RequestFields(_Part):
    request_id: Leaf = "submission.id"
    reference: Leaf | None = None
    occurred_at: Leaf | None = "submission.at"


class AddFields(_RequestFields):
    operation: Literal[Operation.ADD]
    ticket: TicketFields


class UpdateFields(_RequestFields):
    operation: Literal[Operation.UPDATE]
    ticket_id: Leaf | None = None
    changes: ChangesFields


# Another site's page, or a path on our own host; never taken from a submission.
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]+(/\S*)?|/[^\s/]\S*)$")]


class SenderAnswer(_Part):
    """What the sender gets back: 202 with the request_id, another status, or a page to go to."""

    status: Literal[200, 202] = 202
    redirect: Address | None = None


class Limit(_Part):
    """How many submissions an instance takes: `rate` a second, `burst` at once."""

    rate: Annotated[float, Field(gt=0, le=10_000)] = 100
    burst: Annotated[int, Field(ge=1, le=10_000)] = 200


class FormFile(_Part):
    description: str = ""
    service: Service
    verify: Scheme
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

    def plain(self, name: str) -> dict[str, Any]:
        """What the function reads of a form of this name: texts, numbers, lists and mappings."""
        when_invalid = "keep" if self.service in _SERVICES_THAT_ONLY_REPEAT else "refuse"
        named = {key for key, readable in self.names.items() if readable in self.uploads}
        return {
            "name": name,
            "service": self.service,
            "verify": plain_scheme(self.verify),
            "helpdesk": self.helpdesk,
            "source": self.source or f"form/{name}",
            "names": self.names,
            # By the names that their service gives them.
            "uploads": sorted({*self.uploads, *named}),
            "keeps_invalid": (self.when_invalid or when_invalid) == "keep",
            **self.answer.model_dump(),
            **self.limit.model_dump(),
            "request": self.request.model_dump(by_alias=True),
        }


_FORM_FILE: TypeAdapter[FormFile] = TypeAdapter(FormFile)

# ── problems ─────────────────────────────────────────────────────────────────────────────────────────────

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
_TAGS = {"expression", "leaf", "block", "list", *KINDS, *_SCHEMES, "named", *map(str, Operation)}


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
