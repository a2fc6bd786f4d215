"""Remembers what became of each request, so that none is carried out twice.

A request's item moves through these states; each arrow is one conditional write:

    (none), released ── claim ──► claimed ── finish ──► done        the outcome is final
                                     │ ├──── release ──► released    nothing was done
                                     │ └──── doubt ────► unknown     it may have been done
    claimed, lease over ── claim ──► claimed                         only where repeating does no harm
    claimed, lease over ── doubt ──► unknown                         the holder died in mid-call
    unknown ── finish ──► done                                       settled, or a late answer

Items hold ids, codes and the helpdesk's own messages with the request's texts masked: no customer text.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import FieldProblem, UnavailableError
from helpdesk.models import (
    AddRequest,
    GetRequest,
    Identity,
    Operation,
    Outcome,
    OutcomeKind,
    Request,
    identity_of,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

type Item = Mapping[str, "AttributeValueTypeDef"]

_CLAIMABLE = (
    "attribute_not_exists(pk) OR fingerprint = :fingerprint AND "
    "(#state = :released OR #state = :claimed AND lease_until < :now AND repeatable = :yes)"
)


@dataclass(frozen=True)
class Claim:
    """The right to make the call of this request, for as long as the lease runs."""

    key: str
    lease: str
    attempts: int


@dataclass(frozen=True)
class Busy:
    """Somebody else is making the call; the lease runs for `seconds` more."""

    seconds: float


@dataclass(frozen=True)
class Abandoned:
    """The holder of an unrepeatable request died in mid-call."""

    claim: Claim


@dataclass(frozen=True)
class Settled:
    """The request has ended, or is in doubt, with this outcome."""

    outcome: Outcome


@dataclass(frozen=True)
class Reused:
    """The request_id belongs to another request."""


type Answer = Claim | Busy | Abandoned | Settled | Reused


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
    ) -> None:
        self._client = client
        self._table = table
        self._lease_s = lease_s
        self._keep_s = keep_days * 86400
        self._clock = clock

    def claim(self, request: Request) -> Answer:
        """The right to carry the request out, or why there is none."""
        now = self._clock()
        lease = uuid.uuid4().hex
        values: dict[str, AttributeValueTypeDef] = {
            ":claimed": {"S": "claimed"},
            ":released": {"S": "released"},
            ":fingerprint": {"S": fingerprint(request)},
            ":lease": {"S": lease},
            ":lease_until": _number(now + self._lease_s),
            ":now": _number(now),
            ":expires_at": _number(int(now + self._keep_s)),
            ":yes": {"BOOL": True},
            ":repeatable": {"BOOL": request.repeatable},
            ":operation": {"S": request.operation},
            ":source": {"S": request.source},
            ":one": {"N": "1"},
        }
        setters = [
            "#state = :claimed, fingerprint = :fingerprint, lease = :lease, lease_until = :lease_until",
            "updated_at = :now, expires_at = :expires_at, repeatable = :repeatable",
            "operation = :operation, #source = :source",
        ]
        if request.reference:
            setters.append("reference = :reference")
            values[":reference"] = {"S": request.reference}
        key = _request_key(request.helpdesk, request.request_id)
        try:
            written = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": key}},
                UpdateExpression=f"SET {', '.join(setters)} ADD attempts :one",
                ConditionExpression=_CLAIMABLE,
                ExpressionAttributeNames={"#state": "state", "#source": "source"},
                ExpressionAttributeValues=values,
                ReturnValues="UPDATED_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            found: Any = error.response.get("Item")
            if found is None:
                raise _unavailable(error) from error
            return self._why_not(request, key, found, now)
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return Claim(key, lease, int(_of(written["Attributes"], "attempts", "N") or 1))

    def _why_not(self, request: Request, key: str, found: Item, now: float) -> Answer:
        if _of(found, "fingerprint", "S") != fingerprint(request):
            return Reused()
        if _of(found, "state", "S") != "claimed":
            return Settled(_outcome_in(found, identity_of(request)))
        left = float(_of(found, "lease_until", "N") or 0) - now
        if left >= 0 or request.repeatable:
            return Busy(max(left, 0.0))
        attempts = int(_of(found, "attempts", "N") or 1)
        return Abandoned(Claim(key, _of(found, "lease", "S") or "", attempts))

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Remembers how the request ended, and which ticket its reference means from now on."""
        self._end(claim, "done", outcome)
        identity = outcome.identity
        if identity.operation is Operation.ADD and identity.reference and outcome.ticket_id:
            self._put_reference(identity, outcome.ticket_id)

    def doubt(self, claim: Claim, outcome: Outcome) -> None:
        """Remembers that the call may have been made."""
        self._end(claim, "unknown", outcome)

    def release(self, claim: Claim) -> None:
        """Gives the request back: nothing was done, and no attempt is counted."""
        self._write(
            claim,
            "SET #state = :state, updated_at = :now ADD attempts :minus_one",
            {":state": {"S": "released"}, ":minus_one": {"N": "-1"}},
            "lease = :lease AND #state = :claimed",
        )

    def outcome_of(self, helpdesk: str, request_id: str) -> Outcome | None:
        """How a request ended so far; an outcome without an end is None, as is an unknown request."""
        receipt = self.receipt(helpdesk, request_id)
        return receipt.outcome if receipt else None

    def receipt(self, helpdesk: str, request_id: str) -> "Receipt | None":
        """What is known of a request, or None."""
        found = self._get(_request_key(helpdesk, request_id))
        if not found:
            return None
        identity = Identity(
            request_id=request_id,
            operation=Operation(_of(found, "operation", "S") or ""),
            helpdesk=helpdesk,
            source=_of(found, "source", "S"),
            reference=_of(found, "reference", "S"),
        )
        state = _of(found, "state", "S") or ""
        ended = state in ("done", "unknown")
        return Receipt(
            identity=identity,
            state=state,
            fingerprint=_of(found, "fingerprint", "S") or "",
            attempts=int(_of(found, "attempts", "N") or 0),
            updated_at=float(_of(found, "updated_at", "N") or 0),
            outcome=_outcome_in(found, identity) if ended else None,
        )

    def ticket_of(self, helpdesk: str, source: str, reference: str) -> str | None:
        """The ticket that was added under a source's own reference, or None."""
        found = self._get(_reference_key(helpdesk, source, reference))
        return _of(found, "ticket_id", "S")

    # ── DynamoDB ─────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, claim: Claim, state: str, outcome: Outcome) -> None:
        values: dict[str, AttributeValueTypeDef] = {":state": {"S": state}, ":kind": {"S": outcome.kind}}
        setters = ["#state = :state, kind = :kind, updated_at = :now"]
        removers = []
        for name, value in _fields_of(outcome).items():
            if value is None:
                removers.append(name)
            else:
                setters.append(f"{name} = :{name}")
                values[f":{name}"] = {"S": value}
        expression = f"SET {', '.join(setters)}" + (f" REMOVE {', '.join(removers)}" if removers else "")
        # A late answer settles a doubt that somebody else has entered since.
        self._write(claim, expression, values, "lease = :lease AND #state IN (:claimed, :unknown)")

    def _write(
        self,
        claim: Claim,
        expression: str,
        values: Mapping[str, "AttributeValueTypeDef"],
        condition: str,
    ) -> None:
        used = f"{expression} {condition}"
        everywhere: dict[str, AttributeValueTypeDef] = {
            ":lease": {"S": claim.lease},
            ":claimed": {"S": "claimed"},
            ":unknown": {"S": "unknown"},
            ":now": _number(self._clock()),
        }
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": claim.key}},
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={
                    **values,
                    **{name: value for name, value in everywhere.items() if name in used},
                },
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    def _get(self, key: str) -> Item:
        try:
            return self._client.get_item(
                TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True
            ).get("Item", {})
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error

    def _put_reference(self, identity: Identity, ticket_id: str) -> None:
        key = _reference_key(identity.helpdesk or "", identity.source or "", identity.reference or "")
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": key},
                    "ticket_id": {"S": ticket_id},
                    "expires_at": _number(int(self._clock() + self._keep_s)),
                },
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error


