"""What an operator does to a running stack: parked requests, redrive, corrections, pause."""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property, partial
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

from bridge.errors import BridgeError
from bridge.operating.interventions import Interventions
from bridge.operating.log_lines import cause_of
from bridge.operating.story import StoryReader
from bridge.operating.words import Outage, outage_in, refused_keys
from bridge.stacks import queues
from helpdesk.errors import RejectedError
from helpdesk.intake.envelopes import unwrap
from helpdesk.intake.requests import Defaults, UnreadableRequestError, read_request
from helpdesk.models import LONGEST_ID, OutcomeKind, identity_of, queued
from helpdesk.parts import Parts
from helpdesk.store.audits import AuditReport, Audits
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.ledger import Ledger, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from bridge.operating.story import Story
    from bridge.stacks.target import Target
    from helpdesk.models import Identity, Request
    from helpdesk.runtime.aws import Clients
    from helpdesk.store.gate import GateState
    from helpdesk.store.ledger import Receipt
    from helpdesk.work.helpdesks import Helpdesks

# Long enough to read a full queue; what is not taken away is shown again at once.
_PEEK_S = 120
# The ticket of such a request may exist: only a person who has looked at the helpdesk sends it again.
MAY_HAVE_HAPPENED = ("outcome_unknown", "crashed")
# So many in a row say that nothing more is to be had, where there should be.
_EMPTY_ANSWERS = 3
# Each call is a way to AWS and back: a thousand copies one after the other would take minutes, and those that
# were read first would be shown to others meanwhile.
_CALLS_AT_ONCE = 8
# With the marks of a correction it must still be an id.
_LONGEST_OLD_ID = LONGEST_ID - 9
# What a message without attributes is from, unless it says so itself.
_NO_SOURCE = "unknown"
_LOGGED_WITHIN_S = 300.0


@dataclass(frozen=True)
class ParkedCopy:
    """A copy in the dead-letter queue."""

    body: str
    attributes: dict[str, str]
    receipt_handle: str
    message_id: str
    # In seconds since the epoch.
    sent_at: float = 0.0

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

    @property
    def why(self) -> list[str]:
        """What the outcome says beside its code, in lines: its message, and each wrong field."""
        errors = [f"{error['field']}: {error['problem']}" for error in self._why.get("errors", [])]
        return [line for line in (self._why.get("message"), *errors) if line]

    @property
    def wrong_fields(self) -> list[str]:
        """The fields for which it was rejected."""
        return [error["field"] for error in self._why.get("errors", [])]

    @property
    def _why(self) -> Any:
        try:
            return json.loads(self.attributes.get("why", "{}"))
        except ValueError:
            return {}

    @property
    def may_have_happened(self) -> bool:
        """Whether its ticket may exist."""
        return self.code in MAY_HAVE_HAPPENED


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
            " the rest, or SQS still counts what is gone. Look again in two minutes."
        )


@dataclass(frozen=True)
class Selection:
    """Which parked copies are meant; what is None does not matter."""

    code: str | None = None
    source: str | None = None
    request_id: str | None = None
    # Those that somebody has seen, by SQS's own ids.
    message_ids: frozenset[str] | None = None

    def has(self, copy: ParkedCopy) -> bool:
        """Whether the copy is meant."""
        return (
            self.code in (None, copy.code)
            and self.source in (None, copy.source)
            and self.request_id in (None, copy.request_id)
            and (self.message_ids is None or copy.message_id in self.message_ids)
        )

    def leaves_out(self, copy: ParkedCopy) -> bool:
        """Whether a redrive does not send it, though it is meant: nobody has named its code or its id."""
        return self.has(copy) and copy.may_have_happened and not (self.code or self.request_id)

    def sends(self, copy: ParkedCopy) -> bool:
        """Whether a redrive sends it."""
        return self.has(copy) and not self.leaves_out(copy)


@dataclass(frozen=True)
class Draft:
    """A parked request, and its text as a person may edit it."""

    copy: ParkedCopy
    text: str


