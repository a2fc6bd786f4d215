"""What an operator can set, read once from the environment."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from helpdesk.errors import SettingsError
from helpdesk.models import HelpdeskName, Source

_URL = re.compile(r"(https?)://([a-z0-9.-]+|\[::1\])(:\d{1,5})?/?", re.IGNORECASE)
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
# What KAPTURE_PATH_VERSION says of the older generation: an empty variable is an absent one.
_NO_VERSION = "none"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is no IANA time zone") from error
    return name


# The name of a time zone in IANA's database.
Zone = Annotated[str, AfterValidator(_zone)]


def _json_object(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError("must be a JSON object") from error


def _names(text: Any) -> Any:
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else text


def _checked_url(url: str, hosts: str, variable: str) -> str:
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("give scheme and host only, for example https://acme.kapturecrm.com")
    scheme, host = parts[1].lower(), parts[2].lower()
    if host in _LOOPBACK:
        return url
    names = [name.strip().strip(".").lower() for name in hosts.split(",")]
    if scheme != "https" or not any(f".{host}".endswith(f".{name}") for name in names if name):
        raise ValueError(f"must be https on a host of {variable} ({', '.join(names)})")
    return url


_Json = BeforeValidator(_json_object)
_Marker = Annotated[str, StringConstraints(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+)$")]
_FieldMarker = Annotated[
    str, StringConstraints(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+|custom_field:\d+)$")
]


class _Base(BaseModel):
    """Variables. Names, ARNs and URLs have no default: a missing one must not be guessed."""

    # An error would else quote the whole environment.
    # Those of a helpdesk that is not served are never built.
    model_config = ConfigDict(
        frozen=True, extra="ignore", str_min_length=1, hide_input_in_errors=True, defer_build=True
    )


class _Variables(_Base):
    HELPDESKS: Annotated[tuple[HelpdeskName, ...], BeforeValidator(_names), Field(min_length=1)] = (
        "kapture",
    )
    DEFAULT_HELPDESK: HelpdeskName | None = None
    DEFAULT_SOURCE: Source = "unknown"
    REQUESTS_QUEUE_URL: str
    DEAD_LETTER_QUEUE_URL: str
    OUTCOMES_TOPIC_ARN: str
    LEDGER_TABLE: str
    MARKER_KEY_SECRET_ARN: str
    CONNECT_TIMEOUT_S: Annotated[float, Field(gt=0, le=10)] = 3.0
    READ_TIMEOUT_S: Annotated[float, Field(gt=0, le=25)] = 15.0
    SETTLE_AFTER_S: Annotated[float, Field(ge=0)] = 900
    DOUBT_S: Annotated[float, Field(ge=1)] = 75
    RECONCILE_CALLS: Annotated[int, Field(ge=1)] = 10
    LEASE_S: Annotated[int, Field(ge=5)] = 40
    LEDGER_DAYS: Annotated[int, Field(ge=1)] = 28
    MAX_DELAY_S: Annotated[int, Field(ge=1, le=43200)] = 900
    # Less than the fourteen days for which the queue keeps a message.
    GIVE_UP_AFTER_HOURS: Annotated[float, Field(gt=0, le=312)] = 72
    # How often each ticket is looked at; 0 watches nothing.
    WATCH_MINUTES: Annotated[float, Field(ge=0, le=1440)] = 0
    WATCH_CALLS: Annotated[int, Field(ge=1)] = 60
    # Whether told changes hold the helpdesk's own fields too.
    CHANGES_WITH_RAW: bool = False
    # Below 0 a day is proved before it is over, which is for trying it out.
    PROOF_AFTER_HOURS: Annotated[float, Field(ge=-24, le=72)] = 6
    PROOF_DAYS: Annotated[int, Field(ge=1)] = 400
    THREADS: Annotated[int, Field(ge=1, le=50)] = 25

    @field_validator("DEFAULT_HELPDESK")
    @classmethod
    def _is_configured(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and name not in info.data.get("HELPDESKS", (name,)):
            raise ValueError("is none of HELPDESKS")
        return name


class _KaptureVariables(_Base):
    # Domains whose hosts may be given our token; checked before the URL, so declared before it.
    KAPTURE_HOSTS: str = "kapturecrm.com"
    KAPTURE_URL: str
    KAPTURE_SECRET_ARN: str
    KAPTURE_ZONE: Zone = "Asia/Kolkata"
    KAPTURE_PATH_VERSION: Annotated[str, StringConstraints(pattern=r"^(/[\w.-]+|none)$")] = "/v.2.0"
    KAPTURE_SUB_STATUSES: Annotated[dict[str, str], _Json] = Field(default_factory=dict)
    KAPTURE_CLOSED_STATUSES: Annotated[tuple[str, ...], BeforeValidator(_names)] = ("Complete", "Closed")
    KAPTURE_SEND_API_KEY: bool = False
    KAPTURE_GET_LIMIT: Annotated[int, Field(ge=1, le=100)] = 50
    KAPTURE_PULL_LIMIT: Annotated[int, Field(ge=0)] = 0
    KAPTURE_BUDGET: Annotated[int, Field(ge=0)] = 0
    KAPTURE_BUDGET_PERIOD_S: Annotated[float, Field(ge=1)] = 60
    MARKER_FIELD: _Marker = "details"

    @field_validator("KAPTURE_URL")
    @classmethod
    def _is_a_helpdesk(cls, url: str, info: ValidationInfo) -> str:
        return _checked_url(url, info.data["KAPTURE_HOSTS"], "KAPTURE_HOSTS")


class _SocialboardsVariables(_Base):
    SOCIALBOARDS_HOSTS: str = "socialboards.com"
    SOCIALBOARDS_URL: str = "https://api.socialboards.com"
    SOCIALBOARDS_SECRET_ARN: str
    SOCIALBOARDS_ZONE: Zone = "UTC"
    SOCIALBOARDS_TOKEN_PATH: Annotated[str, StringConstraints(pattern=r"^/\S*$")] = "/token"  # noqa: S105
    SOCIALBOARDS_CALLS: Annotated[dict[str, str], _Json] = Field(default_factory=dict)
    SOCIALBOARDS_TICKET_URL: str | None = None
    SOCIALBOARDS_MARKER_FIELD: _FieldMarker = "details"
    SOCIALBOARDS_BUDGET: Annotated[int, Field(ge=0)] = 0
    SOCIALBOARDS_BUDGET_PERIOD_S: Annotated[float, Field(ge=1)] = 60

    @field_validator("SOCIALBOARDS_URL")
    @classmethod
    def _is_a_helpdesk(cls, url: str, info: ValidationInfo) -> str:
        return _checked_url(url, info.data["SOCIALBOARDS_HOSTS"], "SOCIALBOARDS_HOSTS")


# Every variable by its name.
VARIABLES = frozenset().union(
    *(model.model_fields for model in (_Variables, _KaptureVariables, _SocialboardsVariables))
)


@dataclass(frozen=True)
class KaptureSettings:
    """How to reach one Kapture account, and the choices that its reference leaves open."""

    url: str
    secret_arn: str
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Kolkata"))
    # The segment after the page's name; the older generation of the API has none.
    path_version: str = "/v.2.0"
    # Names that requests may use for an account's own sub-status keys; unknown names pass as they are.
    sub_statuses: Mapping[str, str] = field(default_factory=dict)
    # Names of the statuses of a ticket that is done with, in lower case.
    closed_statuses: frozenset[str] = frozenset({"complete", "closed"})
    # Some accounts want the token in `x-api-key` as well.
    send_api_key: bool = False
    # Tickets asked for in one get; the most that Kapture takes is undocumented.
    get_limit: int = 50
    # Tickets of one page of a pull; 0 asks for all at once, as accounts without pagination want it.
    pull_limit: int = 0
    # Calls that the whole account may get in any period of that length; 0 means any number.
    budget: int = 0
    budget_period_s: float = 60.0
    # Where each ticket carries its marker: "details", "title", "extra:<name>" or "off".
    marker_field: str = "details"


@dataclass(frozen=True)
class SocialboardsSettings:
    """How to reach one Socialboards account, and the choices that its reference leaves open."""

    url: str
    secret_arn: str
    # In which days begin, for looking tickets up by day.
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    token_path: str = "/token"  # noqa: S105  # a path
    # Methods and paths instead of the proposed ones, by name: {"status": "PUT /tickets/{ticket_id}/state"}.
    calls: Mapping[str, str] = field(default_factory=dict)
    # Where people see a ticket, with {ticket_id} in it.
    ticket_url: str | None = None
    budget: int = 0
    budget_period_s: float = 60.0
    # As for Kapture, or "custom_field:<id>".
    marker_field: str = "details"


@dataclass(frozen=True)
class Settings:
    """Everything a function needs to know about the place it runs in."""

    helpdesks: tuple[str, ...]
    default_helpdesk: str
    default_source: str
    # None where the deployment does not serve this helpdesk.
    kapture: KaptureSettings | None
    socialboards: SocialboardsSettings | None
    requests_queue_url: str
    dead_letter_queue_url: str
    outcomes_topic_arn: str
    ledger_table: str
    # What markers are made with; only functions that plant or look for them may read it.
    marker_key_secret_arn: str
    connect_timeout_s: float
    read_timeout_s: float
    # How long a helpdesk may take to show a new ticket; only then is an absent one called absent.
    settle_after_s: float
    # How long a record in doubt stays out of sight: a little longer than reconcile's minute.
    doubt_s: float
    # The most calls of one run of reconcile.
    reconcile_calls: int
    lease_s: int
    ledger_days: int
    max_delay_s: int
    give_up_after_s: float
    # About how often each watched ticket is looked at; 0 where nothing is watched.
    watch_each_s: float
    # The most calls to a helpdesk of one run of the watch.
    watch_calls: int
    changes_with_raw: bool
    # How long after its end a day is proved, since tickets show late; and how long its proof is kept.
    proof_after_hours: float
    proof_days: int
    threads: int


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this function.

    Raises:
        SettingsError: one or more variables are missing or wrong; all of them are named.
    """
    given = {name: value for name, value in environment.items() if value}
    bad: list[str] = []
    variables = _valid(_Variables, given, bad)
    names = variables.HELPDESKS if variables else ("kapture",)
    kapture = _valid(_KaptureVariables, given, bad) if "kapture" in names else None
    socialboards = _valid(_SocialboardsVariables, given, bad) if "socialboards" in names else None
    if bad or variables is None:
        raise SettingsError("; ".join(bad))
    return Settings(
        helpdesks=names,
        default_helpdesk=variables.DEFAULT_HELPDESK or names[0],
        default_source=variables.DEFAULT_SOURCE,
        kapture=_kapture_settings(kapture) if kapture else None,
        socialboards=_socialboards_settings(socialboards) if socialboards else None,
        requests_queue_url=variables.REQUESTS_QUEUE_URL,
        dead_letter_queue_url=variables.DEAD_LETTER_QUEUE_URL,
        outcomes_topic_arn=variables.OUTCOMES_TOPIC_ARN,
        ledger_table=variables.LEDGER_TABLE,
        marker_key_secret_arn=variables.MARKER_KEY_SECRET_ARN,
        connect_timeout_s=variables.CONNECT_TIMEOUT_S,
        read_timeout_s=variables.READ_TIMEOUT_S,
        settle_after_s=variables.SETTLE_AFTER_S,
        doubt_s=variables.DOUBT_S,
        reconcile_calls=variables.RECONCILE_CALLS,
        lease_s=variables.LEASE_S,
        ledger_days=variables.LEDGER_DAYS,
        max_delay_s=variables.MAX_DELAY_S,
        give_up_after_s=variables.GIVE_UP_AFTER_HOURS * 3600,
        watch_each_s=variables.WATCH_MINUTES * 60,
        watch_calls=variables.WATCH_CALLS,
        changes_with_raw=variables.CHANGES_WITH_RAW,
        proof_after_hours=variables.PROOF_AFTER_HOURS,
        proof_days=variables.PROOF_DAYS,
        threads=variables.THREADS,
    )


