"""Calls and answers in the form of API Gateway's proxy integration."""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from helpdesk.errors import HelpdeskError, RejectedError, UnavailableError
from helpdesk.intake.signatures import Call

# The queue takes 1 MiB a message; the rest is for what is filled in on the way.
MAX_BODY_BYTES = 1_000_000
# A rejection is 422 unless its code is here.
STATUS_OF_CODE = {
    "not_json": 400,
    "unexpected_body": 400,
    "too_large": 413,
    "unsupported_media_type": 415,
    "secret_missing": 401,
    "signature_missing": 401,
    "timestamp_missing": 401,
    "timestamp_outside_window": 401,
    "unknown_scheme": 401,
    "wrong_secret": 401,
    "wrong_signature": 401,
    "unknown_path": 404,
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


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """RFC 9457, with our stable `code` and what more is known."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **more}
    return answer(status, body, headers, "application/problem+json")


def problem_of(error: HelpdeskError) -> dict[str, Any]:
    """What is answered instead of a success: the sender may repeat all but a rejection."""
    if isinstance(error, RejectedError):
        errors = [{"field": found.field, "problem": found.problem} for found in error.problems]
        more: dict[str, Any] = {"errors": errors} if errors else {}
        return problem(STATUS_OF_CODE.get(error.code, 422), error.code, error.message, **more)
    retry_after = error.retry_after if isinstance(error, UnavailableError) else None
    headers = {"Retry-After": str(max(1, round(retry_after or 5)))}
    status = 429 if error.code == "throttled" else 503
    return problem(status, error.code, error.message, headers)
