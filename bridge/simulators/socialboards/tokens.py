"""The access tokens of a simulated Socialboards account, and the call that mints them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable

_FORM = "application/x-www-form-urlencoded"


class TokenRefusedError(Exception):
    """No token is minted. `error` is the OAuth 2 word (inferred: failures are undocumented)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class AccessTokens:
    """The tokens that were minted and have not been expired by hand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def mint(self, life_s: int) -> str:
        """A new token. The vendor's sample is a JWT, which no client has a reason to read; ours is random."""
        token = ".".join(secrets.token_urlsafe(size) for size in (27, 120, 64))
        self._ends[token] = self._clock() + life_s
        return token

    def accepts(self, authorization: str | None) -> bool:
        """Whether the header holds a living token; the scheme is spelt `Bearer` there (documented)."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme == "Bearer" and self._clock() < self._ends.get(token, 0)

    def expire(self) -> int:
        """End every token now; returns how many were alive."""
        now = self._clock()
        alive = sum(end > now for end in list(self._ends.values()))
        self._ends.clear()
        return alive


def refresh_token_of(body: bytes, content_type: str, client_id: str) -> str:
    """The refresh token out of a request that is otherwise right. Raises TokenRefusedError."""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise TokenRefusedError("invalid_request", f"The body must be {_FORM}")
    fields = parse_qs(body.decode(errors="replace"))
    missing = [name for name in ("grant_type", "refresh_token", "client_id") if name not in fields]
    if missing:
        raise TokenRefusedError("invalid_request", f"Missing: {', '.join(missing)}")
    if fields["grant_type"] != ["refresh_token"]:
        raise TokenRefusedError("unsupported_grant_type", "grant_type must be refresh_token")
    if fields["client_id"] != [client_id]:
        raise TokenRefusedError("invalid_client", "Unknown client_id")
    return fields["refresh_token"][-1]
