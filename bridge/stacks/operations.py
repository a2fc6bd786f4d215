"""What an operator does to a running stack: parked requests, redrive, pause, and the story of a request."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.stacks import queues
from bridge.stacks.log_lines import log_line
from helpdesk.intake.requests import Defaults, UnreadableRequestError, read_request
from helpdesk.store.audits import AuditReport, Audits
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from bridge.stacks.target import Target
    from helpdesk.store.ledger import Receipt

# Long enough to read a full queue; what is not taken away is shown again at once.
_PEEK_S = 120
# So many in a row say that nothing more is to be had, where there should be.
_EMPTY_ANSWERS = 3
_OUTCOME = "outcome told:"
_STATES = {
    "claimed": "being carried out",
    "released": "waiting for its next try",
    "unknown": "in doubt: it may have happened, and is being looked up",
}
_STEPS = {
    "claimed": "a call to the helpdesk was begun",
    "succeeded": "succeeded",
    "rejected": "was rejected",
    "unknown": "may have happened: the answer was lost",
    "parked": "was parked for a person",
    "released": "nothing was done; it waits",
    "freed": "may be carried out again",
}


@dataclass(frozen=True)
class ParkedCopy:
    """A copy in the dead-letter queue."""

    body: str
    attributes: dict[str, str]
    receipt_handle: str
    message_id: str

    @property
    def request_id(self) -> str:
        """The request's id. SQS moves a message as it is: its own id is that of a request without one."""
        return self.attributes.get("request_id", self.message_id)

    @property
    def code(self) -> str:
        """Why it is here."""
        return self.attributes.get("code", "undelivered")

    @property
    def helpdesk(self) -> str:
        """The one that was meant; empty where it is not known."""
        return self.attributes.get("helpdesk", "")

    @property
    def source(self) -> str:
        """Who asked."""
        return self.attributes.get("source", "")


@dataclass(frozen=True)
class Listing:
    """The copies that could be seen, and about how many there are."""

    copies: tuple[ParkedCopy, ...]
    about: int

    @property
    def hidden(self) -> str:
        """What to say of those that could not be seen; empty where there are none."""
        if len(self.copies) == self.about:
            return ""
        return (
            f"{len(self.copies)} of about {self.about} could be seen: somebody else may be looking at"
            " the rest. Look again in two minutes."
        )


@dataclass(frozen=True)
class Selection:
    """Which parked copies are meant; what is None does not matter."""

    code: str | None = None
    source: str | None = None
    request_id: str | None = None

    def has(self, copy: ParkedCopy) -> bool:
        """Whether the copy is meant."""
        return (
            self.code in (None, copy.code)
            and self.source in (None, copy.source)
            and self.request_id in (None, copy.request_id)
        )


@dataclass(frozen=True)
class Step:
    """One line of a request's story; `at` is in seconds since the epoch."""

    at: float
    text: str


@dataclass(frozen=True)
class Story:
    """Where a request stands and how it came there; `helpdesk` is None where the ledger has none of it."""

    helpdesk: str | None
    stands: str
    steps: list[Step]


