"""Remembers what became of each request, so that none is carried out twice.

A request's item moves through these states; each arrow is one conditional write:

    (none), released ── claim ──► claimed ── finish ──► done        the outcome is final
                                     │ ├──── release ──► released    nothing was done
                                     │ └──── doubt ────► unknown     it may have been done
    claimed, lease over ── claim ──► claimed                         only where repeating does no harm
    claimed, lease over ── doubt ──► unknown                         the holder died in mid-call
    claimed, lease over ── finish ─► done (parked)                   what may be repeated has died too often
    unknown ── finish ───► done                                      found, given up, or a late answer
    unknown ── reopen ───► released                                  shown to be absent: may be called again
    done (rejected, parked) ── reopen ► released                     an operator asks for it again

A request is known by its id alone, and belongs to the helpdesk of its first claim.
Items hold ids, codes and the helpdesk's own messages with the request's texts masked: no customer text.
Each keeps a short history of its states for people to read.
"""

import hashlib
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, get_args
from zoneinfo import ZoneInfo

from helpdesk.errors import FieldProblem, RejectedError, UnavailableError
from helpdesk.models import (
    AddRequest,
    GetRequest,
    HelpdeskName,
    Identity,
    Operation,
    Outcome,
    OutcomeKind,
    Request,
)
from helpdesk.store.table import ConditionError, Item, Table, Value, Values

# A request is parked after so many calls without an answer.
MAX_ATTEMPTS = 5
# How long an older update waits for a newer one in doubt, and how often it tries again.
_OPEN_S = 3600
_OPEN_EACH_S = 60.0

_REQUESTS = "request#"
_REJECTIONS = "rejected#"
_WORD = re.compile(r"\w{3,}")

_CLAIMABLE = (
    "attribute_not_exists(pk) OR fingerprint = :fingerprint AND (#state = :released OR "
    "#state = :claimed AND lease_until < :now AND repeatable = :yes AND attempts < :most)"
)
# A request stays at the helpdesk of its first claim.
_PINNED = "(attribute_not_exists(pk) OR helpdesk = :helpdesk)"


class Claim(NamedTuple):
    """The right to make the call of this request, for as long as the lease runs."""

    key: str
    lease: str
    attempts: int
    # The calls of an update with several: those done and, with a "?", those begun.
    steps: frozenset[str] = frozenset()
    # When its reference was first found to have no ticket.
    unresolved_since: float | None = None
    # The marker that its ticket or comment carries: the first claim's, even if the key has changed since.
    marker: str = ""
    # The ticket that an update changes, if it is known.
    target: str | None = None


class Busy(NamedTuple):
    """Another process makes the call; its lease runs for `seconds` more."""

    seconds: float


class Abandoned(NamedTuple):
    """The holder died in mid-call, and the call must not simply be made again."""

    claim: Claim


class Settled(NamedTuple):
    """The request has ended, or is in doubt, with this outcome. `published`: the doubt has been published."""

    outcome: Outcome
    published: bool = False


class Reused:
    """The request_id belongs to another request."""


class Elsewhere(NamedTuple):
    """The request was first claimed for another helpdesk, and stays there."""

    helpdesk: str


type Answer = Claim | Busy | Abandoned | Settled | Reused | Elsewhere


class Receipt(NamedTuple):
    """What the ledger knows of a request. Times are seconds since the epoch."""

    claim: Claim
    identity: Identity
    state: str
    fingerprint: str
    claimed_at: float
    # Since when it is in doubt, if it is: by then its call has ended.
    doubtful_since: float
    updated_at: float
    # The field that carries the marker.
    marker_field: str | None
    outcome: Outcome | None
    history: tuple[str, ...]

    @property
    def attempts(self) -> int:
        """Calls made so far, without those that did nothing."""
        return self.claim.attempts

    @property
    def ended(self) -> bool:
        """Whether the outcome is final."""
        return self.state == "done"

    @property
    def first_claimed_at(self) -> float:
        """The time of its first claim."""
        return float(self.history[0].partition(" ")[0]) if self.history else self.claimed_at


