"""Finds and removes what a stack holds of a person, a request or a ticket.

The queue cannot be searched. Its messages are received, looked at and given back, which counts as one more
receive of each; a message that waits for its next try is hidden, and is not seen. The ledger is read whole.

The item of a request stays, without what a sender may have named a person by: without it, a repetition of
the same id would make a second ticket. Of a request that is under way, or in doubt, item and message stay
as they are: its outcome is still to be published.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bridge.operating.words import title
from bridge.stacks import queues, target
from helpdesk.models import Operation
from helpdesk.store.ledger import reference_key
from helpdesk.store.table import ConditionError

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.operating.operations import Operations, ParkedCopy
    from bridge.operating.person import Subject
    from helpdesk.store.ledger import Receipt

# What is received is hidden from the functions for two minutes, and has to be back by then.
_MOST_MESSAGES = 5_000
# In the item of a request, what a sender or a helpdesk has worded.
_WORDED = ("reference", "message", "problems")
_FORGOT = "forgot it"
# In these states nothing is under way, and the next claim writes source and reference anew.
_AT_REST = ("done", "released")


@dataclass
class Report:
    """Lines for people: what is removed, or would be; what stays in the stack, and why; what is elsewhere."""

    removed: list[str] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


class Forgetting:
    """Forgets one subject in one stack. With `dry_run` it only finds. Raises as botocore and the ledger."""

    def __init__(
        self, operations: Operations, subject: Subject, folders: list[Path], *, dry_run: bool
    ) -> None:
        self._operations = operations
        self._table = operations.target.table
        self._subject = subject
        self._folders = folders
        self._dry_run = dry_run
        self._report = Report()
        # The requests of which messages were taken out of a queue.
        self._taken_out: set[str] = set()

    def run(self) -> Report:
        """Looks everywhere, and removes what is removed."""
        self._read_ledger()
        on = self._operations.target
        self._search_queue("dead-letter queue", on.dead_letter_queue_url)
        self._search_queue("requests queue", on.requests_queue_url)
        for request_id in sorted(self._subject.request_ids):
            self._forget_request(request_id)
        files = self._subject.files(self._folders)
        self._report.elsewhere += [f"your file {path}: {lines} lines" for path, lines in files]
        self._name_elsewhere()
        return self._report

    # ── the queues ───────────────────────────────────────────────────────────────────────────────────────

    def _search_queue(self, name: str, url: str) -> None:
        def report(copy: ParkedCopy) -> None:
            self._report.removed.append(f"{name}: {self._described(copy, url)}")

        def is_meant(copy: ParkedCopy) -> bool:
            # Only the message of a request that is under way leads to its outcome.
            return self._is_meant(copy) and (name == "dead-letter queue" or not self._is_under_way(copy))

        listing = self._operations.take_out(url, is_meant, report, most=_MOST_MESSAGES, dry_run=self._dry_run)
        if unseen := listing.about - len(listing.copies):
            self._report.stays.append(
                f"{name}: about {unseen} of {listing.about} messages were hidden, and not looked at"
            )

    def _described(self, copy: ParkedCopy, url: str) -> str:
        _, identity = self._operations.read(copy)
        self._taken_out.add(identity.request_id)
        what = " ".join(filter(None, (identity.operation, identity.request_id)))
        source = f" from {identity.source}" if identity.source else ""
        if url == self._operations.target.dead_letter_queue_url:
            return f"{what}{source}, {copy.code}"
        return f"{what}{source}, which gets no ticket and no outcome if it has none yet"

    def _is_meant(self, copy: ParkedCopy) -> bool:
        subject = self._subject
        request, identity = self._operations.read(copy)
        is_of_ticket = (
            subject.ticket_id is not None
            and getattr(request, "ticket_id", None) == subject.ticket_id
            and identity.helpdesk == subject.helpdesk
        )
        is_meant = (
            identity.request_id in subject.request_ids
            or is_of_ticket
            or subject.is_named_in_message(copy.body)
            or subject.is_named_in(copy.attributes)
        )
        if is_meant:
            subject.request_ids.add(identity.request_id)
        return is_meant

    def _is_under_way(self, copy: ParkedCopy) -> bool:
        receipt = self._operations.ledger.receipt(self._operations.read(copy)[1].request_id)
        return receipt is not None and receipt.state not in _AT_REST

    # ── the ledger ───────────────────────────────────────────────────────────────────────────────────────

    def _read_ledger(self) -> None:
        """Adds the ids of requests that the ledger knows of the person or the ticket."""
        subject = self._subject
        if subject.ticket_id and subject.helpdesk:
            known = self._operations.ledger.all(0.0, subject.ticket_id, helpdesk=subject.helpdesk)
            subject.request_ids.update(receipt.identity.request_id for receipt in known)
        if subject.email is None:
            return
        for item in self._table.scan("pk <> :none", {"none": "-"}):
            if subject.is_named_in(list(item.values())):
                self._sort(item)

    def _sort(self, item: Any) -> None:
        kind, _, rest = item["pk"].partition("#")
        match kind:
            case "request":
                # Earlier versions put the helpdesk before the id.
                self._subject.request_ids.add(rest if "helpdesk" in item else rest.partition("#")[2])
            case "rejected" | "by_hand":
                self._subject.request_ids.add(rest)
            case "reference":
                self._delete(item["pk"], "updates under this reference find no ticket from now on")
            case _:
                self._report.stays.append(f"ledger: {item['pk']} names the address{_until(item)}")

    def _forget_request(self, request_id: str) -> None:
        ledger, before = self._operations.ledger, len(self._report.removed)
        if receipt := ledger.receipt(request_id):
            self._forget_reference(receipt)
            self._strip(receipt)
        if rejection := ledger.rejection(request_id):
            self._delete(rejection.claim.key, "its sender no longer reads why it was refused")
        by_hand = self._operations.interventions.of(request_id)
        is_by_hand = not all(words.endswith(_FORGOT) for _, words in by_hand)
        if is_by_hand:
            self._report.removed.append(f"ledger: by_hand#{request_id}, what operators did with it")
        if self._dry_run:
            return
        if is_by_hand:
            self._operations.interventions.forget(request_id)
        is_removed = len(self._report.removed) > before or request_id in self._taken_out
        if is_removed and not self._subject.is_named_in(request_id):
            # Who did it stays known, where the id tells nothing of the person.
            words = f"{self._operations.target.operator} {_FORGOT}"
            self._operations.interventions.note(request_id, words)

    def _forget_reference(self, receipt: Receipt) -> None:
        identity = receipt.identity
        if not identity.reference or identity.operation is not Operation.ADD:
            return
        key = reference_key(identity)
        item = self._table.get(key)
        ticket = receipt.outcome.ticket_id if receipt.outcome else None
        is_own = item.get("expected_by") == receipt.claim.key or (ticket and item.get("ticket_id") == ticket)
        # One that names the address is deleted already.
        if item and is_own and receipt.state in _AT_REST and not self._subject.is_named_in(key):
            self._delete(key, "updates under this reference find no ticket from now on")

    def _strip(self, receipt: Receipt) -> None:
        key, subject = receipt.claim.key, self._subject
        item = self._table.get(key)
        if receipt.state not in _AT_REST:
            self._report.stays.append(
                f"ledger and queue: {key} is under way, and needs both for its outcome:"
                " forget it again when it has ended"
            )
            return
        names = [name for name in _WORDED if name in item]
        names += ["source"] if subject.is_named_in(item.get("source")) else []
        if names:
            self._report.removed.append(f"ledger: {', '.join(names)} of {key}")
        if names and not self._dry_run:
            with suppress(ConditionError):
                held = {"lease": receipt.claim.lease, "state": receipt.state}
                self._table.update(key, removes=names, expected=held)
        address = ", also the address in the id" if subject.is_named_in(key) else ""
        self._report.stays.append(
            f"ledger: id, state and ticket of {key}{address}{_until(item)}:"
            " without them the same request, sent again, makes a second ticket"
        )

    def _delete(self, key: str, cost: str) -> None:
        self._report.removed.append(f"ledger: {key}; {cost}")
        if not self._dry_run:
            self._table.delete(key)

    # ── what is only named ───────────────────────────────────────────────────────────────────────────────

    def _name_elsewhere(self) -> None:
        on, report = self._operations.target, self._report
        for request_id in sorted(self._subject.request_ids):
            receipt = self._operations.ledger.receipt(request_id)
            outcome = receipt.outcome if receipt else None
            if receipt and outcome and outcome.ticket_id:
                where = title(receipt.identity.helpdesk)
                report.elsewhere.append(
                    f"{where}: ticket {outcome.ticket_id} {outcome.ticket_url or ''}".rstrip()
                )
        named = f"{title(self._subject.helpdesk)}: ticket {self._subject.ticket_id}"
        if self._subject.ticket_id and not any(
            f"{line} ".startswith(f"{named} ") for line in report.elsewhere
        ):
            report.elsewhere.append(named)
        report.elsewhere = list(dict.fromkeys(report.elsewhere))
        if self._subject.email:
            report.elsewhere.append(
                "tickets at the helpdesk, which the ledger knows by their ids: look for the address there,"
                " then forget each with --ticket"
            )
        report.elsewhere += [
            f"subscribers of the outcomes ({self._subscribers()}):"
            " references, contexts, the helpdesk's words, and the tickets of gets",
            f"point-in-time recovery of the table {on.ledger_table}: as the ledger was, for up to 35 days",
            "backups and exports of your own; what the senders, form services and event archives keep",
            "the logs of the functions: ids, until LogRetentionDays are over; no text of customers",
        ]

    def _subscribers(self) -> str:
        try:
            on = self._operations.target
            endpoints = [each["Endpoint"] for each in queues.subscriptions(on, on.outcomes_topic_arn)]
        except (BotoCoreError, ClientError) as error:
            return f"not listed: {target.words_of(error)}"
        return ", ".join(endpoints) or "none now"


def _until(item: Any) -> str:
    if "expires_at" not in item:
        return ""
    return f", until {datetime.fromtimestamp(item['expires_at'], UTC):%Y-%m-%d}"
