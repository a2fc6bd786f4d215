"""What can be set for a Kapture account."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from helpdesk.clients.settings import READ_JSON, READ_NAMES, HelpdeskSettings, MarkerField, Zone


class KaptureSettings(HelpdeskSettings, alias_generator=lambda name: f"KAPTURE_{name.upper()}"):
    """How to reach one Kapture account, and the choices that its reference leaves open."""

    hosts: str = "kapturecrm.com"
    zone: Zone = Field(default_factory=lambda: ZoneInfo("Asia/Kolkata"))
    # The segment after the page's name; "none" means the older generation of the API, which has none.
    path_version: Annotated[
        str,
        Field(pattern=r"^(/[A-Za-z0-9_.-]+|none)$"),
        AfterValidator(lambda path: path.removeprefix("none")),
    ] = "/v.2.0"
    # Names that requests may use for an account's own sub-status keys; unknown names pass as they are.
    sub_statuses: Annotated[dict[str, str], READ_JSON] = Field(default_factory=dict)
    # The same for its queues and dispositions.
    ids: Annotated[
        dict[Annotated[str, Field(pattern=r"^(queue|disposition)$")], dict[str, str]], READ_JSON
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
    closed_statuses: Annotated[frozenset[Annotated[str, AfterValidator(str.casefold)]], READ_NAMES] = (
        frozenset({"complete", "closed"})
    )
    # Some accounts want the token in `x-api-key` as well.
    send_api_key: bool = False
    # The most tickets of one get; Kapture's own limit is undocumented.
    get_limit: Annotated[int, Field(ge=1, le=100)] = 50
    # Tickets of one page of a pull; 0 pulls all at once, as accounts without pagination want it.
    pull_limit: Annotated[int, Field(ge=0)] = 0
    # Its variable is older than other helpdesks.
    marker_field: Annotated[MarkerField, Field(alias="MARKER_FIELD")] = "details"
