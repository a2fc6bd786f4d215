"""Turns one batch of the queue into outcomes, and gives back what has to wait."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.intake.requests import Defaults, UnreadableRequestError, read_request
from helpdesk.models import (
    AddRequest,
    GetRequest,
    Identity,
    Outcome,
    OutcomeKind,
    Request,
    UpdateRequest,
    identity_of,
)
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.metrics import HelpdeskMetrics
from helpdesk.runtime.topic import Topic
from helpdesk.store.gate import OVER_BUDGET
from helpdesk.store.ledger import redact_request_words
from helpdesk.work.service import Deferred, Result, TicketService

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

# Spreads load.
_random = random.SystemRandom()

type SqsRecord = Mapping[str, Any]

# SQS lets a message wait for twelve hours from when it was received.
_MAX_VISIBILITY_S = 43_000
# SQS silently deletes a message after 1000 receives, and after 14 days. Each delay is at least the square of
# the receives divided by this, so age decides. A request that comes near either limit is ended.
_RECEIVES_SQUARED_A_SECOND = 180
MOST_RECEIVES = 950
MOST_AGE_S = 13.5 * 86400
# The queue takes 1 MiB, a copy's attributes included.
_LONGEST_COPY = 1_048_576 - 8192
_LONGEST_WHY = 4096
_LONGEST_MESSAGE = 300
# A request with this code has not come as far as a claim.
_UNCLAIMED = "invalid_request"
# Of a get's outcomes these have words of our own: a helpdesk's words may quote any ticket.
_OWN_WORDS = {"invalid_request", "ticket_not_found", "expired"}
_PARKED_COPIES = {OutcomeKind.REJECTED, OutcomeKind.PARKED}


# Compared by identity: two copies of one request are two records.
@dataclass(eq=False)
class _Delivery:
    record: SqsRecord
    identity: Identity
    result: Result
    request: Request | None = None
    milliseconds: int = 0


class QueueConsumer:
    """Executes the requests of a batch; a record that must wait goes back with its own delay."""

    def __init__(self, parts: BaseParts, service: TicketService) -> None:
        self._service = service
        self._clients = parts.clients
        self._settings = parts.settings
        self._topic = Topic(parts.clients.sns, parts.settings.outcomes_topic_arn)
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def run(self, records: Sequence[SqsRecord], deadline: float) -> dict[str, Any]:
        """The partial batch response: the records that are to come back.

        An outcome is recorded before it is published, and published before its record is let go. So a record
        that comes back gets the recorded outcome and is not executed again. A record in doubt comes back
        until the doubt is resolved: nothing else holds the request's text.
        """
        deliveries = self._execute(records, deadline)
        for delivery in deliveries:
            self._end_if_expired(delivery)
            _give_back_context(delivery)
        waiting = [delivery for delivery in deliveries if _comes_back(delivery.result)]
        ended = [delivery for delivery in deliveries if not isinstance(delivery.result, Deferred)]
        self._service.note_rejections(_unrecorded(ended))
        unpublished = self._publish(ended)
        published = [delivery for delivery in ended if delivery not in unpublished]
        unpublished += self._park_copies(published)
        for delivery in published:
            if isinstance(delivery.result, Outcome) and delivery.result.kind is OutcomeKind.UNKNOWN:
                self._service.mark_published(delivery.result)
        metrics_by_helpdesk = HelpdeskMetrics()
        for delivery in deliveries:
            self._report(delivery, metrics_by_helpdesk)
        metrics_by_helpdesk.flush()
        self._report_oldest(waiting)
        returned = {delivery.record["messageId"]: delivery for delivery in (*waiting, *unpublished)}
        self._delay(list(returned.values()))
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in returned]}

    # ── the calls ────────────────────────────────────────────────────────────────────────────────────────

    def _execute(self, records: Sequence[SqsRecord], deadline: float) -> list[_Delivery]:
        deliveries: list[_Delivery] = []
        readable: list[SqsRecord] = []
        requests: list[Request] = []
        received_before: set[str] = set()
        for record in records:
            defaults = Defaults(
                request_id=_attribute(record, "request_id") or record["messageId"],
                source=self._settings.default_source,
                helpdesk=_attribute(record, "helpdesk") or self._settings.default_helpdesk,
            )
            try:
                request = read_request(record["body"], defaults)
            except UnreadableRequestError as error:
                deliveries.append(_Delivery(record, error.identity, _rejection_of(error)))
            else:
                readable.append(record)
                requests.append(request)
                if _receives(record) > 1:
                    received_before.add(request.request_id)
        executions = self._service.execute(requests, deadline, received_before)
        for record, done in zip(readable, executions, strict=True):
            identity = identity_of(done.request)
            deliveries.append(_Delivery(record, identity, done.result, done.request, done.milliseconds))
        return deliveries

    def _end_if_expired(self, delivery: _Delivery) -> None:
        if not isinstance(delivery.result, Deferred) or delivery.request is None:
            return
        age = self._age_of(delivery)
        is_last = age > MOST_AGE_S or _receives(delivery.record) >= MOST_RECEIVES
        if not is_last and age <= self._settings.give_up_after_s:
            return
        message = f"could not be carried out in time; last reason: {delivery.result.code}"
        expired = Outcome(
            identity=delivery.identity, kind=OutcomeKind.PARKED, code="expired", message=message
        )
        delivery.result = self._service.close(delivery.request, expired, at_once=is_last)

    def _age_of(self, delivery: _Delivery) -> float:
        return self._clock() - int(delivery.record["attributes"]["SentTimestamp"]) / 1000

    # ── the outcomes ─────────────────────────────────────────────────────────────────────────────────────

    def _publish(self, ended: Sequence[_Delivery]) -> list[_Delivery]:
        outcomes = [delivery.result for delivery in ended if isinstance(delivery.result, Outcome)]
        refused = self._topic.publish(outcomes)
        if refused:
            self._logger.error("outcomes were not published", extra={"count": len(refused)})
        return [delivery for delivery in ended if delivery.result in refused]

    def _park_copies(self, ended: Sequence[_Delivery]) -> list[_Delivery]:
        lost: list[_Delivery] = []
        # One message a call: copies may be as large as the queue allows, and they are rare.
        for delivery in ended:
            if not isinstance(delivery.result, Outcome) or delivery.result.kind not in _PARKED_COPIES:
                continue
            try:
                self._clients.sqs.send_message(
                    QueueUrl=self._settings.dead_letter_queue_url,
                    MessageBody=_cut(delivery.record["body"]),
                    MessageAttributes=_copy_attributes(delivery),
                )
            except (ClientError, BotoCoreError):
                lost.append(delivery)
        if lost:
            self._logger.error("copies were not parked", extra={"count": len(lost)})
        return lost

    def _delay(self, returned: Sequence[_Delivery]) -> None:
        for ten in batched(returned, 10, strict=False):
            self._delay_ten(ten)

    def _delay_ten(self, returned: Sequence[_Delivery]) -> None:
        try:
            response = self._clients.sqs.change_message_visibility_batch(
                QueueUrl=self._settings.requests_queue_url,
                Entries=[
                    {
                        "Id": str(place),
                        "ReceiptHandle": delivery.record["receiptHandle"],
                        "VisibilityTimeout": self._delay_of(delivery),
                    }
                    for place, delivery in enumerate(returned)
                ],
            )
            missed = len(response.get("Failed", []))
        except (ClientError, BotoCoreError):
            missed = len(returned)
        if missed:
            # They come back all the same, when the queue's own visibility time-out is over.
            self._logger.warning("delays were not set", extra={"count": missed})

    def _delay_of(self, delivery: _Delivery) -> int:
        """Seconds: never less than the reply asks for, longer with each receive, with jitter."""
        longest = self._settings.max_delay_s
        receives = _receives(delivery.record)
        # Below the longest, since a closed gate is noticed to be open up to a minute late.
        doubling = min(2.0 ** min(receives, 20), longest) * _random.uniform(0.5, 0.8)
        if isinstance(delivery.result, Outcome):
            seconds = self._settings.doubt_s if delivery.result.kind is OutcomeKind.UNKNOWN else doubling
        elif delivery.result.retry_after is None:
            seconds = doubling
        elif delivery.result.code == OVER_BUDGET:
            # Its own retry time already: a later one would leave the budget unused.
            seconds = min(delivery.result.retry_after, longest)
        else:
            seconds = min(delivery.result.retry_after, longest) * _random.uniform(1.0, 1.1)
            if delivery.result.held:
                # A long wait is spread out: the requests do not come back all at once.
                seconds = max(seconds, doubling)
        seconds = max(seconds, receives**2 / _RECEIVES_SQUARED_A_SECOND, 1.0)
        return min(math.ceil(seconds), _MAX_VISIBILITY_S)

    # ── logs and metrics ─────────────────────────────────────────────────────────────────────────────────

    def _report(self, delivery: _Delivery, metrics_by_helpdesk: HelpdeskMetrics) -> None:
        result = delivery.result
        helpdesk = delivery.identity.helpdesk or self._settings.default_helpdesk
        fields = {
            "request_id": delivery.identity.request_id,
            "operation": delivery.identity.operation,
            "helpdesk": delivery.identity.helpdesk,
            "source": delivery.identity.source,
            "code": result.code,
            "milliseconds": delivery.milliseconds,
        }
        # The trace of the AWS call that put the record into the queue.
        if trace := delivery.record["attributes"].get("AWSTraceHeader"):
            fields["trace"] = trace
        if isinstance(result, Deferred):
            # In an outage every record logs this, time and again: nothing is wrong with it.
            level = self._logger.info if result.held else self._logger.warning
            if result.fault:
                level, fields["fault"] = self._logger.error, result.fault
            level("request waits", extra=fields)
            metrics_by_helpdesk.count(helpdesk, "Deferred")
            if result.token_refused:
                self._metrics.add_metric(name="TokenRefused", unit=MetricUnit.Count, value=1)
        else:
            fields |= {"outcome": result.kind, "ticket_id": result.ticket_id, "attempts": result.attempts}
            level = self._logger.info if result.kind is OutcomeKind.SUCCEEDED else self._logger.warning
            level("request ended", extra=fields)
            metrics_by_helpdesk.count(helpdesk, result.kind.capitalize())
        if delivery.milliseconds:
            # A record that was held, or could not be read, was not tried.
            metrics_by_helpdesk.time(helpdesk, "RequestMilliseconds", delivery.milliseconds)

    def _report_oldest(self, waiting: Sequence[_Delivery]) -> None:
        """The age of the oldest request without an end: each such record comes by within `max_delay_s`."""
        ages = map(self._age_of, waiting)
        self._metrics.add_metric(name="OldestSeconds", unit=MetricUnit.Seconds, value=max([0.0, *ages]))


def _receives(record: SqsRecord) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def _attribute(record: SqsRecord, name: str) -> str | None:
    """A message's own attribute: a redriven request keeps the id and the helpdesk that it had."""
    attribute = record.get("messageAttributes", {}).get(name, {})
    return attribute.get("stringValue") or None


