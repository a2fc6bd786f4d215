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
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
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
from helpdesk.store.table import ConditionError, Item, table_asked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

# So many calls that ended without an answer are enough.
MAX_ATTEMPTS = 5
ATTENTION_INDEX = "attention"
# An older update waits so long for a newer one in doubt, and asks again so often.
_OPEN_S = 3600
_OPEN_EACH_S = 60.0

_REQUESTS = "request#"
_WORD = re.compile(r"\w{3,}")

_CLAIMABLE = (
    "attribute_not_exists(pk) OR fingerprint = :fingerprint AND (#state = :released OR "
    "#state = :claimed AND lease_until < :now AND repeatable = :yes AND attempts < :most)"
)
# A request stays at the helpdesk of its first claim.
_PINNED = "(attribute_not_exists(pk) OR helpdesk = :helpdesk)"


@dataclass(frozen=True)
class Claim:
    """The right to make the call of this request, for as long as the lease runs."""

    key: str
    lease: str
    attempts: int
    # Of an update that takes several calls: those done, and, with a "?", those begun.
    steps: frozenset[str] = frozenset()
    # Since when no ticket has been found under its reference.
    unresolved_since: float | None = None
    # The mark that its ticket or comment carries: that of the first claim, whatever the key is by now.
    marker: str = ""
    # The ticket that an update changes, once it is known.
    target: str | None = None


@dataclass(frozen=True)
class Busy:
    """Somebody else is making the call; the lease runs for `seconds` more."""

    seconds: float


@dataclass(frozen=True)
class Abandoned:
    """The holder died in mid-call, and the call must not simply be made again."""

    claim: Claim


@dataclass(frozen=True)
class Settled:
    """The request has ended, or is in doubt, with this outcome; `published` says so of a doubt."""

    outcome: Outcome
    published: bool = False


@dataclass(frozen=True)
class Reused:
    """The request_id belongs to another request."""


@dataclass(frozen=True)
class Elsewhere:
    """The request was first claimed for another helpdesk, and stays there."""

    helpdesk: str


type Answer = Claim | Busy | Abandoned | Settled | Reused | Elsewhere


@dataclass(frozen=True)
class Receipt:
    """What the ledger knows of a request. Times are seconds since the epoch."""

    claim: Claim
    identity: Identity
    state: str
    fingerprint: str
    claimed_at: float
    # Since when it is in doubt, if it is: by then its call has ended.
    doubtful_since: float
    updated_at: float
    # The field that carries an add's marker.
    marker_field: str | None
    outcome: Outcome | None
    history: tuple[str, ...]

    @property
    def attempts(self) -> int:
        """Calls made so far, those that did nothing not counted."""
        return self.claim.attempts

    @property
    def ended(self) -> bool:
        """Whether the outcome is final."""
        return self.state == "done"

    @property
    def first_claimed_at(self) -> float:
        """When it was first taken up."""
        return float(self.history[0].partition(" ")[0]) if self.history else self.claimed_at


