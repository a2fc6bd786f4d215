"""The settings, read from the environment: a setting's variable is its name in capitals."""

import json
import os
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)

from helpdesk.errors import SettingsError
from helpdesk.models import HelpdeskName, Source

_URL = re.compile(r"(https?)://([a-z0-9.-]+|\[::1\])(:\d{1,5})?/?")
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def _zone(name: Any) -> ZoneInfo:
    try:
        return name if isinstance(name, ZoneInfo) else ZoneInfo(name)
    # A part of a name, such as "America", is a folder.
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ValueError("is no IANA time zone") from error


def _json_object(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError("must be a JSON object") from error


def _names(text: Any) -> Any:
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else text


def _on_host_of(variable: str) -> AfterValidator:
    def checked(url: str, info: ValidationInfo) -> str:
        parts = _URL.fullmatch(url.lower())
        if parts is None:
            raise ValueError("give scheme and host only, for example https://acme.kapturecrm.com")
        scheme, host = parts[1], parts[2]
        names = [name.strip().strip(".").lower() for name in info.data["hosts"].split(",")]
        is_named = any(f".{host}".endswith(f".{name}") for name in names if name)
        if host not in _LOOPBACK and not (scheme == "https" and is_named):
            raise ValueError(f"must be https on a host of {variable} ({', '.join(names)})")
        return url.rstrip("/")

    return AfterValidator(checked)


def _served(name: str, info: ValidationInfo) -> str:
    if name not in info.data.get("helpdesks", (name,)):
        raise ValueError("is none of HELPDESKS")
    return name


# A time zone, by its name in IANA's database.
Zone = Annotated[ZoneInfo, PlainValidator(_zone)]
_JsonObject = Annotated[dict[str, str], BeforeValidator(_json_object)]
_Minutes = AfterValidator(lambda minutes: minutes * 60)
_Hours = AfterValidator(lambda hours: hours * 3600)


class _Settings(BaseModel):
    """Names, ARNs and URLs have no default: a missing one must not be guessed."""

    # Else an error would quote the whole environment.
    model_config = ConfigDict(
        frozen=True, str_min_length=1, hide_input_in_errors=True, alias_generator=str.upper
    )


class KaptureSettings(_Settings, alias_generator=lambda name: f"KAPTURE_{name.upper()}"):
    """How to reach one Kapture account, and the choices that its reference leaves open."""

    # Domains whose hosts may get our token; the URL is checked against them, so they stand before it.
    hosts: str = "kapturecrm.com"
    url: Annotated[str, _on_host_of("KAPTURE_HOSTS")]
    secret_arn: str
    zone: Zone = Field(default_factory=lambda: ZoneInfo("Asia/Kolkata"))
    # The segment after the page's name; "none" means the older generation of the API, which has none.
    path_version: Annotated[
        str,
        Field(pattern=r"^(/[A-Za-z0-9_.-]+|none)$"),
        AfterValidator(lambda path: path.removeprefix("none")),
    ] = "/v.2.0"
    # Names that requests may use for an account's own sub-status keys; unknown names pass as they are.
    sub_statuses: _JsonObject = Field(default_factory=dict)
    # The same for its queues and dispositions.
    ids: Annotated[
        dict[Annotated[str, Field(pattern=r"^(queue|disposition)$")], dict[str, str]],
        BeforeValidator(_json_object),
    ] = Field(default_factory=dict)
    # The form in which the account takes an add and an update: pages show a list of one object.
    bodies: Literal["list", "object"] = "list"
    # The key under which the account takes a new ticket's priority; no page names one.
    priority_field: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    # Whether a get shows comments: then each carries a marker, by which a lost one is looked up.
    comments_readable: bool = False
    # Whether titles and details come back escaped as HTML, as names always do.
    escaped_texts: bool = False
    # The statuses of a closed ticket, in lower case.
    closed_statuses: Annotated[
        frozenset[Annotated[str, AfterValidator(str.casefold)]], BeforeValidator(_names)
    ] = frozenset({"complete", "closed"})
    # Some accounts want the token in `x-api-key` as well.
    send_api_key: bool = False
    # The most tickets of one get; Kapture's own limit is undocumented.
    get_limit: Annotated[int, Field(ge=1, le=100)] = 50
    # Tickets of one page of a pull; 0 pulls all at once, as accounts without pagination want it.
    pull_limit: Annotated[int, Field(ge=0)] = 0
    # The most calls to the whole account in any period of this length; 0 means no limit.
    budget: Annotated[int, Field(ge=0)] = 0
    budget_period_s: Annotated[float, Field(ge=1)] = 60
    # The field that holds a ticket's marker.
    marker_field: Annotated[
        str, Field(alias="MARKER_FIELD", pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+)$")
    ] = "details"


class SocialboardsSettings(_Settings, alias_generator=lambda name: f"SOCIALBOARDS_{name.upper()}"):
    """How to reach one Socialboards account, and the choices that its reference leaves open."""

    hosts: str = "socialboards.com"
    url: Annotated[str, _on_host_of("SOCIALBOARDS_HOSTS")] = "https://api.socialboards.com"
    secret_arn: str
    # The time zone of its days, for looking tickets up by day.
    zone: Zone = Field(default_factory=lambda: ZoneInfo("UTC"))
    token_path: Annotated[str, Field(pattern=r"^/\S*$")] = "/token"  # noqa: S105  # a path
    # Methods and paths instead of the proposed ones, by name: {"status": "PUT /tickets/{ticket_id}/state"}.
    calls: _JsonObject = Field(default_factory=dict)
    # Where people see a ticket, with {ticket_id} in it.
    ticket_url: str | None = None
    budget: Annotated[int, Field(ge=0)] = 0
    budget_period_s: Annotated[float, Field(ge=1)] = 60
    marker_field: Annotated[
        str, Field(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+|custom_field:[0-9]+)$")
    ] = "details"


class Settings(_Settings):
    """The settings of a function."""

    helpdesks: Annotated[tuple[HelpdeskName, ...], BeforeValidator(_names), Field(min_length=1)] = (
        "kapture",
    )
    default_helpdesk: Annotated[HelpdeskName, AfterValidator(_served)] = Field(
        default_factory=lambda settings: settings["helpdesks"][0]
    )
    default_source: Source = "unknown"
    requests_queue_url: str
    dead_letter_queue_url: str
    outcomes_topic_arn: str
    ledger_table: str
    # The key of the markers; only functions that write markers or look for them may read it.
    marker_key_secret_arn: str
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 3.0
    read_timeout_s: Annotated[float, Field(gt=0, le=25)] = 15.0
    # How long a helpdesk may take to show a new ticket; only after that does a ticket count as absent, and
    # later still where a list was seen to lack a ticket for more than half as long.
    settle_after_s: Annotated[float, Field(ge=0)] = 900
    # How long a record in doubt stays out of sight: its outcome is published when it comes back.
    doubt_s: Annotated[float, Field(ge=1)] = 20
    # The most calls of one run of resolve_doubts.
    doubt_calls: Annotated[int, Field(ge=1)] = 10
    lease_s: Annotated[int, Field(ge=5)] = 40
    ledger_days: Annotated[int, Field(ge=1)] = 28
    max_delay_s: Annotated[int, Field(ge=1, le=43200)] = 900
    # Less than the fourteen days for which the queue keeps a message.
    give_up_after_s: Annotated[float, Field(alias="GIVE_UP_AFTER_HOURS", gt=0, le=312), _Hours] = 72 * 3600
    # About how often each watched ticket is polled; 0 where nothing is watched.
    watch_each_s: Annotated[float, Field(alias="WATCH_MINUTES", ge=0, le=1440), _Minutes] = 0
    # The most calls of one run of the watch to one helpdesk.
    watch_calls: Annotated[int, Field(ge=1)] = 60
    # Whether published changes hold the helpdesk's own fields too.
    changes_with_raw: bool = False
    # How long after its end a day is audited, since tickets show late; and how long its report is kept.
    # Below 0 a day is audited before its end, to try it out.
    audit_after_hours: Annotated[float, Field(ge=-24, le=72)] = 6
    audit_days: Annotated[int, Field(ge=1)] = 400
    threads: Annotated[int, Field(ge=1, le=50)] = 25
    # None where the deployment does not serve this helpdesk.
    kapture: KaptureSettings | None = None
    socialboards: SocialboardsSettings | None = None


class FormSettings(NamedTuple):
    """The forms' file, and the folder of their secrets: a form's secret is `folder/form`."""

    forms_file: str
    secret_folder: str


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this function. An empty variable is an absent one.

    Raises:
        SettingsError: one or more variables are missing or wrong; all of them are named.
    """
    variables = {name: value for name, value in environment.items() if value}
    served = _names(variables.get("HELPDESKS", "kapture"))
    of_each = {name.upper(): variables if name in served else None for name in get_args(HelpdeskName)}
    try:
        return Settings.model_validate(variables | of_each)
    except ValidationError as error:
        # A helpdesk's own variables are one level down.
        # DEFAULT_HELPDESK has no default while HELPDESKS is wrong: that is no problem of its own.
        problems = [
            f"{next(part for part in problem['loc'] if part not in of_each)}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
            if problem["type"] != "default_factory_not_called"
        ]
        raise SettingsError("; ".join(problems)) from error


def load_form_settings(environment: Mapping[str, str] = os.environ) -> FormSettings:
    """The settings of the function that takes forms. Raises SettingsError."""
    folder = environment.get("FORM_SECRET_FOLDER", "")
    if not re.fullmatch(r"[\w/+=.@-]{1,200}", folder):
        raise SettingsError("FORM_SECRET_FOLDER: give the folder of the forms' secrets")
    # Lambda names the folder of the function's code.
    code = environment.get("LAMBDA_TASK_ROOT", "/var/task")
    return FormSettings(environment.get("FORMS_FILE") or f"{code}/forms.json", folder.rstrip("/"))


def load_callback_settings(
    helpdesks: Collection[str], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """By helpdesk, the id of the secret that its callbacks bring. Raises SettingsError."""
    variables = {name: f"{name.upper()}_CALLBACK_SECRET_ARN" for name in helpdesks}
    missing = [variable for variable in variables.values() if not environment.get(variable)]
    if missing:
        raise SettingsError("\n".join(f"{variable}: Field required" for variable in missing))
    return {name: environment[variable] for name, variable in variables.items()}