def _cut(body: str) -> str:
    """The body, short enough to fit into the queue beside its attributes."""
    raw = body.encode()
    return body if len(raw) <= _LONGEST_COPY else raw[:_LONGEST_COPY].decode(errors="ignore")


def _give_back_context(delivery: _Delivery) -> None:
    # Here, since the ledger's outcomes lack it: every outcome is published while its record is at hand.
    request, result = delivery.request, delivery.result
    if request and request.context and isinstance(result, Outcome):
        delivery.result = result.model_copy(update={"context": request.context})


def _comes_back(result: Result) -> bool:
    return isinstance(result, Deferred) or result.kind is OutcomeKind.UNKNOWN


def _rejection_of(error: UnreadableRequestError) -> Outcome:
    return Outcome(
        identity=error.identity,
        kind=OutcomeKind.REJECTED,
        code=error.code,
        message=error.message,
        problems=error.problems,
        context=error.context,
    )


def _unrecorded(ended: Sequence[_Delivery]) -> list[Outcome]:
    """The outcomes without success of requests that have no item in the ledger."""
    return [
        _without_texts(delivery.result, delivery.request)
        for delivery in ended
        if isinstance(delivery.result, Outcome)
        and delivery.result.kind in _PARKED_COPIES
        and (
            not isinstance(delivery.request, AddRequest | UpdateRequest) or delivery.result.code == _UNCLAIMED
        )
    ]


