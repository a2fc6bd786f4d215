"""The reports of the daily audits: what each says, and where it is kept.

A report's item, `proof#<helpdesk>#<day>`, holds counts and ids, and no customer text. Earlier versions chose
its key. `proof#<helpdesk>` notes when audits began and when this version came; the ledger reads the second.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from helpdesk.models import SCHEMA_VERSION
from helpdesk.runtime.topic import Message
from helpdesk.store.table import Item, Table

AUDITED = "day.audited"


@dataclass(frozen=True)
class Discrepancy:
    """Something that a person should look at."""

    what: Literal["missing", "not_in_ledger", "added_twice", "added_though_ended"]
    ticket_id: str
    request_id: str | None = None


@dataclass
class Tally:
    """How the requests of one source ended that came in on the day."""

    requests: int = 0
    added: int = 0
    updated: int = 0
    rejected: int = 0
    parked: int = 0
    open: int = 0


@dataclass(frozen=True)
class AuditReport:
    """One day of one helpdesk. `shown` tickets were pulled; `ours` of them carry one of our markers."""

    helpdesk: str
    day: str
    sources: Mapping[str, Tally] = field(default_factory=dict)
    shown: int = 0
    ours: int = 0
    # Tickets that the pull did not show, but a read by id did: their rows came late.
    late: int = 0
    discrepancies: tuple[Discrepancy, ...] = ()
    discrepancy_count: int = 0
    audited_at: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing needs a person."""
        return not self.discrepancy_count

    def message(self) -> Message:
        """The CloudEvents 1.0 event that publishes the report."""
        body = {"schema_version": SCHEMA_VERSION, "outcome": "clean" if self.is_clean else "discrepancies"}
        named = f"{self.helpdesk}\n{self.day}\n{self.discrepancies}"
        event = {
            "specversion": "1.0",
            "id": hashlib.sha256(named.encode()).hexdigest()[:32],
            "source": f"ticket-bridge/{self.helpdesk}",
            "type": AUDITED,
            "subject": self.day,
            "time": self.audited_at,
            "datacontenttype": "application/json",
            "data": body | asdict(self) | {"discrepancies": [_named(each) for each in self.discrepancies]},
        }
        return Message(event, {"type": AUDITED, "outcome": body["outcome"], "helpdesk": self.helpdesk})


def _key(helpdesk: str, day: str) -> str:
    return f"proof#{helpdesk}#{day}"


def _named(discrepancy: Discrepancy) -> dict[str, str]:
    return {name: value for name, value in asdict(discrepancy).items() if value is not None}


class Audits:
    """The reports of audited days. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of(self, helpdesk: str, day: str) -> AuditReport | None:
        """The report of a day (YYYY-MM-DD), or None."""
        item = self._table.get(_key(helpdesk, day))
        if "report" not in item:
            return None
        kept = json.loads(item["report"])
        sources = {name: Tally(**tally) for name, tally in kept.pop("sources").items()}
        return AuditReport(
            **kept
            | {
                "sources": sources,
                "discrepancies": tuple(Discrepancy(**each) for each in kept.pop("discrepancies")),
            }
        )

    def begun_at(self, helpdesk: str, day: str, now: float) -> tuple[str, float]:
        """The first day to audit, and when that was noted. Notes `day` and `now` if nothing was."""
        key = f"proof#{helpdesk}"
        item = self._table.get(key)
        if "upgraded_at" not in item:
            # An item without it is an earlier version's. The ledger counts from `upgraded_at` how long
            # there can be others.
            first: Item = {"pk": key, "day": day, "begun_at": now, "upgraded_at": 0}
            item = {**item, "upgraded_at": now} if item else first
            self._table.put(item)
        return item["day"], item["begun_at"]

    def keep(self, report: AuditReport, until: float) -> None:
        """Keeps a report until a moment in seconds since the epoch."""
        text = json.dumps(asdict(report), separators=(",", ":"))
        self._table.put({"pk": _key(report.helpdesk, report.day), "report": text, "expires_at": int(until)})
