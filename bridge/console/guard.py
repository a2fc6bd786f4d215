"""Who may talk to the console: this machine, whoever was given the address, and only the console's own page.

A page of another site can make a browser send requests to loopback, and a name of its own point there. And
another user of this machine can connect to it. So the address holds a key, the Host header must be
loopback's, and whatever acts needs a token that stands in the page.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from bridge.local.loopback import is_own_host

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

TOKEN_HEADER = "X-Console-Token"  # noqa: S105 - a name
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Guard:
    """The secrets of one start of the console: `key` is part of the address, `token` stands in the page."""

    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def middleware(self) -> Middleware:
        """Refuses what may not come in, and tells browsers what the page may do."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            try:
                answer = refusal or await handler(request)
            except web.HTTPException as error:
                answer = web.json_response({"error": error.reason}, status=error.status)
            answer.headers.update(_HEADERS)
            return answer

        return guarded

    def _refusal(self, request: web.Request) -> web.Response | None:
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        if not is_own_host(request.host, port):
            return _refused(403, "The console answers to its own address only.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            return _refused(403, "Only the console's own page may do this.")
        if not hmac.compare_digest(request.path.split("/")[1].encode(), self.key.encode()):
            return _refused(404, "The address is not complete: use the whole of what bridge has printed.")
        if request.method == "GET":
            return None
        if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self.token.encode()):
            return _refused(403, "The page is of an earlier start of the console: load it anew.")
        return None


def _refused(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status)
