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


def _json_object(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError("must be a JSON object") from error


class _Variables(BaseModel):
    """The environment variables. Names, ARNs and URLs have no default: a missing one must not be guessed."""

    # An error would else quote the whole environment.
    model_config = ConfigDict(frozen=True, extra="ignore", str_min_length=1, hide_input_in_errors=True)

    DEFAULT_HELPDESK: HelpdeskName = "kapture"
    DEFAULT_SOURCE: Source = "unknown"
    # Domains whose hosts may be given our token; checked before the URL, so declared before it.
    KAPTURE_HOSTS: str = "kapturecrm.com"
    KAPTURE_URL: str
    KAPTURE_SECRET_ARN: str
    KAPTURE_ZONE: Annotated[str, AfterValidator(_zone)] = "Asia/Kolkata"
    KAPTURE_PATH_VERSION: Annotated[str, StringConstraints(pattern=r"^(/[\w.-]+|none)$")] = "/v.2.0"
    KAPTURE_SUB_STATUSES: Annotated[dict[str, str], BeforeValidator(_json_object)] = Field(
        default_factory=dict
    )
    KAPTURE_SEND_API_KEY: bool = False
    KAPTURE_GET_LIMIT: Annotated[int, Field(ge=1, le=100)] = 50
    KAPTURE_PULL_LIMIT: Annotated[int, Field(ge=0)] = 0
    KAPTURE_BUDGET: Annotated[int, Field(ge=0)] = 0
    KAPTURE_BUDGET_PERIOD_S: Annotated[float, Field(ge=1)] = 60
    REQUESTS_QUEUE_URL: str
    DEAD_LETTER_QUEUE_URL: str
    OUTCOMES_TOPIC_ARN: str
    LEDGER_TABLE: str
    CONNECT_TIMEOUT_S: Annotated[float, Field(gt=0, le=10)] = 3.0
    READ_TIMEOUT_S: Annotated[float, Field(gt=0, le=25)] = 15.0
    MARKER_FIELD: Annotated[str, StringConstraints(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+)$")] = (
        "details"
    )
    SETTLE_AFTER_S: Annotated[float, Field(ge=0)] = 900
    DOUBT_S: Annotated[float, Field(ge=1)] = 75
    RECONCILE_CALLS: Annotated[int, Field(ge=1)] = 10
    LEASE_S: Annotated[int, Field(ge=5)] = 40
    LEDGER_DAYS: Annotated[int, Field(ge=1)] = 28
    MAX_DELAY_S: Annotated[int, Field(ge=1, le=43200)] = 900
    # Less than the fourteen days for which the queue keeps a message.
    GIVE_UP_AFTER_HOURS: Annotated[float, Field(gt=0, le=312)] = 72
    THREADS: Annotated[int, Field(ge=1, le=50)] = 10

    @field_validator("KAPTURE_URL")
    @classmethod
    def _is_a_helpdesk(cls, url: str, info: ValidationInfo) -> str:
        parts = _URL.fullmatch(url)
        if parts is None:
            raise ValueError("give scheme and host only, for example https://acme.kapturecrm.com")
        scheme, host = parts[1].lower(), parts[2].lower()
        if host in _LOOPBACK:
            return url
        hosts = [name.strip().strip(".").lower() for name in info.data["KAPTURE_HOSTS"].split(",")]
        if scheme != "https" or not any(f".{host}".endswith(f".{name}") for name in hosts if name):
            raise ValueError(f"must be https on a host of KAPTURE_HOSTS ({', '.join(hosts)})")
        return url


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
    # Some accounts want the token in `x-api-key` as well.
    send_api_key: bool = False
    # Tickets asked for in one get; the most that Kapture takes is undocumented.
    get_limit: int = 50
    # Tickets of one page of a pull; 0 asks for all at once, as accounts without pagination want it.
    pull_limit: int = 0
    # Calls that the whole account may get in any period of that length; 0 means any number.
    budget: int = 0
    budget_period_s: float = 60.0


@dataclass(frozen=True)
class Settings:
    """Everything a function needs to know about the place it runs in."""

    default_helpdesk: str
    default_source: str
    kapture: KaptureSettings
    requests_queue_url: str
    dead_letter_queue_url: str
    outcomes_topic_arn: str
    ledger_table: str
    connect_timeout_s: float
    read_timeout_s: float
    marker_field: str
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
    threads: int


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this function.

    Raises:
        SettingsError: one or more variables are missing or wrong; all of them are named.
    """
    try:
        variables = _Variables.model_validate({key: value for key, value in environment.items() if value})
    except ValidationError as error:
        bad = [
            f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
        ]
        raise SettingsError("; ".join(bad)) from error
    return Settings(
        default_helpdesk=variables.DEFAULT_HELPDESK,
        default_source=variables.DEFAULT_SOURCE,
        kapture=KaptureSettings(
            url=variables.KAPTURE_URL.rstrip("/"),
            secret_arn=variables.KAPTURE_SECRET_ARN,
            zone=ZoneInfo(variables.KAPTURE_ZONE),
            path_version=variables.KAPTURE_PATH_VERSION.removeprefix(_NO_VERSION),
            sub_statuses=variables.KAPTURE_SUB_STATUSES,
            send_api_key=variables.KAPTURE_SEND_API_KEY,
            get_limit=variables.KAPTURE_GET_LIMIT,
            pull_limit=variables.KAPTURE_PULL_LIMIT,
            budget=variables.KAPTURE_BUDGET,
            budget_period_s=variables.KAPTURE_BUDGET_PERIOD_S,
        ),
        requests_queue_url=variables.REQUESTS_QUEUE_URL,
        dead_letter_queue_url=variables.DEAD_LETTER_QUEUE_URL,
        outcomes_topic_arn=variables.OUTCOMES_TOPIC_ARN,
        ledger_table=variables.LEDGER_TABLE,
        connect_timeout_s=variables.CONNECT_TIMEOUT_S,
        read_timeout_s=variables.READ_TIMEOUT_S,
        marker_field=variables.MARKER_FIELD,
        settle_after_s=variables.SETTLE_AFTER_S,
        doubt_s=variables.DOUBT_S,
        reconcile_calls=variables.RECONCILE_CALLS,
        lease_s=variables.LEASE_S,
        ledger_days=variables.LEDGER_DAYS,
        max_delay_s=variables.MAX_DELAY_S,
        give_up_after_s=variables.GIVE_UP_AFTER_HOURS * 3600,
        threads=variables.THREADS,
    )
