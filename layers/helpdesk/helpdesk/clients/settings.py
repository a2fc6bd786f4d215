"""What the settings of all helpdesks have in common; each helpdesk's own are in its folder."""

import json
import re
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

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


def names(text: Any) -> Any:
    """The names in a comma list."""
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else text


# A time zone, by its name in IANA's database.
Zone = Annotated[ZoneInfo, PlainValidator(_zone)]
READ_JSON = BeforeValidator(_json_object)
READ_NAMES = BeforeValidator(names)
# The field that holds a ticket's marker.
MarkerField = Annotated[str, Field(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+)$")]


class BaseSettings(BaseModel):
    """Names, ARNs and URLs have no default: a missing one must not be guessed."""

    # Else an error would quote the whole environment.
    model_config = ConfigDict(frozen=True, str_min_length=1, hide_input_in_errors=True)


class HelpdeskSettings(BaseSettings):
    """How to reach one account."""

    # What a person puts into its secret.
    secret_keys: ClassVar[tuple[str, ...]] = ("token",)

    # Domains whose hosts may get our token; the URL is checked against them, so they stand before it.
    hosts: str
    url: str
    secret_arn: str
    # The time zone of its days.
    zone: Zone = Field(default_factory=lambda: ZoneInfo("UTC"))
    # The most calls to the whole account in any period of this length; 0 means no limit.
    budget: Annotated[int, Field(ge=0)] = 0
    budget_period_s: Annotated[float, Field(ge=1)] = 60
    marker_field: MarkerField = "details"

    @field_validator("url")
    @classmethod
    def _is_of_a_host(cls, url: str, info: ValidationInfo) -> str:
        parts = _URL.fullmatch(url.lower())
        if parts is None:
            raise ValueError("give scheme and host only, for example https://acme.example.com")
        scheme, host = parts[1], parts[2]
        allowed = [name.strip(".").lower() for name in names(info.data["hosts"])]
        is_named = any(f".{host}".endswith(f".{name}") for name in allowed if name)
        if host not in _LOOPBACK and not (scheme == "https" and is_named):
            variable = cls.model_fields["hosts"].alias
            raise ValueError(f"must be https on a host of {variable} ({', '.join(allowed)})")
        return url.rstrip("/")
