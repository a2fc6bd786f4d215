"""The worker as most people write it, to compare with: Powertools' batch, idempotency and parameters.

It follows the documentation of Powertools for AWS Lambda (Python) 3: records one after the other, the
idempotency decorator with its DynamoDB layer, the secret by `parameters`, one `requests.Session` with
time-outs, an SNS message for each outcome. It is honest work, and it is not tuned.
"""

import json
import os
from typing import Any

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

logger = Logger()
metrics = Metrics(namespace="Plain", service="plain")
processor = BatchProcessor(event_type=EventType.SQS)
persistence = DynamoDBPersistenceLayer(table_name=os.environ["LEDGER_TABLE"])
config = IdempotencyConfig(event_key_jmespath="request_id", expires_after_seconds=28 * 24 * 3600)
sns = boto3.client("sns")
session = requests.Session()


class Requester(BaseModel):
    """Who wants the ticket."""

    email: str
    name: str


class Ticket(BaseModel):
    """What is to be added."""

    title: str
    details: str
    due_date: str
    requester: Requester


class AddRequest(BaseModel):
    """One request of the queue."""

    operation: str
    request_id: str = Field(min_length=1, max_length=128)
    source: str = "unknown"
    ticket: Ticket


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools gives it no types
    data_keyword_argument="request", config=config, persistence_store=persistence
)
def add(request: dict[str, Any]) -> dict[str, Any]:
    """Makes the ticket."""
    parsed = AddRequest.model_validate(request)
    secret: Any = parameters.get_secret(os.environ["KAPTURE_SECRET_ARN"], transform="json", max_age=300)
    body = {
        "title": parsed.ticket.title,
        "ticket_details": parsed.ticket.details,
        "due_date": f"{parsed.ticket.due_date} 00:00:00",
        "email_id": parsed.ticket.requester.email,
        "customer_name": parsed.ticket.requester.name,
    }
    response = session.post(
        f"{os.environ['KAPTURE_URL']}/add-ticket-from-other-source.html/v.2.0",
        json=[body],
        headers={"Authorization": f"Basic {secret['token']}"},
        timeout=(3, 15),
    )
    response.raise_for_status()
    ticket_id = str(response.json()["ticket_id"])
    outcome = {"request_id": parsed.request_id, "outcome": "succeeded", "ticket_id": ticket_id}
    sns.publish(
        TopicArn=os.environ["OUTCOMES_TOPIC_ARN"],
        Message=json.dumps(outcome),
        MessageAttributes={"outcome": {"DataType": "String", "StringValue": "succeeded"}},
    )
    logger.info("ticket added", extra=outcome)
    metrics.add_metric(name="Succeeded", unit=MetricUnit.Count, value=1)
    return outcome


def record_handler(record: SQSRecord) -> dict[str, Any]:
    """Carries one record out; an exception gives it back to the queue."""
    added: dict[str, Any] = add(request=record.json_body)
    return added


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """The partial batch response."""
    config.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