def _valid[V: _Base](model: type[V], given: Mapping[str, str], bad: list[str]) -> V | None:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        bad += [
            f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
        ]
        return None


def _kapture_settings(variables: _KaptureVariables) -> KaptureSettings:
    return KaptureSettings(
        url=variables.KAPTURE_URL.rstrip("/"),
        secret_arn=variables.KAPTURE_SECRET_ARN,
        zone=ZoneInfo(variables.KAPTURE_ZONE),
        path_version=variables.KAPTURE_PATH_VERSION.removeprefix(_NO_VERSION),
        sub_statuses=variables.KAPTURE_SUB_STATUSES,
        closed_statuses=frozenset(name.casefold() for name in variables.KAPTURE_CLOSED_STATUSES),
        send_api_key=variables.KAPTURE_SEND_API_KEY,
        get_limit=variables.KAPTURE_GET_LIMIT,
        pull_limit=variables.KAPTURE_PULL_LIMIT,
        budget=variables.KAPTURE_BUDGET,
        budget_period_s=variables.KAPTURE_BUDGET_PERIOD_S,
        marker_field=variables.MARKER_FIELD,
    )


def _socialboards_settings(variables: _SocialboardsVariables) -> SocialboardsSettings:
    return SocialboardsSettings(
        url=variables.SOCIALBOARDS_URL.rstrip("/"),
        secret_arn=variables.SOCIALBOARDS_SECRET_ARN,
        zone=ZoneInfo(variables.SOCIALBOARDS_ZONE),
        token_path=variables.SOCIALBOARDS_TOKEN_PATH,
        calls=variables.SOCIALBOARDS_CALLS,
        ticket_url=variables.SOCIALBOARDS_TICKET_URL,
        budget=variables.SOCIALBOARDS_BUDGET,
        budget_period_s=variables.SOCIALBOARDS_BUDGET_PERIOD_S,
        marker_field=variables.SOCIALBOARDS_MARKER_FIELD,
    )