class Operations:
    """Works on one stack, with the same ledger and gate as its functions."""

    def __init__(self, target: Target, *, wait_s: int = 1) -> None:
        self._target = target
        # Above 0 SQS reads all of its servers, and not a sample of them.
        self._wait_s = wait_s
        self._ledger = Ledger(target.table, lease_s=0, keep_days=28)

    def audits(self, last: date, days: int) -> list[AuditReport]:
        """The reports of the last days up to one, oldest first."""
        kept = Audits(self._target.table)
        dates = [last - timedelta(days=back) for back in reversed(range(days))]
        reports = [kept.of(name, day.isoformat()) for day in dates for name in self.helpdesks]
        return [report for report in reports if report is not None]

    # ── parked requests ──────────────────────────────────────────────────────────────────────────────────

    def parked(self) -> Listing:
        """What can be seen of the dead-letter queue; it stays there."""
        listing = self._taken()
        self._put_back(listing.copies)
        return listing

    def redrive(
        self, selection: Selection, *, report: Callable[[ParkedCopy], None], dry_run: bool
    ) -> Listing:
        """Sends parked requests through the queue again, by the same ledger; returns all that were parked.

        `report` gets each that is sent, or would be.
        """
        listing = self._taken()
        kept = {copy.message_id: copy for copy in listing.copies}
        try:
            for copy in filter(selection.has, listing.copies):
                report(copy)
                if not dry_run:
                    self._send_again(copy)
                    del kept[copy.message_id]
        finally:
            self._put_back(tuple(kept.values()))
        return listing

    def drop(self, selection: Selection) -> int:
        """Deletes parked copies for good; returns how many."""
        listing = self._taken()
        dropped = [copy for copy in listing.copies if selection.has(copy)]
        self._put_back([copy for copy in listing.copies if not selection.has(copy)])
        for copy in dropped:
            self._target.sqs.delete_message(
                QueueUrl=self._target.dead_letter_queue_url, ReceiptHandle=copy.receipt_handle
            )
        return len(dropped)

    def _taken(self) -> Listing:
        """Every copy once, hidden from others for a while."""
        about, empties = queues.count(self._target.sqs, self._target.dead_letter_queue_url), 0
        copies: dict[str, ParkedCopy] = {}
        # An answer may be empty while there are messages; the count is an estimate, but a hint to try again.
        while empties < (1 if len(copies) >= about else _EMPTY_ANSWERS):
            messages = self._target.sqs.receive_message(
                QueueUrl=self._target.dead_letter_queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                VisibilityTimeout=_PEEK_S,
                WaitTimeSeconds=self._wait_s,
            ).get("Messages", [])
            before = len(copies)
            # One that comes a second time has a new handle, and only that is valid.
            copies |= {message["MessageId"]: _copy_in(message) for message in messages}
            empties = 0 if len(copies) > before else empties + 1
        return Listing(tuple(copies.values()), max(about, len(copies)))

    def _put_back(self, copies: Sequence[ParkedCopy]) -> None:
        for start in range(0, len(copies), 10):
            # Those that fail are visible already, or will be when _PEEK_S is over: nothing has to be done.
            self._target.sqs.change_message_visibility_batch(
                QueueUrl=self._target.dead_letter_queue_url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": copy.receipt_handle, "VisibilityTimeout": 0}
                    for place, copy in enumerate(copies[start : start + 10])
                ],
            )

    def _send_again(self, copy: ParkedCopy) -> None:
        self._free(copy)
        more: dict[str, Any] = {"MessageGroupId": copy.source} if copy.source else {}
        self._target.sqs.send_message(
            QueueUrl=self._target.requests_queue_url,
            MessageBody=copy.body,
            # A body without an id of its own must not get a new one from the new message, nor one without a
            # helpdesk go to what is the default by now.
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in (("request_id", copy.request_id), ("helpdesk", copy.helpdesk))
                if value
            },
            **more,
        )
        self._target.sqs.delete_message(
            QueueUrl=self._target.dead_letter_queue_url, ReceiptHandle=copy.receipt_handle
        )

    def _free(self, copy: ParkedCopy) -> None:
        """Lets a request that has ended be carried out anew; it would be answered with its old end."""
        defaults = Defaults(copy.request_id, copy.source, copy.helpdesk or self.helpdesks[0])
        try:
            request = read_request(copy.body, defaults)
        except UnreadableRequestError:
            # It never came as far as the ledger.
            return
        receipt = self._ledger.receipt(request.request_id)
        # One that used another's id has no claim to that one's item.
        if receipt and receipt.ended and receipt.fingerprint == fingerprint(request):
            self._ledger.reopen(receipt, "redriven")

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def helpdesks(self) -> tuple[str, ...]:
        """Those that the stack serves, the default first."""
        return self._target.helpdesks

    def gate(self, helpdesk: str) -> Gate:
        """The gate of a helpdesk, for pause and resume. Raises BridgeError where it is not served."""
        self._check_served(helpdesk)
        return Gate(self._target.table, helpdesk, Budget())

    def doubts(self, helpdesk: str, most: int) -> list[Receipt]:
        """Requests of which it is not known whether they happened, the longest waiting first."""
        return self._ledger.doubts(helpdesk, most)

    # ── the story of a request ───────────────────────────────────────────────────────────────────────────

    def trace(self, request_id: str) -> Story:
        """The story of a request."""
        steps = list(self._logged(request_id))
        if receipt := self._ledger.receipt(request_id):
            # That a doubt was published is in the log's lines as well.
            steps += [_step(entry) for entry in receipt.history if not entry.endswith(" told")]
            helpdesk, stands = receipt.identity.helpdesk, _stands(receipt)
        else:
            helpdesk = None
            stands = "not begun: it waits in the queue, was never accepted, or could not be read"
        steps.sort(key=lambda step: step.at)
        if not helpdesk and steps and steps[-1].text.startswith(_OUTCOME):
            # A get, or one that was wrong: the ledger has none of these.
            stands = f"{steps[-1].text}; the ledger holds nothing of it"
        return Story(helpdesk, stands, steps)

    def _check_served(self, helpdesk: str) -> None:
        if helpdesk not in self.helpdesks:
            raise BridgeError(f"This stack serves {' and '.join(self.helpdesks)}, not {helpdesk}")

    def _logged(self, request_id: str) -> Iterator[Step]:
        pattern = json.dumps(request_id)
        for group in self._target.log_groups:
            # A page may be empty and have others behind it.
            pages = self._target.logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, filterPattern=f"{{ $.request_id = {pattern} }}"
            )
            try:
                for page in pages:
                    for event in page["events"]:
                        yield from _logged_step(event, request_id)
            except self._target.logs.exceptions.ResourceNotFoundException:
                # A function that never ran has no log yet.
                continue


