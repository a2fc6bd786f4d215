"""How a simulated Socialboards account behaves where the vendor leaves it open."""

from typing import Annotated, Literal

from pydantic import Field

from bridge.simulators.server import HelpdeskSwitches


class SocialboardsSwitches(HelpdeskSwitches):
    """What the vendor leaves open, or what differs between versions."""

    failure_status: Annotated[int, Field(ge=200, le=599)] | Literal["by_cause"] = 200
    """HTTP status of a failed call; by_cause: 404 for an unknown ticket, note or reply, 409 for a stale
    previousAssigneeId, else 400. A refused access token is always 401."""
    mint_failure: Literal["oauth", "envelope"] = "oauth"
    """How a token call fails: status 400 and `error`, or the envelope (by_cause: 401 for bad credentials)."""
    access_token_life_s: Annotated[int, Field(ge=1)] = 3600
    """For tokens minted from now on; `expires_in` is a second less (documented)."""
    refresh_rotation: Literal["off", "old_accepted", "old_refused"] = "off"
    """Whether a mint brings another refresh token, and what becomes of those before."""
    pascal_case: bool = False
    """Keys of answers begin with a capital, the token call's excepted."""
    utc_offset_hours: Literal["varying"] | Annotated[int, Field(ge=-12, le=14)] = "varying"
    """Of the times in answers."""
    take_above_50: Literal["refused", "clamped"] = "refused"
    required_fields: list[Literal["title", "message", "creator"]] = Field(["title"])
    """What an add cannot do without."""
    unknown_ids: Literal["refused", "taken"] = "refused"
    """What becomes of unknown assignees, authors, categories and custom fields."""
    unverified_calls: Literal["served", "missing"] = "served"
    """missing: no path answers that was not documented."""
    notes_in_pages: bool = True
    """Whether a list of notes heeds `take` and `skip`; if not, it shows all."""
    list_filter_key: Literal["key", "id"] = "key"
    """How a list's filter names a custom field: as the vendor's sample does, or as its type."""
    list_lag_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Tickets younger than this are not shown by a list."""
    marker_returned: bool = True
    """Whether get and list show message and custom fields."""
    teammate_ids: bool = False
    """Whether the list of teammates shows their ids; the vendor's sample does not."""