def _without_texts(outcome: Outcome, request: Request | None) -> Outcome:
    """The outcome as it may be kept: without what its message repeats of tickets."""
    message = outcome.message
    if isinstance(request, GetRequest):
        message = message if outcome.code in _OWN_WORDS else None
    elif request is not None:
        message = redact_request_words(message, request)
    return outcome.model_copy(update={"message": message})


def _why(outcome: Outcome) -> str:
    """The outcome's message and wrong fields, as JSON in ASCII."""
    errors = [{"field": problem.field, "problem": problem.problem} for problem in outcome.problems]
    message = (outcome.message or "")[:_LONGEST_MESSAGE]
    while len(why := json.dumps({"message": message, "errors": errors})) > _LONGEST_WHY:
        errors.pop()
    return why


def _copy_attributes(delivery: _Delivery) -> dict[str, "MessageAttributeValueTypeDef"]:
    result = delivery.result
    attributes = {
        "class": result.kind.value if isinstance(result, Outcome) else None,
        "code": result.code,
        "attempts": str(result.attempts) if isinstance(result, Outcome) else None,
        "request_id": delivery.identity.request_id,
        "operation": delivery.identity.operation,
        "helpdesk": delivery.identity.helpdesk,
        "source": delivery.identity.source,
        "why": _why(_without_texts(result, delivery.request)) if isinstance(result, Outcome) else None,
    }
    return {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value}