class Ledger:
    """The table of requests. Raises UnavailableError where DynamoDB does not answer."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        lease_s: float,
        keep_days: int,
        clock: Callable[[], float] = time.time,
        watched_under: Callable[[str, str], str] | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._lease_s = lease_s
        # The index's name for a new ticket that is to be watched, by its helpdesk and its request's key.
        self._watched_under = watched_under
        self._keep_s = keep_days * 86400
        self._clock = clock
        self._earlier: tuple[str, ...] | None = None

    # ── what a worker does ───────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Reads what a process reads once; what goes wrong shows when it is needed."""
        with suppress(UnavailableError):
            self._earlier_helpdesks()

    def claim(
        self,
        request: Request,
        marker: str = "",
        marker_field: str | None = None,
        target: str | None = None,
    ) -> Answer:
        """The right to carry the request out, or why there is none.

        A first claim remembers its `marker` and, of an update, its ticket as `target`; later ones keep both,
        for a reference may mean another ticket by then. `marker_field` says where its ticket is
        going to carry it: another setting later must not make this ticket count as absent.
        """
        now = self._clock()
        lease = uuid.uuid4().hex
        key, condition = request_key(request.request_id), f"{_PINNED} AND ({_CLAIMABLE})"
        sets: dict[str, AttributeValueTypeDef] = {
            "state": {"S": "claimed"},
            "fingerprint": {"S": fingerprint(request)},
            "lease": {"S": lease},
            "lease_until": _number(now + self._lease_s),
            "claimed_at": _number(now),
            "expires_at": _number(int(now + self._keep_s)),
            "repeatable": {"BOOL": request.repeatable},
            "operation": {"S": request.operation},
            "source": {"S": request.source},
        }
        if request.reference:
            sets["reference"] = {"S": request.reference}
        if marker_field:
            sets["marker_field"] = {"S": marker_field}
        values: dict[str, AttributeValueTypeDef] = {
            ":released": {"S": "released"},
            ":claimed": {"S": "claimed"},
            ":now": _number(now),
            ":yes": {"BOOL": True},
            ":most": _number(MAX_ATTEMPTS),
            ":fingerprint": sets["fingerprint"],
        }
        if earlier := self._earlier_item(request.request_id):
            key, condition = _of(earlier, "pk", "S") or "", _CLAIMABLE
            if _receipt_in(earlier).identity.helpdesk != request.helpdesk:
                return self._why_not(request, earlier, lease, now)
        else:
            sets["helpdesk"] = values[":helpdesk"] = {"S": request.helpdesk}
        once = {"marker": marker, "target": target}
        first: dict[str, AttributeValueTypeDef] = {name: {"S": one} for name, one in once.items() if one}
        try:
            before = self._write(
                key, "claimed", sets, condition, values, keeps=first, attempts=1, returns="ALL_OLD"
            )
        except ConditionError as refusal:
            return self._why_not(request, refusal.item, lease, now)
        attempts = int(_of(before, "attempts", "N") or 0) + 1
        return _claim_in(key, lease, {**first, **before}, attempts)

    def _why_not(self, request: Request, found: Item, lease: str, now: float) -> Answer:
        receipt = _receipt_in(found)
        if receipt.fingerprint != fingerprint(request):
            return Reused()
        if receipt.outcome and receipt.state != "claimed":
            return Settled(receipt.outcome, published=bool(found.get("told")))
        if receipt.claim.lease == lease:
            # Our own write, whose answer was lost on the way.
            return receipt.claim
        left = float(_of(found, "lease_until", "N") or 0) - now if receipt.state == "claimed" else -1.0
        if left < 0 and receipt.identity.helpdesk and receipt.identity.helpdesk != request.helpdesk:
            return Elsewhere(receipt.identity.helpdesk)
        if left >= 0 or (request.repeatable and receipt.claim.attempts < MAX_ATTEMPTS):
            return Busy(max(left, 0.0))
        return Abandoned(receipt.claim)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Remembers how the request ended, and which ticket its reference means from now on.

        A doubt that was entered since is settled by it: a late answer is better than none.
        """
        identity = outcome.identity
        if identity.operation is Operation.ADD and identity.reference and outcome.ticket_id:
            # First, for a finished request is never finished again.
            self._put_reference(identity, outcome.ticket_id)
        if self._watched_under and identity.operation is Operation.ADD and outcome.ticket_id:
            # The request's own item lists the new ticket for the watch: that costs no further write.
            under = self._watched_under(identity.helpdesk or "", claim.key)
            self._end(claim, "done", outcome, more=self._attention(under))
        else:
            self._end(claim, "done", outcome, removes=("attention", "attention_at"))

    def doubt(self, claim: Claim, outcome: Outcome) -> None:
        """Remembers that the call may have been made, and that this needs attention."""
        more = self._attention(outcome.identity.helpdesk or "")
        self._end(claim, "unknown", outcome, more=more, removes=("told",))

    def release(self, claim: Claim, code: str, *, unresolved: bool = False) -> None:
        """Gives the request back: nothing was done, and no attempt is counted.

        `unresolved` where no ticket was found under its reference.
        """
        sets: dict[str, AttributeValueTypeDef] = {"state": {"S": "released"}}
        if unresolved:
            sets["unresolved_since"] = _number(claim.unresolved_since or self._clock())
        self._write(
            claim.key,
            f"released {code}",
            sets,
            "lease = :lease AND #state = :claimed",
            {":lease": {"S": claim.lease}, ":claimed": {"S": "claimed"}},
            attempts=-1,
        )

    def mark_published(self, outcome: Outcome) -> None:
        """Remembers that a doubt has been published, so that it is said once."""
        request_id = outcome.identity.request_id
        key = _of(self._earlier_item(request_id), "pk", "S") or request_key(request_id)
        with suppress(ConditionError):
            self._write(
                key, "told", {"told": {"BOOL": True}}, "#state = :unknown", {":unknown": {"S": "unknown"}}
            )

    def mark(self, claim: Claim, step: str) -> None:
        """Remembers a step of the request."""
        with table_asked():
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": claim.key}},
                UpdateExpression="ADD steps :steps",
                ConditionExpression="lease = :lease",
                ExpressionAttributeValues={":steps": {"SS": [step]}, ":lease": {"S": claim.lease}},
            )

    def ticket_of(self, helpdesk: str, source: str, reference: str) -> str | None:
        """The ticket that was added under a source's own reference, or None."""
        found = self._get(_reference_key(helpdesk, source, reference))
        if not found and "#" not in source + reference and self._earlier_helpdesks():
            found = self._get(f"reference#{helpdesk}#{source}#{reference}")
        return _of(found, "ticket_id", "S")

    def expect_ticket(self, claim: Claim, request: AddRequest) -> None:
        """Remembers that an add with a reference has begun and not ended, so that updates wait for it."""
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": _reference_key(request.helpdesk, request.source, request.reference or "")},
            "expected_by": {"S": claim.key},
            "expires_at": _number(int(self._clock() + self._keep_s)),
        }
        with suppress(ConditionError), table_asked():
            self._client.put_item(
                TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(ticket_id)"
            )

    def is_ticket_expected(self, helpdesk: str, source: str, reference: str) -> bool:
        """Whether an add of this reference has begun and not ended."""
        by = _of(self._get(_reference_key(helpdesk, source, reference)), "expected_by", "S")
        return by is not None and _of(self._get(by), "state", "S") in ("claimed", "released", "unknown")

    def begin_update(self, claim: Claim, helpdesk: str, ticket_id: str, occurred_at: datetime) -> bool:
        """Takes the ticket for one update that names when it happened: these go one after the other.

        Whether this update may have been made before. An older one waits while a newer one is in doubt.

        Raises:
            RejectedError: a newer one has been made.
            UnavailableError: another one is being made, or the ledger does not answer.
        """
        now, moment = self._clock(), occurred_at.timestamp()
        found = self._get(_ticket_key(helpdesk, ticket_id))
        holder = _of(found, "holder", "S")
        mine = _open_moment(claim, moment)
        open_moments: Any = found.get("open_moments", {}).get("SS", [])
        is_newer_open = any(float(one.partition(" ")[0]) > moment for one in open_moments)
        is_open = now < float(_of(found, "open_until", "N") or 0)
        if float(_of(found, "applied_at", "N") or "-inf") > moment or (is_newer_open and not is_open):
            raise RejectedError("out_of_date", "a newer update of this ticket has been made, or may be")
        if is_newer_open or (holder and now <= float(_of(found, "held_until", "N") or 0)):
            message = "another update of this ticket is being made"
            raise UnavailableError("ticket_busy", message, _OPEN_EACH_S if is_newer_open else 1.0)
        values: dict[str, AttributeValueTypeDef] = {
            ":lease": {"S": claim.lease},
            ":held_until": _number(now + self._lease_s),
            ":open_until": _number(now + _OPEN_S),
            ":moment": {"SS": [mine]},
            ":expires_at": _number(int(now + self._keep_s)),
        }
        unchanged = "holder = :holder" if holder else "attribute_not_exists(holder)"
        if holder:
            values[":holder"] = {"S": holder}
        try:
            with table_asked():
                self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": _ticket_key(helpdesk, ticket_id)}},
                    UpdateExpression="SET holder = :lease, held_until = :held_until, "
                    "open_until = :open_until, expires_at = :expires_at ADD open_moments :moment",
                    ConditionExpression=unchanged,
                    ExpressionAttributeValues=values,
                )
        except ConditionError as error:
            raise UnavailableError("ticket_busy", "another update of this ticket was quicker", 1.0) from error
        return mine in open_moments

    def end_update(
        self, claim: Claim, helpdesk: str, ticket_id: str, occurred_at: datetime, *, made: bool | None
    ) -> None:
        """Lets the ticket go. No older update follows one that was `made`; they wait where it is None."""
        moment = occurred_at.timestamp()
        # The holder stays, so that whoever has read the item before notices that somebody was here.
        expression = "REMOVE held_until"
        values: dict[str, AttributeValueTypeDef] = {":lease": {"S": claim.lease}}
        if made:
            expression = f"SET applied_at = :applied_at {expression}"
            values[":applied_at"] = _number(moment)
        if made is not None:
            expression += " DELETE open_moments :moment"
            values[":moment"] = {"SS": [_open_moment(claim, moment)]}
        with suppress(ConditionError), table_asked():
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": _ticket_key(helpdesk, ticket_id)}},
                UpdateExpression=expression,
                ConditionExpression="holder = :lease",
                ExpressionAttributeValues=values,
            )

    # ── what is read, settled and freed ──────────────────────────────────────────────────────────────────

    def receipt(self, request_id: str) -> Receipt | None:
        """What is known of a request, or None."""
        found = self._get(request_key(request_id)) or self._earlier_item(request_id)
        return _receipt_in(found) if found else None

    def outcome_of(self, request_id: str) -> Outcome | None:
        """How a request ended, final or in doubt, or None where it has not."""
        receipt = self.receipt(request_id)
        return receipt.outcome if receipt else None

    def doubts(self, helpdesk: str, most: int) -> list[Receipt]:
        """Requests of which it is not known whether they happened, the longest waiting first."""
        with table_asked():
            found = self._client.query(
                TableName=self._table,
                IndexName=ATTENTION_INDEX,
                KeyConditionExpression="attention = :helpdesk",
                ExpressionAttributeValues={":helpdesk": {"S": helpdesk}},
                Limit=most,
            )
        return [_receipt_in(item) for item in found["Items"]]

    def note_marker(self, helpdesk: str, field: str) -> None:
        """Remembers that a marker has come back from this helpdesk, out of this field."""
        with table_asked():
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": f"marker#{helpdesk}#{field}"},
                    "seen_at": _number(self._clock()),
                },
            )

    def marker_seen(self, helpdesk: str, field: str) -> bool:
        """Whether a marker has ever come back from this helpdesk, out of this field."""
        return bool(self._get(f"marker#{helpdesk}#{field}"))

    def note_zone(self, helpdesk: str, zone: ZoneInfo, *, fits: bool) -> None:
        """Remembers whether what a look-up shows fits this zone."""
        item: dict[str, AttributeValueTypeDef] = {
            "pk": {"S": f"zone#{helpdesk}#{zone.key}"},
            "fits": {"BOOL": fits},
        }
        with table_asked():
            self._client.put_item(TableName=self._table, Item=item)

    def zone_fits(self, helpdesk: str, zone: ZoneInfo) -> bool:
        """False where what a look-up has shown last contradicts this zone."""
        fits: Any = self._get(f"zone#{helpdesk}#{zone.key}").get("fits", {})
        return bool(fits.get("BOOL", True))

    def reopen(self, receipt: Receipt, why: str) -> bool:
        """Lets a request be carried out anew: one shown to be absent, or an ended one that did not succeed.

        False where it has moved on since the receipt was read.
        """
        kind: AttributeValueTypeDef = {"S": OutcomeKind.SUCCEEDED}
        try:
            self._write(
                receipt.claim.key,
                f"freed {why}",
                {"state": {"S": "released"}},
                "lease = :lease AND (#state = :unknown OR #state = :done AND kind <> :succeeded)",
                {
                    ":lease": {"S": receipt.claim.lease},
                    ":unknown": {"S": "unknown"},
                    ":done": {"S": "done"},
                    ":succeeded": kind,
                },
                removes=("attention", "attention_at", "unresolved_since"),
                # An operator's wish starts the count of attempts anew.
                attempts=-receipt.claim.attempts if receipt.ended else 0,
            )
        except ConditionError:
            return False
        return True

    def all(self) -> Iterator[Receipt]:
        """Everything that is known of every request, in no order. Reads the whole table."""
        with table_asked():
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table,
                FilterExpression="begins_with(pk, :requests)",
                ExpressionAttributeValues={":requests": {"S": _REQUESTS}},
            )
            for page in pages:
                yield from map(_receipt_in, page["Items"])

    # ── items of before ──────────────────────────────────────────────────────────────────────────────────
    # Earlier versions named an item by helpdesk and id. Those items keep their keys, and are done with when
    # the last has expired: docs/decisions.md says when this can go.

    def _earlier_item(self, request_id: str) -> Item:
        for helpdesk in self._earlier_helpdesks():
            item = self._get(f"{_REQUESTS}{helpdesk}#{request_id}")
            if item and "helpdesk" not in item:
                return item
        return {}

    def _earlier_helpdesks(self) -> tuple[str, ...]:
        """The helpdesks of which the table may hold such items; read once."""
        if self._earlier is None:
            self._earlier = tuple(name for name in get_args(HelpdeskName) if self._may_hold_earlier(name))
        return self._earlier

    def _may_hold_earlier(self, helpdesk: str) -> bool:
        # Each version's daily audit notes when it has begun; ours notes as well since when it runs here.
        begun = self._get(f"proof#{helpdesk}")
        upgraded_at = _of(begun, "upgraded_at", "N")
        return bool(begun) and (upgraded_at is None or self._clock() < float(upgraded_at) + self._keep_s)

    # ── DynamoDB ─────────────────────────────────────────────────────────────────────────────────────────

    def _attention(self, under: str) -> dict[str, "AttributeValueTypeDef"]:
        return {"attention": {"S": under}, "attention_at": _number(self._clock())}

    def _end(
        self,
        claim: Claim,
        state: str,
        outcome: Outcome,
        *,
        more: Mapping[str, "AttributeValueTypeDef"] | None = None,
        removes: Sequence[str] = (),
    ) -> None:
        fields = _fields_of(outcome)
        sets: dict[str, AttributeValueTypeDef] = {"state": {"S": state}, **(more or {})}
        sets |= {name: {"S": value} for name, value in fields.items() if value is not None}
        self._write(
            claim.key,
            " ".join(filter(None, (outcome.kind, outcome.code))),
            sets,
            "lease = :lease AND #state IN (:claimed, :unknown)",
            {":lease": {"S": claim.lease}, ":claimed": {"S": "claimed"}, ":unknown": {"S": "unknown"}},
            removes=(*removes, *(name for name, value in fields.items() if value is None)),
        )

    def _write(
        self,
        key: str,
        entry: str,
        sets: Mapping[str, "AttributeValueTypeDef"],
        condition: str,
        condition_values: Mapping[str, "AttributeValueTypeDef"],
        *,
        keeps: Mapping[str, "AttributeValueTypeDef"] | None = None,
        removes: Sequence[str] = (),
        attempts: int = 0,
        returns: Literal["NONE", "ALL_OLD"] = "NONE",
    ) -> Item:
        """What the item was before, where `returns` says so. What is there of `keeps` stays as it is.

        Raises:
            UnavailableError: DynamoDB does not answer, or (as ConditionError) the condition does not hold.
        """
        now = self._clock()
        keeps = keeps or {}
        values: dict[str, AttributeValueTypeDef] = {
            f":set_{name}": value for name, value in (*sets.items(), *keeps.items())
        }
        values |= {
            ":set_updated_at": _number(now),
            ":entry": {"L": [{"S": f"{now:.3f} {entry}"}]},
            ":none": {"L": []},
            **condition_values,
        }
        expression = "SET history = list_append(if_not_exists(history, :none), :entry), " + ", ".join(
            [
                *(f"#{name} = :set_{name}" for name in (*sets, "updated_at")),
                *(f"#{name} = if_not_exists(#{name}, :set_{name})" for name in keeps),
            ]
        )
        if removes:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in removes)
        if attempts:
            expression += " ADD attempts :attempts"
            values[":attempts"] = _number(attempts)
        with table_asked():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": key}},
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames={
                    f"#{name}": name
                    for name in (*sets, *keeps, *removes, "updated_at", "state")
                    if f"#{name}" in expression + condition
                },
                ExpressionAttributeValues=values,
                ReturnValues=returns,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        return answer.get("Attributes", {})

    def _get(self, key: str) -> Item:
        with table_asked():
            return self._client.get_item(
                TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True
            ).get("Item", {})

    def _put_reference(self, identity: Identity, ticket_id: str) -> None:
        key = _reference_key(identity.helpdesk or "", identity.source or "", identity.reference or "")
        with table_asked():
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": key},
                    "ticket_id": {"S": ticket_id},
                    "expires_at": _number(int(self._clock() + self._keep_s)),
                },
            )


