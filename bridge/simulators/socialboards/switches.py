"""How a simulated Socialboards account behaves where the vendor leaves it open."""

from typing import Annotated, Literal

from pydantic import Field

from bridge.simulators.server import HelpdeskSwitches


class SocialboardsSwitches(HelpdeskSwitches):
    """What the vendor leaves open, or what differs between versions."""

    failure_status: Literal[200, "by_cause"] = 200
    """HTTP status of a failed call; by_cause: 404 for an unknown ticket, 409 for a stale previousAssigneeId,
    else 400. A refused access token is always 401."""
    mint_failure: Literal["oauth", "envelope"] = "oauth"
    """How a token call fails: status 400 and `error`, or the envelope (by_cause: 401 for bad credentials)."""
    refresh_rotation: Literal["off", "old_refused"] = "off"
    """old_refused: each mint brings another refresh token and ends the one before."""
    pascal_case: bool = False
    """Keys of answers begin with a capital, the token call's excepted."""
    unknown_ids: Literal["refused", "taken"] = "refused"
    """What becomes of unknown assignees, authors, categories and custom fields."""
    unverified_calls: Literal["served", "missing"] = "served"
    """missing: no path answers that was not documented."""
    notes_in_pages: bool = True
    """Whether a list of notes heeds `take` and `skip`; if not, it shows all."""
    list_lag_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Tickets younger than this are not shown by a list."""
    marker_returned: bool = True
    """Whether get and list show message and custom fields."""
