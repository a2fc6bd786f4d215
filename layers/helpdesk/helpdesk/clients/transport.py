"""One HTTP call to a helpdesk: a reply, or an error that says whether anything can have happened."""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import allowed_gai_family

from helpdesk.clients.tls import tls_context
from helpdesk.errors import OutcomeUnknownError, UnavailableError

# The largest reply is a day's list of many thousand tickets.
MAX_BODY_BYTES = 32 * 1024 * 1024
# A call with less time left is not begun: it would probably end in doubt.
MIN_CALL_S = 1.0
# The system sends a lost connection request again after a second.
_LEAST_TRY_S = 1.2
# A connection that was idle for longer may be dead without our knowing (NAT, a frozen function); a request
# sent over it would end in doubt.
MAX_IDLE_S = 20.0

_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "ticket-bridge"}


class Reply(NamedTuple):
    """A helpdesk's reply: status, headers with lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _NotConnectedError(Exception):
    """Raised inside urllib3 where connecting failed, to tell that from a connection that broke later."""


class _TimedReads(io.RawIOBase):
    """A socket's file whose reads share a timeout: a slow trickle would outlast a timeout for each read."""

    def __init__(self, file: io.RawIOBase, connection: socket.socket) -> None:
        self._file = file
        self._connection = connection
        self._finish_by = time.monotonic() + (connection.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._finish_by - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReads(self.fp.detach(), sock))


class _HttpConnection(HTTPConnection):
    response_class = _Response

    def __init__(self, *args: Any, max_idle_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_idle_s = max_idle_s
        self._used_at = time.monotonic()

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, UnicodeError, urllib3.exceptions.HTTPError) as error:
            raise _NotConnectedError(_kind_of(error)) from error

    def _new_conn(self) -> socket.socket:
        """A connection to the first address that takes it. All tries and the handshake share the timeout.

        urllib3 gives each address the whole timeout. Nothing can interrupt the look-up of the name, but its
        time counts, so a call begins in time or not at all.
        """
        connect_by = time.monotonic() + (self.timeout or 0.0)
        host = self._dns_host.strip("[]")
        addresses = socket.getaddrinfo(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        failure: OSError = TimeoutError("no time was left to try an address")
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            left = connect_by - time.monotonic()
            if left <= 0:
                break
            # A silent address must leave time for the next ones, but a slow address needs time too.
            share = max(left / (len(addresses) - place), min(_LEAST_TRY_S, left))
            try:
                return self._connected(socket.socket(family, kind, protocol), address, share, connect_by)
            except OSError as error:
                failure = error
        raise failure

    def _connected(
        self, connection: socket.socket, address: Any, share_s: float, connect_by: float
    ) -> socket.socket:
        try:
            for option in self.socket_options or ():
                connection.setsockopt(*option)
            connection.settimeout(share_s)
            connection.connect(address)
            # For the handshake. Zero would make the socket non-blocking.
            connection.settimeout(max(connect_by - time.monotonic(), 0.001))
        except OSError:
            connection.close()
            raise
        return connection

    def getresponse(self) -> Any:
        self._used_at = time.monotonic()
        return super().getresponse()

    @property
    def is_connected(self) -> bool:
        """The pool asks this before it uses the connection again; if not, it opens the connection anew."""
        return time.monotonic() - self._used_at < self._max_idle_s and super().is_connected


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """Checks certificates with the process's TLS context; by default each connection reads a bundle.

    It is used without a session of requests, which would follow redirects, keep cookies, and read proxies and
    a .netrc from the environment: our token goes to one host only, and no call leaves anything to the next.
    """

    def __init__(self, context: ssl.SSLContext, connections: int, max_idle_s: float) -> None:
        self._context = context
        self._max_idle_s = max_idle_s
        super().__init__(pool_connections=1, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_HttpPool, max_idle_s=self._max_idle_s),
            "https": partial(_HttpsPool, max_idle_s=self._max_idle_s),
        }

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leaves the check to the context, which requires a certificate and compares the host name."""


def _kind_of(error: BaseException) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "dns_failure"
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return "tls_failure"
    return "connect_timeout" if isinstance(error, TimeoutError) else "connect_refused"


class Transport:
    """Calls one helpdesk over kept connections; safe to use from many threads.

    It makes one attempt, follows no redirect and never sleeps. `connect_timeout_s` bounds the time to connect
    over all addresses of the name, `read_timeout_s` the time from the request to the reply's last byte. A
    call's deadline bounds both further.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        connections: int,
        tls: ssl.SSLContext | None = None,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        self._base_url = base_url
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._adapter = _Adapter(tls or tls_context(), connections, max_idle_s)

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """The reply, whatever its status. `deadline` is a moment of `time.monotonic()`.

        Raises:
            UnavailableError: nothing was sent.
            OutcomeUnknownError: the request may have arrived, and no whole reply came back.
        """
        left = deadline - time.monotonic()
        if left < MIN_CALL_S:
            raise UnavailableError("out_of_time", "too little time was left to begin the call")
        connect_s = min(self._connect_timeout_s, left / 2)
        # requests passes it on as it is; its own pairs of seconds have no total.
        timeout: Any = urllib3.Timeout(
            connect=connect_s, read=self._read_timeout_s, total=min(connect_s + self._read_timeout_s, left)
        )
        try:
            return self._exchange(method, path, body, headers, timeout)
        except _NotConnectedError as error:
            raise UnavailableError(str(error), "no connection to the helpdesk") from error
        except (requests.Timeout, TimeoutError, urllib3.exceptions.ReadTimeoutError) as error:
            raise OutcomeUnknownError("read_timeout", "the helpdesk did not answer in time") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise OutcomeUnknownError("connection_lost", "the connection broke before the answer") from error

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: Any
    ) -> Reply:
        request = requests.Request(method, self._base_url + path, {**_HEADERS, **headers}, data=body)
        with self._adapter.send(request.prepare(), stream=True, timeout=timeout) as response:
            chunks: list[bytes] = []
            size = 0
            while chunk := response.raw.read1(65536, decode_content=True):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise OutcomeUnknownError("body_too_large", "the helpdesk's answer is too large")
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, lower, b"".join(chunks))