def fingerprint(request: Request) -> str:
    """Equal for two requests that ask for the same, whoever carries them."""
    about = {"request_id", "helpdesk", "source", "occurred_at"}
    asked = request.model_dump(mode="json", exclude_defaults=True, exclude=about)
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def redact_request_words(message: str | None, request: Request) -> str | None:
    """A helpdesk's message without the words of the request, however it quotes them.

    A word goes if it stands anywhere in the request's texts: quotations come in capitals, cut and escaped.
    """
    if not message or isinstance(request, GetRequest):
        return message
    fields = request.ticket if isinstance(request, AddRequest) else request.changes
    asked = "\n".join(_texts(fields.model_dump(mode="json"))).casefold()
    return _WORD.sub(lambda word: "…" if word[0].casefold() in asked else word[0], message)[:300]


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
    key = _of(item, "pk", "S") or ""
    request_id, helpdesk = key.removeprefix(_REQUESTS), _of(item, "helpdesk", "S")
    if helpdesk is None:
        helpdesk, _, request_id = request_id.partition("#")
    identity = Identity(
        request_id=request_id,
        operation=Operation(_of(item, "operation", "S") or ""),
        helpdesk=helpdesk,
        source=_of(item, "source", "S"),
        reference=_of(item, "reference", "S"),
    )
    attempts = int(_of(item, "attempts", "N") or 0)
    kind = _of(item, "kind", "S")
    history: Any = item.get("history", {}).get("L", [])
    state = _of(item, "state", "S") or ""
    return Receipt(
        claim=_claim_in(key, _of(item, "lease", "S") or "", item, attempts),
        identity=identity,
        state=state,
        fingerprint=_of(item, "fingerprint", "S") or "",
        claimed_at=float(_of(item, "claimed_at", "N") or 0),
        doubtful_since=float(_of(item, "attention_at", "N") or 0),
        updated_at=float(_of(item, "updated_at", "N") or 0),
        marker_field=_of(item, "marker_field", "S"),
        outcome=_outcome_in(item, identity, OutcomeKind(kind), attempts)
        if kind and state in ("done", "unknown")
        else None,
        history=tuple(entry["S"] for entry in history),
    )


