"""The audits of days: what each report says, and where it is kept.

A report's item, `proof#<helpdesk>#<day>`, holds counts and ids, and no customer text. Its key is that of
earlier versions: the ledger reads from `proof#<helpdesk>` since when ours runs here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from helpdesk.models import SCHEMA_VERSION
from helpdesk.runtime.topic import Message
from helpdesk.store.table import table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

AUDITED = "day.audited"


@dataclass(frozen=True)
class Discrepancy:
    """Something that a person should look at."""

    what: Literal["missing", "not_in_ledger", "added_twice", "added_though_ended"]
    ticket_id: str
    request_id: str | None = None


@dataclass
class Tally:
    """What became of the requests of one source that came in on the day."""

    requests: int = 0
    added: int = 0
    updated: int = 0
    rejected: int = 0
    parked: int = 0
    open: int = 0


@dataclass(frozen=True)
class AuditReport:
    """One day of one helpdesk. `shown` tickets were pulled, `ours` of them carry a marker of ours."""

    helpdesk: str
    day: str
    sources: Mapping[str, Tally] = field(default_factory=dict)
    shown: int = 0
    ours: int = 0
    # Shown by its id and not by the pull: a row that came late.
    late: int = 0
    discrepancies: tuple[Discrepancy, ...] = ()
    discrepancy_count: int = 0
    audited_at: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing needs a person."""
        return not self.discrepancy_count

    def message(self) -> Message:
        """The CloudEvents 1.0 event that tells it."""
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
    """The reports of the days that were audited. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def of(self, helpdesk: str, day: str) -> AuditReport | None:
        """The report of a day (YYYY-MM-DD), or None."""
        item = self._item(_key(helpdesk, day))
        if item is None or "report" not in item:
            return None
        kept = json.loads(item["report"]["S"])
        sources = {name: Tally(**tally) for name, tally in kept.pop("sources").items()}
        return AuditReport(
            **kept
            | {
                "sources": sources,
                "discrepancies": tuple(Discrepancy(**each) for each in kept.pop("discrepancies")),
            }
        )

    def begun_at(self, helpdesk: str, day: str, now: float) -> tuple[str, float]:
        """The first day that is to be audited, and when that was noted: now, where it was not yet."""
        key = f"proof#{helpdesk}"
        first = {"pk": {"S": key}, "day": {"S": day}, "begun_at": {"N": repr(now)}, "upgraded_at": {"N": "0"}}
        item = self._item(key)
        if item is None or "upgraded_at" not in item:
            # An item of an earlier version: the ledger reads from it how long there are others of that kind.
            item = item | {"upgraded_at": {"N": repr(now)}} if item else first
            with table_asked():
                self._client.put_item(TableName=self._table, Item=item)
        return item["day"]["S"], float(item["begun_at"]["N"])

    def _item(self, key: str) -> Any:
        with table_asked():
            return self._client.get_item(
                TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True
            ).get("Item")

    def keep(self, report: AuditReport, until: float) -> None:
        """Remembers a report, until a moment in seconds since the epoch."""
        with table_asked():
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": _key(report.helpdesk, report.day)},
                    "report": {"S": json.dumps(asdict(report), separators=(",", ":"))},
                    "expires_at": {"N": str(int(until))},
                },
            )
