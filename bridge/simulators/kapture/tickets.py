"""What a simulated Kapture account stores: its tickets, each with all its updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Documented: US, PS, CL and P; observed in one account: the others. Accounts differ, so any key is taken.
SUB_STATUS_NAMES = {
    "US": "Unattended",
    "PS": "Pending",
    "P": "Pending",
    "OP": "Open",
    "IN": "Pending Internal",
    "PE": "Pending External",
    "RS": "Resolved",
    "CL": "Closed",
    "CRS": "Reopened",
}
# Status P is documented; the name Complete is observed, its letter inferred.
_PENDING = ("P", "Pending")
_COMPLETE = ("C", "Complete")
_COMPLETE_SUB_STATUSES = {"RS", "CL"}


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One update, as it was asked for; an empty text left its value alone."""

    at: float
    sub_status: str
    queue: str
    disposition: str
    callback_time: str
    comment: str


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One stored ticket: replaced, never changed, so any thread may read it. Times are epoch seconds."""

    ticket_id: str
    internal_id: int
    created_at: float
    title: str
    details: str
    due_date: str
    email: str
    phone: str
    customer_id: int
    customer_name: str
    blocks: Mapping[str, list[object]]
    sub_status: str = "US"
    status_asked: str = ""
    """The status that came with the sub-status, by its name (observed)."""
    priority: str = "low"
    queue: str = ""
    disposition: str = ""
    callback_time: str = ""
    history: tuple[HistoryEntry, ...] = field(default=())

    @property
    def comments(self) -> list[str]:
        """The comments of all updates, oldest first."""
        return [entry.comment for entry in self.history if entry.comment]

    @property
    def status(self) -> tuple[str, str]:
        """Letter and name; a sub-status that came without a status has its own."""
        if self.status_asked:
            named = (self.status_asked[0].upper(), self.status_asked)
            known = (status for status in (_PENDING, _COMPLETE) if self.status_asked in status)
            return next(known, named)
        return _COMPLETE if self.sub_status in _COMPLETE_SUB_STATUSES else _PENDING

    @property
    def sub_status_name(self) -> str:
        """The name that goes with the key; an unknown key is its own name."""
        return SUB_STATUS_NAMES.get(self.sub_status, self.sub_status)

    @property
    def queue_name(self) -> str:
        """A name that differs from the key (inferred)."""
        return self.queue.replace("_", " ").title()

    @property
    def updated_at(self) -> float:
        return self.history[-1].at if self.history else self.created_at

    @property
    def page(self) -> str:
        """The ticket's page, relative to the site."""
        return f"/employee/view-task-detail.html?detail=5/{self.internal_id}/{self.ticket_id}"

    @property
    def list_page(self) -> str:
        """The page that an update answers with, relative to the site."""
        return f"/employee/all-tickets.html?detail=2/{self.internal_id}/{self.ticket_id}"
