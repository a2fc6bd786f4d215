"""What a soak has to know of each helpdesk: its calls, what an update asks, and where that shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.simulators.socialboards.account import MINT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

type Ticket = Mapping[str, Any]


@dataclass(frozen=True)
class SoakedHelpdesk:
    """One helpdesk. Calls are named as its simulator names them."""

    name: str
    adds: str
    updates: tuple[str, ...]
    gets: tuple[str, ...]
    # One failure of these befalls all calls that wait for the token.
    mints: tuple[str, ...]
    # Those of reconcile: each takes many tickets, or many of them make one look.
    rare: tuple[str, ...]
    # A body that says no, with status 200.
    says_no: str
    # The changes of an update that leaves the mark at its ticket, and the marks that a ticket shows.
    changes: Callable[[Random, str], dict[str, Any]]
    marks: Callable[[Ticket], set[str]]
    # Whether a comment whose answer was lost can be looked up.
    finds_comments: bool
    # Whether an update's answer repeats the ticket's id.
    echoes_ids: bool
    # Whether producers may spell requests as for its own API.
    is_native: bool


def _kapture_changes(random: Random, mark: str) -> dict[str, Any]:
    return {"sub_status": random.choice(("PS", "OP")), "disposition": mark}


def _kapture_marks(ticket: Ticket) -> set[str]:
    return {entry["disposition"] for entry in ticket["history"]}


def _socialboards_changes(random: Random, mark: str) -> dict[str, Any]:
    """Two calls to four; the comment is one more."""
    changes: dict[str, Any] = {
        "sub_status": random.choice(("open", "pending")),
        "extra": {"tags": [mark]},
    }
    if random.random() < 0.5:
        changes["queue"] = random.choice(("15597", "15721"))
    return changes


def _socialboards_marks(ticket: Ticket) -> set[str]:
    tagged = (change["after"] for change in ticket["changes"] if change["action"] == "ticket_tags_changed")
    return {tag for tags in tagged for tag in tags}


SOAKED = {
    one.name: one
    for one in (
        SoakedHelpdesk(
            name="kapture",
            adds="add",
            updates=("update",),
            gets=("get",),
            mints=(),
            rare=("pull",),
            says_no='{"message":"no such queue","status":"failed"}',
            changes=_kapture_changes,
            marks=_kapture_marks,
            finds_comments=False,
            echoes_ids=True,
            is_native=True,
        ),
        SoakedHelpdesk(
            name="socialboards",
            adds="add",
            updates=("set_status", "set_category", "set_tags", "add_note"),
            gets=("get",),
            mints=(MINT,),
            rare=("list", "list_notes"),
            says_no='{"data":null,"errorCode":7,"errorText":"no such queue"}',
            changes=_socialboards_changes,
            marks=_socialboards_marks,
            finds_comments=True,
            echoes_ids=False,
            is_native=False,
        ),
    )
}


def comments_of(ticket: Ticket) -> list[str]:
    """The first line of each comment; a marker of ours may follow."""
    return [str(comment).partition("\n")[0] for comment in ticket["comments"]]
