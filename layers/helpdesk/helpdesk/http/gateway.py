"""Calls and answers in the form of API Gateway's proxy integration."""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from helpdesk.errors import HelpdeskError, RejectedError, UnavailableError
from helpdesk.http.calls import Call

# The queue takes 1 MiB a message; the rest is for what is filled in on the way.
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
    "unknown_scheme": 401,
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


def call_in(event: Mapping[str, Any]) -> Call:
    """The call as it was sent: its bytes are what a signature is over. Raises RejectedError."""
    body: str = event.get("body") or ""
    if len(body) > MAX_BODY_BYTES * 2:
        raise too_large()
    try:
        raw = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(errors="replace")
    except ValueError as error:
        raise RejectedError("not_json", "the body is not in base64") from error
    if len(raw) > MAX_BODY_BYTES:
        raise too_large()
    return Call(
        headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
        raw=raw,
        path_secret=(event.get("pathParameters") or {}).get("secret"),
    )


def too_large() -> RejectedError:
    """What is said of a body that the queue could not take."""
    return RejectedError("too_large", f"the submission is larger than {MAX_BODY_BYTES} bytes")


def caller_of(event: Mapping[str, Any]) -> str | None:
    """The address from which a call came, by which a refused one can be followed and blocked.

    It is personal data: it stands in the lines of refusals only, for as long as logs are kept.
    """
    address: str | None = event["requestContext"]["identity"].get("sourceIp")
    return address


def unknown_path() -> RejectedError:
    """What is said of a path at which there is nothing."""
    return RejectedError("unknown_path", "Nothing answers at this path.")


def answer(
    status: int,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> dict[str, Any]:
    """An answer with a JSON body, or without any."""
    typed = {"Content-Type": content_type} if body is not None else {}
    return {
        "statusCode": status,
        "headers": {"Cache-Control": "no-store", **typed, **(headers or {})},
        "body": "" if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def plain_answer(text: str) -> dict[str, Any]:
    """A success whose body is the text and nothing else."""
    headers = {"Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"}
    headers["X-Content-Type-Options"] = "nosniff"
    return {"statusCode": 200, "headers": headers, "body": text, "isBase64Encoded": False}


def problem_body(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """RFC 9457, with our stable `code` and what more is known."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **more}


def rejection_body(error: RejectedError) -> dict[str, Any]:
    """What is said of a call that is wrong, with each wrong field; `status` in it is the answer's."""
    errors = [{"field": found.field, "problem": found.problem} for found in error.problems]
    more: dict[str, Any] = {"errors": errors} if errors else {}
    return problem_body(STATUS_OF_CODE.get(error.code, 422), error.code, error.message, **more)


def repeat_later(error: HelpdeskError) -> dict[str, str]:
    """The header that tells when the call may come again."""
    retry_after = error.retry_after if isinstance(error, UnavailableError) else None
    return {"Retry-After": str(max(1, round(retry_after or 5)))}


def problem_of(error: HelpdeskError) -> dict[str, Any]:
    """What is answered instead of a success: the sender may repeat all but a rejection."""
    if isinstance(error, RejectedError):
        body = rejection_body(error)
        return answer(body["status"], body, content_type=PROBLEM_TYPE)
    status = 429 if error.code == "throttled" else 503
    body = problem_body(status, error.code, error.message)
    return answer(status, body, repeat_later(error), PROBLEM_TYPE)