class Ledger:
    """The table of requests. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(
        self,
        table: Table,
        *,
        lease_s: float,
        keep_days: int,
        clock: Callable[[], float] = time.time,
        watched_under: Callable[[str, str], str] | None = None,
    ) -> None:
        self._table = table
        self._lease_s = lease_s
        # The name under which the index lists a new ticket for the watch, by helpdesk and request's key.
        self._watched_under = watched_under
        self._keep_s = keep_days * 86400
        self._clock = clock
        self._earlier: tuple[str, ...] | None = None

    # ── what a worker does ───────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Reads what a process reads once. An error shows later, when the value is needed."""
        with suppress(UnavailableError):
            self._earlier_helpdesks()

    def claim(
        self,
        request: Request,
        marker: str = "",
        marker_field: str | None = None,
        target: str | None = None,
    ) -> Answer:
        """The right to execute the request, or why there is none.

        A first claim stores its `marker` and an update's ticket as `target`. Later claims keep both, since a
        reference may mean another ticket by then. `marker_field` is where the ticket, or the comment, will
        carry the marker: if the setting changes later, it must not count as absent.
        """
        now = self._clock()
        lease = uuid.uuid4().hex
        key, condition = request_key(request.request_id), f"{_PINNED} AND ({_CLAIMABLE})"
        sets: dict[str, Value] = {
            "state": "claimed",
            "fingerprint": fingerprint(request),
            "lease": lease,
            "lease_until": now + self._lease_s,
            "claimed_at": now,
            "expires_at": int(now + self._keep_s),
            "repeatable": request.repeatable,
            "operation": request.operation,
            "source": request.source,
        }
        if request.reference:
            sets["reference"] = request.reference
        if marker_field:
            sets["marker_field"] = marker_field
        values: dict[str, Value] = {
            "released": "released",
            "claimed": "claimed",
            "now": now,
            "yes": True,
            "most": MAX_ATTEMPTS,
            "fingerprint": sets["fingerprint"],
        }
        if earlier := self._earlier_item(request.request_id):
            key, condition = earlier["pk"], _CLAIMABLE
            if _receipt_in(earlier).identity.helpdesk != request.helpdesk:
                return self._why_not(request, earlier, lease, now)
        else:
            sets["helpdesk"] = values["helpdesk"] = request.helpdesk
        first: dict[str, Value] = {"marker": marker} if marker else {}
        if target:
            first["target"] = target
        try:
            before = self._write(
                key,
                "claimed",
                sets,
                keeps=first,
                condition=condition,
                values=values,
                attempts=1,
                returns_old=True,
            )
        except ConditionError as refusal:
            return self._why_not(request, refusal.item, lease, now)
        attempts = int(before.get("attempts", 0)) + 1
        return _claim_in(key, lease, {**first, **before}, attempts)

    def _why_not(self, request: Request, item: Item, lease: str, now: float) -> Answer:
        receipt = _receipt_in(item)
        if receipt.fingerprint != fingerprint(request):
            return Reused()
        if receipt.outcome and receipt.state != "claimed":
            return Settled(receipt.outcome, published=bool(item.get("told")))
        if receipt.claim.lease == lease:
            # This is our own write; its response was lost.
            return receipt.claim
        left = item.get("lease_until", 0.0) - now if receipt.state == "claimed" else -1.0
        if left < 0 and receipt.identity.helpdesk and receipt.identity.helpdesk != request.helpdesk:
            return Elsewhere(receipt.identity.helpdesk)
        if left >= 0 or (request.repeatable and receipt.claim.attempts < MAX_ATTEMPTS):
            return Busy(max(left, 0.0))
        return Abandoned(receipt.claim)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Records how the request ended, and which ticket its reference means from now on.

        This also settles a doubt that was recorded in the meantime: a late answer is better than none.
        """
        identity = outcome.identity
        if identity.operation is Operation.ADD and identity.reference and outcome.ticket_id:
            # This comes first: a finished request is never finished again.
            self._put_reference(identity, outcome.ticket_id)
        if self._watched_under and identity.operation is Operation.ADD and outcome.ticket_id:
            # The request's own item lists the new ticket for the watch: so this costs no second write.
            under = self._watched_under(identity.helpdesk or "", claim.key)
            self._end(claim, "done", outcome, more=self._attention(under))
        else:
            self._end(claim, "done", outcome, removes=("attention", "attention_at"))

    def doubt(self, claim: Claim, outcome: Outcome) -> None:
        """Records that the call may have been made, and that this needs attention."""
        more = self._attention(outcome.identity.helpdesk or "")
        self._end(claim, "unknown", outcome, more=more, removes=("told",))

    def release(self, claim: Claim, code: str, *, unresolved: bool = False) -> None:
        """Gives the request back: nothing was done, and the attempt does not count.

        `unresolved` if no ticket was found under its reference.
        """
        sets: dict[str, Value] = {"state": "released"}
        if unresolved:
            sets["unresolved_since"] = claim.unresolved_since or self._clock()
        held = {"lease": claim.lease, "state": "claimed"}
        self._write(claim.key, f"released {code}", sets, attempts=-1, expected=held)

    def mark_published(self, outcome: Outcome) -> None:
        """Records that a doubt has been published: it is published once."""
        request_id = outcome.identity.request_id
        key = self._earlier_item(request_id).get("pk") or request_key(request_id)
        with suppress(ConditionError):
            self._write(key, "told", {"told": True}, expected={"state": "unknown"})

    def note_rejection(self, outcome: Outcome) -> None:
        """Records why a request was refused before its first claim: so its sender can read it.

        It has a key of its own: what comes later under the same id is not bound by it.
        """
        now = self._clock()
        identity = outcome.identity.model_dump(mode="json", exclude={"request_id"})
        kept = {"state": "done", "attempts": outcome.attempts, "updated_at": now, **_fields_of(outcome)}
        item = {
            "pk": f"{_REJECTIONS}{outcome.identity.request_id}",
            "history": [f"{now:.3f} {outcome.kind} {outcome.code}"],
            "expires_at": self._expires_at(),
            **{name: value for name, value in {**identity, **kept}.items() if value is not None},
        }
        self._table.put(item)

    def mark(self, claim: Claim, step: str) -> None:
        """Records a step of the request."""
        self._table.update(claim.key, adds={"steps": {step}}, expected={"lease": claim.lease})

    def ticket_of(self, helpdesk: str, source: str, reference: str) -> str | None:
        """The ticket that was added under a source's reference, or None."""
        item = self._table.get(_reference_key(helpdesk, source, reference))
        if not item and "#" not in source + reference and self._earlier_helpdesks():
            item = self._table.get(f"reference#{helpdesk}#{source}#{reference}")
        return item.get("ticket_id")

    def expect_ticket(self, claim: Claim, request: AddRequest) -> None:
        """Records that an add with a reference has begun and not ended: updates wait for it."""
        item: Values = {
            "pk": _reference_key(request.helpdesk, request.source, request.reference or ""),
            "expected_by": claim.key,
            "expires_at": self._expires_at(),
        }
        with suppress(ConditionError):
            self._table.put(item, expected={"ticket_id": None})

    def is_ticket_expected(self, helpdesk: str, source: str, reference: str) -> bool:
        """Whether an add of this reference has begun and not ended."""
        by = self._table.get(_reference_key(helpdesk, source, reference)).get("expected_by")
        return by is not None and self._table.get(by).get("state") in ("claimed", "released", "unknown")

    def begin_update(self, claim: Claim, helpdesk: str, ticket_id: str, occurred_at: datetime) -> bool:
        """Reserves the ticket for an update with a time of its own: such updates run one after the other.

        True if this update may have been made before. An older update waits while a newer one is in doubt.

        Raises:
            RejectedError: a newer update has been made.
            UnavailableError: another update is being made, or the ledger does not answer.
        """
        now, moment = self._clock(), occurred_at.timestamp()
        item = self._table.get(_ticket_key(helpdesk, ticket_id))
        holder = item.get("holder")
        mine = _open_moment(claim, moment)
        open_moments: Set[str] = item.get("open_moments", frozenset())
        is_newer_open = any(float(each.partition(" ")[0]) > moment for each in open_moments)
        is_open = now < item.get("open_until", 0)
        if item.get("applied_at", -math.inf) > moment or (is_newer_open and not is_open):
            raise RejectedError("out_of_date", "a newer update of this ticket has been made, or may be")
        if is_newer_open or (holder and now <= item.get("held_until", 0)):
            message = "another update of this ticket is being made"
            raise UnavailableError("ticket_busy", message, _OPEN_EACH_S if is_newer_open else 1.0)
        try:
            self._table.update(
                _ticket_key(helpdesk, ticket_id),
                sets={
                    "holder": claim.lease,
                    "held_until": now + self._lease_s,
                    "open_until": now + _OPEN_S,
                    "expires_at": int(now + self._keep_s),
                },
                adds={"open_moments": {mine}},
                expected={"holder": holder},
            )
        except ConditionError as error:
            raise UnavailableError("ticket_busy", "another update of this ticket was quicker", 1.0) from error
        return mine in open_moments

    def end_update(
        self, claim: Claim, helpdesk: str, ticket_id: str, occurred_at: datetime, *, made: bool | None
    ) -> None:
        """Frees the ticket. After an update was `made`, older ones are rejected; if None, they wait."""
        moment = occurred_at.timestamp()
        with suppress(ConditionError):
            # The holder stays: a process that has read the item before sees that it has changed.
            self._table.update(
                _ticket_key(helpdesk, ticket_id),
                sets={"applied_at": moment} if made else {},
                removes=("held_until",),
                deletes={} if made is None else {"open_moments": {_open_moment(claim, moment)}},
                expected={"holder": claim.lease},
            )

    # ── what is read, settled and freed ──────────────────────────────────────────────────────────────────

    def receipt(self, request_id: str) -> Receipt | None:
        """What the ledger knows of a request, or None."""
        item = self._table.get(request_key(request_id)) or self._earlier_item(request_id)
        return _receipt_in(item) if item else None

    def rejection(self, request_id: str) -> Receipt | None:
        """Why a request of this id was refused before its first claim; None where none was."""
        item = self._table.get(f"{_REJECTIONS}{request_id}")
        return _receipt_in(item) if item else None

    def receipts(self, request_ids: Sequence[str]) -> dict[str, Receipt]:
        """What is known of several requests, by their ids: a refusal only where none was claimed."""
        keys = {
            prefix + request_id: request_id
            for prefix in (_REJECTIONS, _REQUESTS)
            for request_id in request_ids
        }
        items = self._table.get_many(list(keys))
        return {keys[key]: _receipt_in(items[key]) for key in keys if key in items}

    def outcome_of(self, request_id: str) -> Outcome | None:
        """How a request ended, final or in doubt, or None if it has not."""
        receipt = self.receipt(request_id)
        return receipt.outcome if receipt else None

    def doubts(self, helpdesk: str, most: int) -> list[Receipt]:
        """Requests that may or may not have happened, the longest waiting first."""
        items = self._table.query("attention = :helpdesk", {"helpdesk": helpdesk}, most)
        return [_receipt_in(item) for item in items]

    def note_marker(self, helpdesk: str, field: str) -> None:
        """Records that this field of this helpdesk has returned a marker."""
        self._table.put({"pk": f"marker#{helpdesk}#{field}", "seen_at": self._clock()})

    def marker_seen(self, helpdesk: str, field: str) -> bool:
        """Whether this field of this helpdesk has ever returned a marker."""
        return bool(self._table.get(f"marker#{helpdesk}#{field}"))

    def note_list(self, helpdesk: str) -> None:
        """Records that a list of this helpdesk's tickets could be read."""
        self._table.update(_lists_key(helpdesk), sets={"read_at": self._clock()})

    def list_seen(self, helpdesk: str) -> bool:
        """Whether a list of this helpdesk's tickets could ever be read."""
        return "read_at" in self._table.get(_lists_key(helpdesk))

    def note_delay(self, helpdesk: str, seconds: float) -> None:
        """Records how long a list lacked a new ticket; the longest time is kept."""
        with suppress(ConditionError):
            self._table.update(
                _lists_key(helpdesk),
                sets={"longest_delay": seconds, "delayed_at": self._clock()},
                condition="attribute_not_exists(longest_delay) OR longest_delay < :seconds",
                values={"seconds": seconds},
            )

    def longest_delay(self, helpdesk: str) -> float:
        """The longest time for which a list was seen to lack a new ticket; 0 if none was."""
        delay: float = self._table.get(_lists_key(helpdesk)).get("longest_delay", 0.0)
        return delay

    def note_zone(self, helpdesk: str, zone: ZoneInfo, *, fits: bool) -> None:
        """Records whether the times of a look-up fit this zone."""
        self._table.put({"pk": f"zone#{helpdesk}#{zone.key}", "fits": fits})

    def zone_fits(self, helpdesk: str, zone: ZoneInfo) -> bool:
        """False if the last look-up contradicts this zone."""
        return bool(self._table.get(f"zone#{helpdesk}#{zone.key}").get("fits", True))

    def reopen(self, receipt: Receipt, why: str, corrected: Request | None = None) -> bool:
        """Allows a request to be executed again: one shown to be absent, or one that ended without success.

        A `corrected` request takes its place: nothing may have been done of the old one. False if it has
        moved on since the receipt was read.
        """
        sets: dict[str, Value] = {"state": "released"}
        removes = ["attention", "attention_at", "unresolved_since"]
        if corrected:
            sets["fingerprint"] = fingerprint(corrected)
            # The next claim sets those of the corrected request.
            removes += ["target", "reference"]
        try:
            self._write(
                receipt.claim.key,
                f"freed {why}",
                sets,
                removes=removes,
                # If an operator reopens it, its attempts are counted anew.
                attempts=-receipt.claim.attempts if receipt.ended else 0,
                condition="lease = :lease AND (#state = :unknown OR #state = :done AND kind <> :succeeded)",
                values={
                    "lease": receipt.claim.lease,
                    "unknown": "unknown",
                    "done": "done",
                    "succeeded": OutcomeKind.SUCCEEDED,
                },
            )
        except ConditionError:
            return False
        return True

    def all(self, since: float = 0.0, ticket_id: str = "", **attributes: str) -> Iterator[Receipt]:
        """What the ledger knows of every request, in no order. Reads the whole table.

        Of requests with these attributes only, and with a step `since` then. By `ticket_id` the updates of a
        ticket are found as well.
        """
        conditions = ["begins_with(pk, :requests)", *(f"#{name} = :{name}" for name in attributes)]
        values: dict[str, Value] = {"requests": _REQUESTS, **attributes}
        if since:
            conditions.append("updated_at >= :since")
            values["since"] = since
        if ticket_id:
            conditions.append("(ticket_id = :ticket OR #target = :ticket)")
            values["ticket"] = ticket_id
        return map(_receipt_in, self._table.scan(" AND ".join(conditions), values))

    # ── items of earlier versions ────────────────────────────────────────────────────────────────────────
    # Earlier versions named an item by helpdesk and id. Those items keep their keys until the last one has
    # expired: docs/decisions.md says when this code can go.

    def _earlier_item(self, request_id: str) -> Item:
        for helpdesk in self._earlier_helpdesks():
            item = self._table.get(f"{_REQUESTS}{helpdesk}#{request_id}")
            if item and "helpdesk" not in item:
                return item
        return {}

    def _earlier_helpdesks(self) -> tuple[str, ...]:
        """The helpdesks whose earlier items the table may hold; read once."""
        if self._earlier is None:
            self._earlier = tuple(name for name in get_args(HelpdeskName) if self._may_hold_earlier(name))
        return self._earlier

    def _may_hold_earlier(self, helpdesk: str) -> bool:
        # Each version's daily audit notes when it began. This version also notes when it came here.
        begun = self._table.get(f"proof#{helpdesk}")
        return bool(begun) and self._clock() < begun.get("upgraded_at", math.inf) + self._keep_s

    # ── DynamoDB ─────────────────────────────────────────────────────────────────────────────────────────

    def _attention(self, under: str) -> Values:
        return {"attention": under, "attention_at": self._clock()}

    def _expires_at(self) -> int:
        return int(self._clock() + self._keep_s)

    def _end(
        self,
        claim: Claim,
        state: str,
        outcome: Outcome,
        *,
        more: Mapping[str, Value] = {},
        removes: Sequence[str] = (),
    ) -> None:
        fields = _fields_of(outcome)
        self._write(
            claim.key,
            " ".join(filter(None, (outcome.kind, outcome.code))),
            {"state": state, **more, **{name: value for name, value in fields.items() if value is not None}},
            removes=(*removes, *(name for name, value in fields.items() if value is None)),
            condition="lease = :lease AND #state IN (:claimed, :unknown)",
            values={"lease": claim.lease, "claimed": "claimed", "unknown": "unknown"},
        )

    def _write(self, key: str, entry: str, sets: Values, *, attempts: int = 0, **more: Any) -> Item:
        """Updates an item, and adds an entry to its history; `more` is as Table.update takes it."""
        now = self._clock()
        return self._table.update(
            key,
            sets={**sets, "updated_at": now},
            appends={"history": [f"{now:.3f} {entry}"]},
            adds={"attempts": attempts} if attempts else {},
            **more,
        )

    def _put_reference(self, identity: Identity, ticket_id: str) -> None:
        self._table.put(
            {"pk": reference_key(identity), "ticket_id": ticket_id, "expires_at": self._expires_at()}
        )


