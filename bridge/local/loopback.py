"""Who may call what `bridge up` starts: programs of this machine, and no page of another place.

A page of any site can make a browser call loopback, and can point a name of its own there. Such a call has a
foreign Host, or an Origin, or (a picture, a link) a Sec-Fetch-Site that a browser does not let a page set.
Programs such as curl, the AWS CLI and boto3 send none of the last two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from aiohttp.typedefs import Handler

    type Message = MutableMapping[str, Any]
    type Receive = Callable[[], Awaitable[Message]]
    type Send = Callable[[Message], Awaitable[None]]
    type Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

# Names below localhost lead to loopback whoever asks (RFC 6761): S3 and API Gateway have such addresses.
_OWN_HOST = re.compile(r"(127\.0\.0\.1|\[::1\]|([a-z0-9-]+\.)*localhost)", re.IGNORECASE)
WORDS = "This answers to programs of this machine, and to no page of another place."


def is_own_host(host: str, port: int) -> bool:
    """Whether the Host header names loopback at this port."""
    name, _, given = host.rpartition(":")
    return given == str(port) and _OWN_HOST.fullmatch(name) is not None


def is_foreign(headers: Iterable[tuple[str, str]], port: int) -> bool:
    """Whether a call, of which these are the headers, comes from a page of another place.

    Names of headers are in lower case.
    """
    given = list(headers)
    hosts = [value for name, value in given if name == "host"]
    origins = [value for name, value in given if name == "origin"]
    sites = [value for name, value in given if name == "sec-fetch-site"]
    return (
        len(hosts) != 1
        or not is_own_host(hosts[0], port)
        or any(origin != f"http://{hosts[0]}" for origin in origins)
        or any(site not in ("same-origin", "none") for site in sites)
    )


@web.middleware
async def guarded_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses calls of pages of another place."""
    port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
    if is_foreign(((name.lower(), value) for name, value in request.headers.items()), port):
        return web.json_response({"errors": [WORDS]}, status=403)
    return await handler(request)


def guarded(app: Asgi) -> Asgi:
    """The same for an ASGI application, whose answers let no page of another place read them either."""

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        if not is_foreign(headers, scope["server"][1]):
            await app(scope, receive, _without_sharing(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            plain = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": plain})
            await send({"type": "http.response.body", "body": WORDS.encode()})

    return guard


def _without_sharing(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if "headers" in message:
            kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)

    return sent
