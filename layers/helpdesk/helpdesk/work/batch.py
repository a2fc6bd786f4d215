"""Turns one batch of the queue into outcomes, and gives back what has to wait."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.intake.requests import Defaults, UnreadableRequestError, read_request
from helpdesk.models import Identity, Outcome, OutcomeKind, Request, identity_of
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.metrics import HelpdeskMetrics
from helpdesk.runtime.topic import Topic
from helpdesk.store.gate import OVER_BUDGET
from helpdesk.work.service import Deferred, Result, TicketService

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

# Spreads load.
_random = random.SystemRandom()

type SqsRecord = Mapping[str, Any]

# SQS lets a message wait for twelve hours from when it was received.
_MAX_VISIBILITY_S = 43_000
# SQS takes a message away after 1000 receives, and after 14 days, and tells nobody. Each delay is at least
# the square of the receives divided by this, so that age decides; what comes near either is ended.
_RECEIVES_SQUARED_A_SECOND = 180
MOST_RECEIVES = 950
MOST_AGE_S = 13.5 * 86400
# The queue takes 1 MiB, a copy's attributes included.
_LONGEST_COPY = 1_048_576 - 4096
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
    """Carries out the requests of a batch; what fails for now goes back with a delay of its own."""

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

        An outcome is remembered before it is published, and published before its record is let go, so a
        record that comes back is answered again and never carried out again. One whose outcome is unknown
        comes back until that is settled: nothing else holds the request's text.
        """
        work = [self._aged(one) for one in self._execute(records, deadline)]
        back = [one for one in work if _comes_back(one.result)]
        ended = [one for one in work if not isinstance(one.result, Deferred)]
        unpublished = self._publish(ended)
        published = [one for one in ended if one not in unpublished]
        unpublished += self._park_copies(published)
        for one in published:
            if isinstance(one.result, Outcome) and one.result.kind is OutcomeKind.UNKNOWN:
                self._service.mark_published(one.result)
        metrics_by_helpdesk = HelpdeskMetrics()
        for one in work:
            self._report(one, metrics_by_helpdesk)
        metrics_by_helpdesk.flush()
        self._report_oldest(back)
        returned = {one.record["messageId"]: one for one in (*back, *unpublished)}
        self._delay(list(returned.values()))
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in returned]}

    # ── the calls ────────────────────────────────────────────────────────────────────────────────────────

    def _execute(self, records: Sequence[SqsRecord], deadline: float) -> list[_Delivery]:
        work: list[_Delivery] = []
        requests: list[Request] = []
        record_of: dict[int, SqsRecord] = {}
        received_before: set[str] = set()
        for record in records:
            defaults = Defaults(
                request_id=_named(record, "request_id") or record["messageId"],
                source=self._settings.default_source,
                helpdesk=_named(record, "helpdesk") or self._settings.default_helpdesk,
            )
            try:
                request = read_request(record["body"], defaults)
            except UnreadableRequestError as error:
                work.append(_Delivery(record, error.identity, _unreadable(error)))
            else:
                requests.append(request)
                if int(record["attributes"]["ApproximateReceiveCount"]) > 1:
                    received_before.add(request.request_id)
                record_of[id(request)] = record
        for carried in self._service.execute(requests, deadline, received_before):
            record = record_of[id(carried.asked or carried.request)]
            identity = identity_of(carried.request)
            work.append(_Delivery(record, identity, carried.result, carried.request, carried.milliseconds))
        return work

    def _aged(self, one: _Delivery) -> _Delivery:
        """Ends what has waited for too long."""
        if not isinstance(one.result, Deferred) or one.request is None:
            return one
        age = self._clock() - int(one.record["attributes"]["SentTimestamp"]) / 1000
        is_last = age > MOST_AGE_S or _receives(one) >= MOST_RECEIVES
        if not is_last and age <= self._settings.give_up_after_s:
            return one
        message = f"could not be carried out in time; last reason: {one.result.code}"
        ended = Outcome(identity=one.identity, kind=OutcomeKind.PARKED, code="expired", message=message)
        one.result = self._service.close(one.request, ended, at_once=is_last)
        return one

    # ── the answers ──────────────────────────────────────────────────────────────────────────────────────

    def _publish(self, ended: Sequence[_Delivery]) -> list[_Delivery]:
        outcomes = {id(one.result): one for one in ended if isinstance(one.result, Outcome)}
        refused = self._topic.publish([one.result for one in ended if isinstance(one.result, Outcome)])
        if refused:
            self._logger.error("outcomes were not published", extra={"count": len(refused)})
        return [outcomes[id(outcome)] for outcome in refused]

    def _park_copies(self, ended: Sequence[_Delivery]) -> list[_Delivery]:
        copies = [
            one for one in ended if isinstance(one.result, Outcome) and one.result.kind in _PARKED_COPIES
        ]
        lost: list[_Delivery] = []
        # One message a call: copies may be as large as the queue allows, and they are rare.
        for one in copies:
            try:
                self._clients.sqs.send_message(
                    QueueUrl=self._settings.dead_letter_queue_url,
                    MessageBody=_cut(one.record["body"]),
                    MessageAttributes=_copy_attributes(one),
                )
            except (ClientError, BotoCoreError):
                lost.append(one)
        if lost:
            self._logger.error("copies were not parked", extra={"count": len(lost)})
        return lost

    def _delay(self, returned: Sequence[_Delivery]) -> None:
        for start in range(0, len(returned), 10):
            self._delay_ten(returned[start : start + 10])

    def _delay_ten(self, returned: Sequence[_Delivery]) -> None:
        try:
            answer = self._clients.sqs.change_message_visibility_batch(
                QueueUrl=self._settings.requests_queue_url,
                Entries=[
                    {
                        "Id": str(place),
                        "ReceiptHandle": one.record["receiptHandle"],
                        "VisibilityTimeout": self._delay_of(one),
                    }
                    for place, one in enumerate(returned)
                ],
            )
            missed = len(answer.get("Failed", []))
        except (ClientError, BotoCoreError):
            missed = len(returned)
        if missed:
            # They come back all the same, when the queue's own visibility time-out is over.
            self._logger.warning("delays were not set", extra={"count": missed})

    def _delay_of(self, one: _Delivery) -> int:
        """Seconds: never before what was asked for, longer with each receive, with jitter."""
        longest = self._settings.max_delay_s
        receives = _receives(one)
        # Below the longest, since a closed gate is noticed to be open up to a minute late.
        doubling = min(2.0 ** min(receives, 20), longest) * _random.uniform(0.5, 0.8)
        if isinstance(one.result, Outcome):
            seconds = self._settings.doubt_s if one.result.kind is OutcomeKind.UNKNOWN else doubling
        elif one.result.retry_after is None:
            seconds = doubling
        elif one.result.code == OVER_BUDGET:
            # A time of its own already: later would leave the budget unused, and it is spread out as it is.
            seconds = min(one.result.retry_after, longest)
        else:
            seconds = min(one.result.retry_after, longest) * _random.uniform(1.0, 1.1)
            if one.result.held:
                # A long wait is spread out: work does not come back all at once.
                seconds = max(seconds, doubling)
        seconds = max(seconds, receives**2 / _RECEIVES_SQUARED_A_SECOND, 1.0)
        return min(math.ceil(seconds), _MAX_VISIBILITY_S)

    # ── the record of it ─────────────────────────────────────────────────────────────────────────────────

    def _report(self, one: _Delivery, metrics_by_helpdesk: HelpdeskMetrics) -> None:
        result = one.result
        helpdesk = one.identity.helpdesk or self._settings.default_helpdesk
        fields = {
            "request_id": one.identity.request_id,
            "operation": one.identity.operation,
            "helpdesk": one.identity.helpdesk,
            "source": one.identity.source,
            "code": result.code,
            "milliseconds": one.milliseconds,
        }
        # Of the call of AWS that has put the record into the queue.
        if trace := one.record["attributes"].get("AWSTraceHeader"):
            fields["trace"] = trace
        if isinstance(result, Deferred):
            # In an outage this is said of every record, time and again: nothing is wrong with them.
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
        if one.milliseconds:
            # A record that was held, or could not be read, was not tried.
            metrics_by_helpdesk.time(helpdesk, "RequestMilliseconds", one.milliseconds)

    def _report_oldest(self, back: Sequence[_Delivery]) -> None:
        """The age of the oldest request without an end: each such record comes by within `max_delay_s`."""
        now = self._clock()
        ages = (now - int(one.record["attributes"]["SentTimestamp"]) / 1000 for one in back)
        self._metrics.add_metric(name="OldestSeconds", unit=MetricUnit.Seconds, value=max([0.0, *ages]))


