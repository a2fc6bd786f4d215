"""What an HTTP reply means, whichever helpdesk it comes from: a body to read, or the error that it is.

Only a body in the helpdesk's own words is a verdict on a request. Who says anything else is not known: a page
or JSON of a web server, a proxy or a framework. Its HTTP status then tells one of three things:

    404 405 406 407 410 411 414 415 421 426 431   no such call is known here: the helpdesk was not reached
    413                                           this request is too large on its way, and stays so: rejected
    400 409 422 and any other                     somebody has read the request: it may have been done
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from helpdesk.clients.transport import Reply
from helpdesk.errors import (
    NotReachedError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)

_LOGIN = re.compile(r"log[\s-]?in\b|sign[\s-]?in\b|password", re.IGNORECASE)
# They are about the address or the form of a call, which all our calls share, and not about one request.
_NOT_REACHED = {404, 405, 406, 407, 410, 411, 414, 415, 421, 426, 431}
_TOO_LARGE = 413
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_MESSAGE = 500
_LONGEST_RETRY_AFTER_S = 86_400.0


@dataclass(frozen=True)
class Success:
    """A body tells, in the helpdesk's own words, that what was asked for is done."""


@dataclass(frozen=True)
class Refusal:
    """A failure that a body tells of, in the helpdesk's own words."""

    message: str
    token_refused: bool = False
    # A failure of the helpdesk's own: it says nothing of the request.
    server_failed: bool = False


type Words = Success | Refusal | None


def json_in(reply: Reply) -> Any:
    """The reply's body, or None where it is empty or no JSON."""
    try:
        body = json.loads(reply.body) if reply.body.strip() else None
    except (ValueError, RecursionError):
        return None
    # Half of a pair of escapes, where a text was cut, is a letter that nothing else takes.
    return _mended(body) if _HALF.search(reply.body) else body


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value


def answered(reply: Reply, words_in: Callable[[Any], Words], redact: Callable[[str], str]) -> Any:
    """The JSON of a reply that is a success; its body is believed before the HTTP status.

    `words_in` reads a body in the helpdesk's own words, None where they are somebody else's: helpdesks send
    failures with status 200 as well. `redact` takes the token out of the helpdesk's words.

    Raises:
        HelpdeskError: as the class says what is to be done.
    """
    body = json_in(reply)
    words = words_in(body)
    refusal = words if isinstance(words, Refusal) else None
    # Cut before as well: looking for the token takes its time. What is left of one that is cut is too little.
    message = refusal.message[: 2 * _LONGEST_MESSAGE] if refusal else f"HTTP {reply.status}"
    message = redact(message)[:_LONGEST_MESSAGE]
    if reply.status in (401, 403) or (refusal and refusal.token_refused):
        raise UnauthorizedError("token_refused", message)
    if 300 <= reply.status < 400:
        _raise_redirected(reply)
    if reply.status == 429 or (reply.status == 503 and "retry-after" in reply.headers):
        code = "rate_limited" if reply.status == 429 else "helpdesk_down"
        raise UnavailableError(code, message, _retry_after(reply.headers.get("retry-after")))
    if refusal and refusal.server_failed:
        raise OutcomeUnknownError("helpdesk_failed", message)
    if reply.status == _TOO_LARGE or (refusal and reply.status < 500):
        raise RejectedError(_rejection_code(reply.status), message)
    if reply.status in _NOT_REACHED and words is None:
        raise NotReachedError("not_the_helpdesk", f"something else than the helpdesk answers: {message}")
    if not 200 <= reply.status < 300:
        raise OutcomeUnknownError(f"http_{reply.status}", message)
    if words is None:
        _raise_unread(reply.body, body)
    return body


def _raise_unread(raw: bytes, body: Any) -> NoReturn:
    if body is not None:
        raise OutcomeUnknownError("unexpected_answer", "the answer says neither success nor failure")
    if _is_login_page(raw):
        raise UnauthorizedError("login_page", "the helpdesk asks us to log in")
    raise OutcomeUnknownError("unreadable_answer", "the helpdesk's answer is no JSON")


def _is_login_page(body: bytes) -> bool:
    # Any other page may stand in the place of an answer to a call that was carried out.
    text = body.decode(errors="replace")
    return text.lstrip("\ufeff \r\n\t").startswith("<") and _LOGIN.search(text) is not None


def _raise_redirected(reply: Reply) -> NoReturn:
    location = reply.headers.get("location", "")
    if _LOGIN.search(location):
        raise UnauthorizedError("login_page", "the helpdesk asks us to log in")
    raise UnavailableError("redirected", "the helpdesk points elsewhere; redirects are not followed")


def _rejection_code(status: int) -> str:
    return {404: "not_found", 409: "conflict", _TOO_LARGE: "too_large"}.get(status, "refused_by_helpdesk")


def _retry_after(value: str | None) -> float | None:
    """Seconds, from seconds or from an HTTP date; None where it makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(seconds, _LONGEST_RETRY_AFTER_S) if seconds >= 0 else None