@dataclass(frozen=True)
class Receipt:
    """What the ledger knows of a request."""

    identity: Identity
    state: str
    fingerprint: str
    attempts: int
    updated_at: float
    outcome: Outcome | None


def fingerprint(request: Request) -> str:
    """Equal for two requests that ask for the same, whoever carries them."""
    about = {"request_id", "helpdesk", "source", "occurred_at"}
    asked = request.model_dump(mode="json", exclude_defaults=True, exclude=about)
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def masked(message: str | None, request: Request) -> str | None:
    """A helpdesk's message without the texts of the request that it may quote."""
    if not message or isinstance(request, GetRequest):
        return message
    fields = request.ticket if isinstance(request, AddRequest) else request.changes
    for text in sorted(set(_texts(fields.model_dump(mode="json"))), key=len, reverse=True):
        if len(text) > 3:
            message = message.replace(text, "…")
    return message[:300]


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
        "code": outcome.code,
        "message": outcome.message,
        "ticket_id": outcome.ticket_id,
        "ticket_url": outcome.ticket_url,
        "problems": json.dumps(problems) if problems else None,
    }


def _outcome_in(item: Item, identity: Identity) -> Outcome:
    problems = json.loads(_of(item, "problems", "S") or "[]")
    return Outcome(
        identity=identity,
        kind=OutcomeKind(_of(item, "kind", "S") or ""),
        code=_of(item, "code", "S"),
        message=_of(item, "message", "S"),
        ticket_id=_of(item, "ticket_id", "S"),
        ticket_url=_of(item, "ticket_url", "S"),
        problems=tuple(FieldProblem(field, problem) for field, problem in problems),
        attempts=int(_of(item, "attempts", "N") or 1),
    )


def _request_key(helpdesk: str, request_id: str) -> str:
    return f"request#{helpdesk}#{request_id}"


def _reference_key(helpdesk: str, source: str, reference: str) -> str:
    return f"reference#{helpdesk}#{source}#{reference}"


def _of(item: Item, name: str, kind: str) -> str | None:
    value: Any = item.get(name, {})
    text: str | None = value.get(kind)
    return text


def _number(value: float) -> "AttributeValueTypeDef":
    return {"N": str(value)}


def _unavailable(error: Exception) -> UnavailableError:
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    return UnavailableError("ledger_unavailable", f"the ledger did not take the write: {code or 'no answer'}")