def _receives(one: _Delivery) -> int:
    return int(one.record["attributes"]["ApproximateReceiveCount"])


def _named(record: SqsRecord, name: str) -> str | None:
    """What the message's attributes say: a redriven request keeps the id and the helpdesk that it had."""
    attribute = record.get("messageAttributes", {}).get(name, {})
    return attribute.get("stringValue") or None


def _cut(body: str) -> str:
    """The body, short enough to fit into the queue beside its attributes."""
    raw = body.encode()
    return body if len(raw) <= _LONGEST_COPY else raw[:_LONGEST_COPY].decode(errors="ignore")


def _comes_back(result: Result) -> bool:
    return isinstance(result, Deferred) or result.kind is OutcomeKind.UNKNOWN


def _unreadable(error: UnreadableRequestError) -> Outcome:
    return Outcome(
        identity=error.identity,
        kind=OutcomeKind.REJECTED,
        code=error.code,
        message=error.message,
        problems=error.problems,
    )


def _copy_attributes(one: _Delivery) -> dict[str, "MessageAttributeValueTypeDef"]:
    result = one.result
    attributes = {
        "class": result.kind.value if isinstance(result, Outcome) else None,
        "code": result.code,
        "attempts": str(result.attempts) if isinstance(result, Outcome) else None,
        "request_id": one.identity.request_id,
        "operation": one.identity.operation,
        "helpdesk": one.identity.helpdesk,
        "source": one.identity.source,
    }
    return {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value}