@dataclass(frozen=True)
class Correction:
    """What a corrected request was sent as: the parked request itself, or a new one."""

    request_id: str
    is_same: bool

    def in_words(self, parked_id: str) -> str:
        """What became of the parked request."""
        return f"{parked_id} is sent {'again' if self.is_same else f'as a new request, {self.request_id}'}."


class Operations:
    """Works on one stack, with the same ledger and gate as its functions."""

    def __init__(self, on: Target, *, wait_s: int = 1) -> None:
        self.target = on
        # Above 0 SQS reads all of its servers, and not a sample of them.
        self._wait_s = wait_s
        self.ledger = Ledger(on.table, lease_s=0, keep_days=28)
        self.interventions = Interventions(on.table)
        # By helpdesk and the moment at which its gate was closed.
        self._causes: dict[tuple[str, float], str] = {}

    def audits(self, last: date, days: int) -> list[AuditReport]:
        """The reports of the last days up to one, oldest first."""
        kept = Audits(self.target.table)
        dates = [last - timedelta(days=back) for back in reversed(range(days))]
        reports = [kept.of(name, day.isoformat()) for day in dates for name in self.helpdesks]
        return [report for report in reports if report is not None]

    # ── parked requests ──────────────────────────────────────────────────────────────────────────────────

    def parked(self) -> Listing:
        """What can be seen of the dead-letter queue; it stays there."""
        return self._take(lambda _: False, lambda _: None, lambda _: None, dry_run=True)

    def redrive(
        self, selection: Selection, *, report: Callable[[ParkedCopy], None], dry_run: bool
    ) -> Listing:
        """Sends parked requests through the queue again, by the same ledger; returns all that were parked.

        `report` gets each that was sent, or would be. Whatever ends it early, the others stay parked.
        """
        return self._take(selection.sends, self._send_again, report, dry_run=dry_run)

    def drop(
        self, selection: Selection, why: str, *, report: Callable[[ParkedCopy], None], dry_run: bool
    ) -> Listing:
        """Deletes parked copies for good, and remembers who did it and why; returns all that were parked.

        `report` gets each that was dropped, or would be. Whatever ends it early, the others stay parked.
        """
        words = "" if dry_run else f"{self.target.operator} dropped its parked copy: {why}"
        return self._take(selection.has, partial(self._drop, words), report, dry_run=dry_run)

    def take_out(
        self,
        queue_url: str,
        is_meant: Callable[[ParkedCopy], bool],
        report: Callable[[ParkedCopy], None],
        *,
        most: int,
        dry_run: bool,
    ) -> Listing:
        """Deletes messages of a queue, of which at most so many are looked at; returns what could be seen.

        What is hidden, because it waits for its next try, cannot be seen. `report` gets each that is meant.
        """
        return self._take(
            is_meant,
            partial(self._delete, queue_url=queue_url),
            report,
            dry_run=dry_run,
            queue_url=queue_url,
            most=most,
        )

    def _take(
        self,
        is_meant: Callable[[ParkedCopy], bool],
        act: Callable[[ParkedCopy], None],
        report: Callable[[ParkedCopy], None],
        *,
        dry_run: bool,
        queue_url: str | None = None,
        most: float = math.inf,
        in_order: bool = False,
    ) -> Listing:
        """Acts on the copies that are meant, several at once unless it has to be `in_order`."""
        queue_url = queue_url or self.target.dead_letter_queue_url
        copies: dict[str, ParkedCopy] = {}
        pool = ThreadPoolExecutor(_CALLS_AT_ONCE)

        def take(copy: ParkedCopy) -> ParkedCopy:
            if not dry_run:
                act(copy)
                del copies[copy.message_id]
            return copy

        try:
            listing = self._receive(queue_url, most, copies, pool)
            each = map if dry_run or in_order else pool.map
            for copy in each(take, filter(is_meant, listing.copies)):
                report(copy)
        finally:
            # What has begun ends; nothing else begins.
            pool.shutdown(cancel_futures=True)
            self._put_back(queue_url, copies.values())
        return listing

    def _receive(
        self, queue_url: str, most: float, copies: dict[str, ParkedCopy], pool: ThreadPoolExecutor
    ) -> Listing:
        """Fills `copies` with every copy once, by its message's id; each is hidden for a while."""
        about, empties = queues.count(self.target.sqs, queue_url), 0

        def receive(_: int) -> None:
            messages = self.target.sqs.receive_message(
                QueueUrl=queue_url,
                MaxNumberOfMessages=10,
                AttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
                VisibilityTimeout=_PEEK_S,
                WaitTimeSeconds=self._wait_s,
            ).get("Messages", [])
            # One that comes a second time has a new handle, and only that is valid.
            copies.update({message["MessageId"]: _copy_in(message) for message in messages})

        # An answer may be empty while there are messages; the count is an estimate, but a hint to try again.
        while len(copies) < most and empties < (1 if len(copies) >= about else _EMPTY_ANSWERS):
            before, missing = len(copies), min(most, about) - len(copies)
            calls = max(1, min(_CALLS_AT_ONCE, math.ceil(missing / 10)))
            list(pool.map(receive, range(calls)))
            empties = 0 if len(copies) > before else empties + 1
        return Listing(tuple(copies.values()), max(about, len(copies)))

    def _put_back(self, queue_url: str, copies: Iterable[ParkedCopy]) -> None:
        """Shows the copies to others again. Where that fails SQS does it, when _PEEK_S is over."""

        def show(some: Sequence[ParkedCopy]) -> None:
            # Those that fail are visible already, or will be.
            self.target.sqs.change_message_visibility_batch(
                QueueUrl=queue_url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": copy.receipt_handle, "VisibilityTimeout": 0}
                    for place, copy in enumerate(some)
                ],
            )

        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            list(pool.map(show, batched(copies, 10, strict=False)))

    def _drop(self, words: str, copy: ParkedCopy) -> None:
        self.interventions.note(copy.request_id, words)
        self._delete(copy)

    def _delete(self, copy: ParkedCopy, queue_url: str | None = None) -> None:
        queue_url = queue_url or self.target.dead_letter_queue_url
        self.target.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=copy.receipt_handle)

    def _send_again(self, copy: ParkedCopy) -> None:
        self._free(copy)
        self._put_into_queue(copy.request_id, copy.source, copy.helpdesk, copy.body)
        self._delete(copy)

    def _put_into_queue(self, request_id: str, source: str, helpdesk: str, body: str) -> None:
        more: dict[str, Any] = {"MessageGroupId": source} if source else {}
        self.target.sqs.send_message(
            QueueUrl=self.target.requests_queue_url,
            MessageBody=body,
            # A body without an id of its own must not get a new one from the new message, nor one without a
            # helpdesk go to what is the default by now.
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in (("request_id", request_id), ("helpdesk", helpdesk))
                if value
            },
            **more,
        )

    def _free(self, copy: ParkedCopy) -> None:
        """Lets a request that has ended be carried out anew; it would be answered with its old end."""
        self._forget_refusal(copy.request_id)
        request = self._request_in(copy)
        # One that cannot be read never came as far as the ledger.
        receipt = self.ledger.receipt(request.request_id) if request else None
        # One that used another's id has no claim to that one's item.
        if request and receipt and receipt.ended and receipt.fingerprint == fingerprint(request):
            self.ledger.reopen(receipt, "redriven")

    def _forget_refusal(self, request_id: str) -> None:
        """Deletes the receipt of a request that was refused before its first claim: it is tried anew.

        A get that succeeds leaves no receipt of its own, so this one would still say that it was refused.
        """
        if refusal := self.ledger.rejection(request_id):
            self.target.table.delete(refusal.claim.key)

    # ── a corrected request ──────────────────────────────────────────────────────────────────────────────

    def draft(self, request_id: str, code: str | None = None, message_id: str | None = None) -> Draft:
        """A parked request as a person may edit it; `message_id` is that of a draft that was read before.

        Raises BridgeError where it is not clear which.
        """
        meant = Selection(code, request_id=request_id)
        copies = [
            copy for copy in self.parked().copies if meant.has(copy) and message_id in (None, copy.message_id)
        ]
        if not copies:
            raise BridgeError(f"Nothing is parked of request {request_id}: see `bridge parked`")
        if len(codes := sorted({copy.code for copy in copies})) > 1:
            raise BridgeError(f"Request {request_id} is parked for several reasons: add --code {codes[0]}")
        return Draft(copies[0], _editable(copies[0]))

    def correct(self, draft: Draft, text: str) -> Correction:
        """Sends a corrected request in the place of the parked one, whose copies are then deleted.

        Raises:
            RejectedError: names every field that is still wrong; nothing is sent.
            BridgeError: the request under this id has succeeded or is under way, or is no longer parked.
        """
        parked = draft.copy
        request = read_request(text, self._defaults_of(parked))
        self.rules.check(request)
        corrections: list[Correction] = []

        def send_once(copy: ParkedCopy) -> None:
            if not corrections:
                corrections.append(self._send_corrected(copy, request))
            self._delete(copy)

        alike = Selection(parked.code, parked.source, parked.request_id)
        self._take(
            lambda copy: alike.has(copy) and copy.body == parked.body,
            send_once,
            lambda _: None,
            dry_run=False,
            in_order=True,
        )
        if not corrections:
            raise BridgeError(f"Request {parked.request_id} is no longer parked: somebody else was quicker")
        return corrections[0]

    @cached_property
    def rules(self) -> Helpdesks:
        """The helpdesks' own rules, under the settings of the functions; nothing is called."""
        parts = Parts(self.target.environment)
        # With the credentials of the operator.
        parts.clients = cast("Clients", self.target)
        return parts.helpdesks

    def _send_corrected(self, copy: ParkedCopy, request: Request) -> Correction:
        receipt = self.ledger.receipt(request.request_id)
        if receipt is None or receipt.fingerprint == fingerprint(request):
            # The ledger knows nothing of this id, or exactly this request.
            if receipt and receipt.ended:
                self.ledger.reopen(receipt, "redriven")
        elif request.request_id != copy.request_id:
            raise BridgeError(f"The id {request.request_id} belongs to another request: choose another one")
        elif self._stays_the_same(copy, request, receipt):
            if not self.ledger.reopen(receipt, "edited", request):
                raise BridgeError(f"Request {request.request_id} has moved on: look at it again")
        else:
            # Each try of the same correction gets the same id.
            new_id = f"{copy.request_id[:_LONGEST_OLD_ID]}~{fingerprint(request)[:8]}"
            request = request.model_copy(update={"request_id": new_id})
        correction = Correction(request.request_id, is_same=request.request_id == copy.request_id)
        # First, as its call may begin at once.
        self._note(copy, correction)
        self._forget_refusal(correction.request_id)
        self._put_into_queue(request.request_id, request.source, request.helpdesk, queued(request))
        return correction

    def _stays_the_same(self, copy: ParkedCopy, request: Request, receipt: Receipt) -> bool:
        """Whether nothing can have been done under this id yet: then the correction may take its place.

        Raises BridgeError where the id's request has succeeded since, or is under way.
        """
        if copy.code == "request_id_reused":
            return False
        if not receipt.ended:
            raise BridgeError(f"Request {request.request_id} is under way again: see `bridge trace`")
        if receipt.outcome and receipt.outcome.kind is OutcomeKind.SUCCEEDED:
            ticket = f"ticket {receipt.outcome.ticket_id}"
            raise BridgeError(f"Request {request.request_id} has succeeded since ({ticket}): drop this copy")
        before = self._request_in(copy)
        is_own = before is not None and receipt.fingerprint == fingerprint(before)
        nothing_done = not copy.may_have_happened and not receipt.claim.steps
        return is_own and nothing_done and receipt.identity.helpdesk == request.helpdesk

    def _note(self, copy: ParkedCopy, correction: Correction) -> None:
        who, request_id = self.target.operator, copy.request_id
        # The ledger forgets why it was rejected when the corrected request begins.
        wrong = f" Wrong before: {', '.join(copy.wrong_fields)}." if copy.wrong_fields else ""
        if correction.is_same:
            self.interventions.note(request_id, f"{who} corrected it and sent it again.{wrong}")
        else:
            self.interventions.note(
                request_id, f"{who} sent a corrected copy as {correction.request_id}.{wrong}"
            )
            self.interventions.note(
                correction.request_id, f"{who} made it as a corrected copy of {request_id}.{wrong}"
            )

    def read(self, copy: ParkedCopy) -> tuple[Request | None, Identity]:
        """The request in a copy, None where it cannot be read; and who asked for what."""
        try:
            request = read_request(copy.body, self._defaults_of(copy))
        except UnreadableRequestError as error:
            return None, error.identity
        return request, identity_of(request)

    def _request_in(self, copy: ParkedCopy) -> Request | None:
        return self.read(copy)[0]

    def _defaults_of(self, copy: ParkedCopy) -> Defaults:
        return Defaults(copy.request_id, copy.source or _NO_SOURCE, copy.helpdesk or self.helpdesks[0])

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def helpdesks(self) -> tuple[str, ...]:
        """Those that the stack serves, the default first."""
        return self.target.helpdesks

    def gate(self, helpdesk: str) -> Gate:
        """The gate of a helpdesk, for pause and resume. Raises BridgeError where it is not served."""
        self._check_served(helpdesk)
        return Gate(self.target.table, helpdesk, Budget())

    def doubts(self, helpdesk: str, most: int) -> list[Receipt]:
        """Requests of which it is not known whether they happened, the longest waiting first."""
        return self.ledger.doubts(helpdesk, most)

    def trace(self, request_id: str) -> Story:
        """The story of a request. A right that is missing makes it shorter, and is named in it."""
        return StoryReader(self.target, self.ledger, self.interventions, self.outages).read(request_id)

    def outages(self) -> list[Outage]:
        """The helpdesks that are not called now, and why."""
        found = (self.outage(name, self.gate(name).read()) for name in self.helpdesks)
        return [outage for outage in found if outage]

    def outage(self, helpdesk: str, state: GateState) -> Outage | None:
        """Why a helpdesk with this gate is not called, with its cause; None where it is called."""
        outage = outage_in(helpdesk, state)
        if outage is None:
            return None
        closed = (helpdesk, outage.since)
        if closed not in self._causes:
            cause = cause_of(self.target, outage)
            # A line may be in the log some time after it was written.
            if not cause and time.time() < outage.since + _LOGGED_WITHIN_S:
                return outage
            self._causes[closed] = cause
        return replace(outage, cause=self._causes[closed])

    def refused_keys(self) -> list[str]:
        """A sentence for each key of an operation that a helpdesk refuses."""
        gates = ((name, self.gate(name).read()) for name in self.helpdesks)
        return [sentence for name, state in gates for sentence in refused_keys(name, state.refused)]

    def waiting(self) -> int:
        """About how many requests are in the queue."""
        return queues.count(self.target.sqs, self.target.requests_queue_url)

    def _check_served(self, helpdesk: str) -> None:
        if helpdesk not in self.helpdesks:
            raise BridgeError(f"This stack serves {' and '.join(self.helpdesks)}, not {helpdesk}")


def _copy_in(message: MessageTypeDef) -> ParkedCopy:
    attributes = message.get("MessageAttributes", {})
    return ParkedCopy(
        message["Body"],
        {name: value.get("StringValue", "") for name, value in attributes.items()},
        message["ReceiptHandle"],
        message["MessageId"],
        int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000,
    )


def _editable(copy: ParkedCopy) -> str:
    """The request out of its envelope, with all that the trigger knew; a text that is no JSON as it came."""
    try:
        unwrapped = unwrap(copy.body)
    except RejectedError:
        return copy.body
    known = {
        "request_id": copy.request_id,
        "helpdesk": copy.helpdesk,
        "source": unwrapped.source or copy.source,
    }
    given = {name: value for name, value in known.items() if value}
    return json.dumps(given | unwrapped.body, indent=2, ensure_ascii=False) + "\n"


def age(seconds: float) -> str:
    """How long ago a moment was, roughly."""
    passed = max(0, int(time.time() - seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed // size} {unit}"
    return f"{passed} s"