def fingerprint(request: Request) -> str:
    """Equal for two requests that ask for the same, however they arrive."""
    about = {"request_id", "helpdesk", "source", "occurred_at", "context"}
    content = request.model_dump(mode="json", exclude_defaults=True, exclude=about)
    changes = content.get("changes", {})
    if "status" in changes:
        # Senders put it into `extra` before it had a field of its own.
        changes["extra"] = {**changes.get("extra", {}), "status": changes.pop("status")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def redact_request_words(message: str | None, request: Request) -> str | None:
    """A helpdesk's message without the words of the request, however it quotes them.

    A word goes if it occurs anywhere in the request's texts: quotations come in capitals, cut and escaped.
    """
    if not message or isinstance(request, GetRequest):
        return message
    fields = request.ticket if isinstance(request, AddRequest) else request.changes
    texts = "\n".join(_texts(fields.model_dump(mode="json"))).casefold()
    return _WORD.sub(lambda word: "…" if word[0].casefold() in texts else word[0], message)[:300]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _fields_of(outcome: Outcome) -> dict[str, str | None]:
    problems = [[problem.field, problem.problem] for problem in outcome.problems]
    return {
        "kind": outcome.kind,
        "code": outcome.code,
        "message": outcome.message,
        "ticket_id": outcome.ticket_id,
        "ticket_url": outcome.ticket_url,
        "problems": json.dumps(problems) if problems else None,
    }


def _receipt_in(item: Item) -> Receipt:
    key, helpdesk = item.get("pk", ""), item.get("helpdesk")
    request_id = key.partition("#")[2]
    if helpdesk is None:
        helpdesk, _, request_id = request_id.partition("#")
    identity = Identity(
        request_id=request_id,
        operation=Operation(item["operation"]) if "operation" in item else None,
        helpdesk=helpdesk,
        source=item.get("source"),
        reference=item.get("reference"),
    )
    attempts = int(item.get("attempts", 0))
    kind, state = item.get("kind"), item.get("state", "")
    return Receipt(
        claim=_claim_in(key, item.get("lease", ""), item, attempts),
        identity=identity,
        state=state,
        fingerprint=item.get("fingerprint", ""),
        claimed_at=item.get("claimed_at", 0.0),
        doubtful_since=item.get("attention_at", 0.0),
        updated_at=item.get("updated_at", 0.0),
        marker_field=item.get("marker_field"),
        outcome=_outcome_in(item, identity, OutcomeKind(kind), attempts)
        if kind and state in ("done", "unknown")
        else None,
        history=tuple(item.get("history", ())),
    )


def _outcome_in(item: Item, identity: Identity, kind: OutcomeKind, attempts: int) -> Outcome:
    problems = json.loads(item.get("problems", "[]"))
    return Outcome(
        identity=identity,
        kind=kind,
        code=item.get("code"),
        message=item.get("message"),
        ticket_id=item.get("ticket_id"),
        ticket_url=item.get("ticket_url"),
        problems=tuple(FieldProblem(field, problem) for field, problem in problems),
        attempts=attempts,
    )


def request_key(request_id: str) -> str:
    """The key of a request's item."""
    return f"{_REQUESTS}{request_id}"


def reference_key(identity: Identity) -> str:
    """The key of the item that says which ticket a request's reference means."""
    return _reference_key(identity.helpdesk or "", identity.source or "", identity.reference or "")


def _open_moment(claim: Claim, moment: float) -> str:
    return f"{moment!r} {claim.key}"


def _ticket_key(helpdesk: str, ticket_id: str) -> str:
    return f"ticket#{helpdesk}#{ticket_id}"


def _lists_key(helpdesk: str) -> str:
    return f"lists#{helpdesk}"


def _reference_key(helpdesk: str, source: str, reference: str) -> str:
    # Source and reference may contain any character: the length tells where the source ends.
    return f"reference#{helpdesk}#{len(source)}#{source}#{reference}"


def _claim_in(key: str, lease: str, item: Item, attempts: int) -> Claim:
    return Claim(
        key,
        lease,
        attempts,
        item.get("steps", frozenset()),
        item.get("unresolved_since"),
        item.get("marker", ""),
        item.get("target"),
    )