def _outcome_in(item: Item, identity: Identity, kind: OutcomeKind, attempts: int) -> Outcome:
    problems = json.loads(_of(item, "problems", "S") or "[]")
    return Outcome(
        identity=identity,
        kind=kind,
        code=_of(item, "code", "S"),
        message=_of(item, "message", "S"),
        ticket_id=_of(item, "ticket_id", "S"),
        ticket_url=_of(item, "ticket_url", "S"),
        problems=tuple(FieldProblem(field, problem) for field, problem in problems),
        attempts=attempts,
    )


def request_key(request_id: str) -> str:
    """The key of a request's item."""
    return f"{_REQUESTS}{request_id}"


def _open_moment(claim: Claim, moment: float) -> str:
    return f"{moment!r} {claim.key}"


def _ticket_key(helpdesk: str, ticket_id: str) -> str:
    return f"ticket#{helpdesk}#{ticket_id}"


def _reference_key(helpdesk: str, source: str, reference: str) -> str:
    # Source and reference may hold any sign: the length says where one ends.
    return f"reference#{helpdesk}#{len(source)}#{source}#{reference}"


def _claim_in(key: str, lease: str, item: Item, attempts: int) -> Claim:
    steps: Any = item.get("steps", {}).get("SS", [])
    since = _of(item, "unresolved_since", "N")
    return Claim(
        key,
        lease,
        attempts,
        frozenset(steps),
        float(since) if since else None,
        _of(item, "marker", "S") or "",
        _of(item, "target", "S"),
    )


def _of(item: Item, name: str, kind: str) -> str | None:
    value: Any = item.get(name, {})
    text: str | None = value.get(kind)
    return text


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": repr(value)}
