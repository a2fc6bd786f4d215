"""What an HTTP reply of any helpdesk means: a body to read, or an error.

Only a body in the helpdesk's own words is a verdict on a request. Any other body may come from a web server,
a proxy or a framework. The HTTP status then means:

    404 405 406 407 410 411 414 415 421 426 431   the sender knows no such call: the helpdesk was not reached
    413                                           this request is and stays too large on its way: rejected
    400 409 422 and any other                     somebody has read the request: it may have been executed
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, NoReturn

from helpdesk.clients.transport import Reply
from helpdesk.errors import (
    NotReachedError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)

_LOGIN = re.compile(r"log[\s-]?in\b|sign[\s-]?in\b|password", re.IGNORECASE)
# They are about the address or the form of a call, which all our calls share, not about this request.
_NOT_REACHED = {404, 405, 406, 407, 410, 411, 414, 415, 421, 426, 431}
_TOO_LARGE = 413
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_MESSAGE = 500
_LONGEST_RETRY_AFTER_S = 86_400.0


class Success:
    """A body that says, in the helpdesk's own words, that the call succeeded."""


class Refusal(NamedTuple):
    """A body that says, in the helpdesk's own words, that the call failed."""

    message: str
    token_refused: bool = False
    # The helpdesk itself failed: that is no verdict on the request.
    server_failed: bool = False


type Words = Success | Refusal | None


def json_in(reply: Reply) -> Any:
    """The reply's body; None where it is empty or not JSON."""
    try:
        body = json.loads(reply.body) if reply.body.strip() else None
    except (ValueError, RecursionError):
        return None
    # A text cut inside a surrogate pair leaves half of it, which nothing else can encode.
    return _mended(body) if _HALF_PAIR.search(reply.body) else body


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value


def decode_reply(reply: Reply, words_in: Callable[[Any], Words], redact: Callable[[str], str]) -> Any:
    """The JSON of a reply that is a success; its body counts more than its HTTP status.

    `words_in` reads a body in the helpdesk's own words, since helpdesks send failures with status 200 too; it
    returns None for any other body. `redact` removes the token from the helpdesk's words.

    Raises:
        HelpdeskError: its class says what to do.
    """
    body = json_in(reply)
    words = words_in(body)
    refusal = words if isinstance(words, Refusal) else None
    # Cut before too, since the search for the token takes time. The rest of a token that is cut is useless.
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
    # Any other page may have replaced the reply to a call that was executed.
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
    """Seconds, from a number or an HTTP date; None where it is neither."""
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