def _copy_in(message: MessageTypeDef) -> ParkedCopy:
    attributes = message.get("MessageAttributes", {})
    return ParkedCopy(
        message["Body"],
        {name: value.get("StringValue", "") for name, value in attributes.items()},
        message["ReceiptHandle"],
        message["MessageId"],
    )


def _stands(receipt: Receipt) -> str:
    if not (receipt.ended and receipt.outcome):
        return _STATES[receipt.state]
    outcome = receipt.outcome
    where = f", ticket {outcome.ticket_id} {outcome.ticket_url or ''}" if outcome.ticket_id else ""
    why = f" ({outcome.code}: {outcome.message})" if outcome.code else ""
    return f"{outcome.kind}{where}{why}".rstrip()


def _logged_step(event: Any, request_id: str) -> Iterator[Step]:
    line = log_line(event)
    if line is None or line.request_id != request_id:
        return
    code = line.fields.get("code")
    text = {
        "request accepted": "accepted by the API and put into the queue",
        "submission accepted": "accepted from a form and put into the queue",
        "request waits": f"given back to the queue: {code}",
        "request ended": f"{_OUTCOME} {line.fields.get('outcome')}" + (f" ({code})" if code else ""),
        "doubt looked up": f"looked up at the helpdesk: {line.fields.get('settled')}",
    }.get(line.message)
    if text:
        yield Step(line.at, text)


def _step(entry: str) -> Step:
    at, word, *rest = entry.split(" ")
    why = f" ({' '.join(rest)})" if rest else ""
    return Step(float(at), _STEPS.get(word, word) + why)


def clock_time(seconds: float) -> str:
    """A moment as people read it: UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def age(seconds: float) -> str:
    """How long ago a moment was, roughly."""
    passed = max(0, int(time.time() - seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed // size} {unit}"
    return f"{passed} s"
