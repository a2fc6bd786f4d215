"""What a soak knows of each helpdesk: its calls, what an update changes, and where that shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

type Ticket = Mapping[str, Any]

# Kinds of calls. A failed MINT befalls all calls that wait for the token; RARE ones, which look up doubts,
# take many tickets at once or are many for one doubt.
ADD, UPDATE, GET, MINT, RARE = "add", "update", "get", "mint", "rare"


@dataclass(frozen=True)
class SoakHelpdesk:
    """One helpdesk."""

    name: str
    # The kind of each call, by the name that its simulator gives it.
    calls: Mapping[str, str]
    # A body that says no, with status 200.
    refusal: str
    # The changes of an update that leaves the mark at its ticket, and all the marks that a ticket shows.
    changes: Callable[[Random, str], dict[str, Any]]
    marks: Callable[[Ticket], set[str]]
    # Whether a comment whose response was lost can be looked up.
    finds_comments: bool
    # Whether the response to an update repeats the ticket's id.
    echoes_ids: bool
    # Whether producers may spell requests as its own API does.
    has_native_spelling: bool


def _kapture_changes(random: Random, mark: str) -> dict[str, Any]:
    return {"sub_status": random.choice(("PS", "OP")), "disposition": mark}


def _kapture_marks(ticket: Ticket) -> set[str]:
    return {entry["disposition"] for entry in ticket["history"]}


def _socialboards_changes(random: Random, mark: str) -> dict[str, Any]:
    """These take two or three calls; a comment takes one more."""
    changes: dict[str, Any] = {"sub_status": random.choice(("open", "pending")), "extra": {"tags": [mark]}}
    if random.random() < 0.5:
        changes["queue"] = random.choice(("15597", "15721"))
    return changes


def _socialboards_marks(ticket: Ticket) -> set[str]:
    tagged = (change["after"] for change in ticket["changes"] if change["action"] == "ticket_tags_changed")
    return {tag for tags in tagged for tag in tags}


_KAPTURE = SoakHelpdesk(
    name="kapture",
    calls={"add": ADD, "update": UPDATE, "get": GET, "pull": RARE},
    refusal='{"message":"no such queue","status":"failed"}',
    changes=_kapture_changes,
    marks=_kapture_marks,
    finds_comments=False,
    echoes_ids=True,
    has_native_spelling=True,
)
_SOCIALBOARDS = SoakHelpdesk(
    name="socialboards",
    calls={
        "add": ADD,
        **dict.fromkeys(("set_status", "set_category", "set_tags", "add_note"), UPDATE),
        "get": GET,
        "token": MINT,
        **dict.fromkeys(("list", "list_notes"), RARE),
    },
    refusal='{"data":null,"errorCode":7,"errorText":"no such queue"}',
    changes=_socialboards_changes,
    marks=_socialboards_marks,
    finds_comments=True,
    echoes_ids=False,
    has_native_spelling=False,
)
SOAK_HELPDESKS = {helpdesk.name: helpdesk for helpdesk in (_KAPTURE, _SOCIALBOARDS)}
