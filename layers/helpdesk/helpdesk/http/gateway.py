"""API Gateway's proxy integration: reads calls, and responds with JSON, text, or what an error means."""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import HelpdeskError, OutcomeUnknownError, RejectedError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

# The queue takes 1 MiB a message; the rest is for defaults that are filled in.
MAX_BODY_BYTES = 1_000_000
PROBLEM_TYPE = "application/problem+json"
# A rejection is 422 unless its code is here.
STATUS_OF_CODE = {
    "invalid_prefer": 400,
    "not_json": 400,
    "unexpected_body": 400,
    "no_secret": 401,
    "secret_missing": 401,
    "signature_missing": 401,
    "timestamp_missing": 401,
    "timestamp_outside_window": 401,
    "wrong_secret": 401,
    "wrong_signature": 401,
    "not_found": 404,
    "unknown_path": 404,
    "unknown_reference": 404,
    "unknown_request": 404,
    "request_id_reused": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
}


type HttpResponse = dict[str, Any]


class Call(NamedTuple):
    """What a sender's call brings; header names are in lower case."""

    headers: Mapping[str, str]
    raw: bytes
    path_secret: str | None = None


def read_call(event: Mapping[str, Any]) -> Call:
    """A sender's call, with the bytes that a signature is over. Raises RejectedError."""
    if len(event.get("body") or "") > MAX_BODY_BYTES * 2:
        raise too_large()
    try:
        raw = body_of(event, errors="replace")
    except ValueError as error:
        raise RejectedError("not_json", "the body is not in base64") from error
    if len(raw) > MAX_BODY_BYTES:
        raise too_large()
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return Call(headers, raw, path_parameter(event, "secret"))


def body_of(event: Mapping[str, Any], errors: str = "strict") -> bytes:
    """The body's bytes as they were sent. Raises ValueError."""
    body: str = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(errors=errors)


def path_parameter(event: Mapping[str, Any], name: str) -> str | None:
    """A named part of the path."""
    value: str | None = (event.get("pathParameters") or {}).get(name)
    return value


def query_of(event: Mapping[str, Any]) -> Mapping[str, str]:
    """The query's parameters; of a repeated one the last value."""
    return event.get("queryStringParameters") or {}


def caller_of(event: Mapping[str, Any]) -> str | None:
    """The address from which a call came, by which an operator can follow and block a refused caller.

    It is personal data: only log lines of refusals hold it, for as long as logs are kept.
    """
    address: str | None = event["requestContext"]["identity"].get("sourceIp")
    return address


def too_large() -> RejectedError:
    """The error of a body that the queue could not take."""
    return RejectedError("too_large", f"the submission is larger than {MAX_BODY_BYTES} bytes")


def unknown_path() -> RejectedError:
    """The error of a path at which there is nothing."""
    return RejectedError("unknown_path", "Nothing answers at this path.")


def count(metrics: Metrics, name: str) -> None:
    """Adds one to a metric of this invocation."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def cause_of(error: HelpdeskError) -> str | None:
    """The kind of exception behind an error, for its log line."""
    return type(error.__cause__).__name__ if error.__cause__ else None


def enqueue(sqs: "SQSClient", queue_url: str, message: str, source: str, noun: str) -> None:
    """Puts a request into the queue. `noun` is what its caller calls it. Raises UnavailableError."""
    try:
        # On a standard queue the group is for fair shares: one source cannot starve the others.
        sqs.send_message(QueueUrl=queue_url, MessageBody=message, MessageGroupId=source)
    except (ClientError, BotoCoreError) as error:
        detail = f"The queue does not take the {noun}; nothing was kept. Repeat later."
        raise UnavailableError("queue_unavailable", detail) from error


def respond(
    status: int,
    body: Mapping[str, Any] | str | None = None,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> HttpResponse:
    """A response with a JSON body, with a text as it is, or without a body."""
    typed = {} if body is None else {"Content-Type": content_type}
    return {
        "statusCode": status,
        "headers": {"Cache-Control": "no-store", **typed, **(headers or {})},
        "body": body if isinstance(body, str) else "" if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def respond_problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> HttpResponse:
    """RFC 9457, with our stable `code` and the fields of `more`."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **more}
    return respond(status, body, headers, PROBLEM_TYPE)


def respond_error(error: HelpdeskError) -> HttpResponse:
    """What an error means to the caller: a rejection names each wrong field, 429 and 503 may be repeated."""
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    match error:
        case RejectedError():
            status = STATUS_OF_CODE.get(error.code, 422)
            problems = [{"field": problem.field, "problem": problem.problem} for problem in error.problems]
            more = {"errors": problems} if problems else {}
        case UnavailableError():
            status = 429 if error.code == "throttled" else 503
            headers = {"Retry-After": str(max(1, round(error.retry_after or 5)))}
        case OutcomeUnknownError():
            status = 504
        case _:
            status = 502
    return respond_problem(status, error.code, error.message, headers, **more)
