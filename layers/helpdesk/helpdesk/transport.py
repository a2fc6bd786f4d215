"""One HTTP call to a helpdesk: a reply, or an error that says whether anything can have happened."""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from helpdesk.errors import OutcomeUnknownError, UnavailableError

MAX_BODY_BYTES = 8 * 1024 * 1024
# A call with less time than this is not begun: it could only end in doubt.
MIN_CALL_S = 1.0
# A connection idle for longer may have been dropped on the way without a word (NAT, a frozen function),
# and a request sent into it would end in doubt.
MAX_IDLE_S = 20.0


@dataclass(frozen=True)
class Reply:
    """What came back: status, headers with lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _NotConnectedError(Exception):
    """Raised inside urllib3 where no connection came about, so that this is never mistaken for a drop."""


def _connected(connect: Callable[[], None]) -> None:
    try:
        connect()
    except (OSError, urllib3.exceptions.HTTPError, ssl.CertificateError) as error:
        raise _NotConnectedError(_kind_of(error)) from error


class _HttpConnection(HTTPConnection):
    def connect(self) -> None:
        _connected(super().connect)


class _HttpsConnection(HTTPSConnection):
    def connect(self) -> None:
        _connected(super().connect)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """Checks certificates with one TLS context; by default the CA bundle is parsed for every connection."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leaves the check to the context, which requires a certificate and compares the host name."""


def _kind_of(error: BaseException) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "dns_failure"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not isinstance(
        error, urllib3.exceptions.NewConnectionError
    ):
        return "connect_timeout"
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return "tls_failure"
    return "connect_refused"


class Transport:
    """Calls one helpdesk over kept connections; safe to use from many threads.

    It makes one attempt, follows no redirect and never sleeps. `connect_timeout_s` and `read_timeout_s`
    bound each call, and a call's deadline bounds it further.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._base_url = base_url
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._session = requests.Session()
        # Neither a .netrc nor a proxy or bundle from the environment may change where our token goes.
        self._session.trust_env = False
        adapter = _Adapter(tls or ssl.create_default_context(cafile=certifi.where()), connections)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._lock = threading.Lock()
        self._in_use = 0
        self._last_used = time.monotonic()

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """The reply, whatever its status. `deadline` is a moment of `time.monotonic()`.

        Raises:
            UnavailableError: nothing was sent.
            OutcomeUnknownError: the request may have arrived, and no whole reply came back.
        """
        connect_s, finish_by = self._plan(deadline)
        self._begin()
        try:
            return self._exchange(method, path, body, headers, connect_s, finish_by)
        except _NotConnectedError as error:
            raise UnavailableError(str(error), "no connection to the helpdesk") from error
        except (requests.Timeout, TimeoutError, urllib3.exceptions.ReadTimeoutError) as error:
            raise OutcomeUnknownError("read_timeout", "the helpdesk did not answer in time") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise OutcomeUnknownError("connection_lost", "the connection broke before the answer") from error
        finally:
            self._end()

    def _plan(self, deadline: float) -> tuple[float, float]:
        now = time.monotonic()
        left = deadline - now
        if left < MIN_CALL_S:
            raise UnavailableError("out_of_time", "too little time was left to begin the call")
        connect_s = min(self._connect_timeout_s, left / 2)
        return connect_s, min(now + connect_s + self._read_timeout_s, deadline)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        connect_s: float,
        finish_by: float,
    ) -> Reply:
        read_s = min(self._read_timeout_s, finish_by - time.monotonic() - connect_s)
        response = self._session.request(
            method,
            self._base_url + path,
            data=body,
            headers={"Accept-Encoding": "identity", **headers},
            timeout=(connect_s, read_s),
            allow_redirects=False,
            stream=True,
        )
        with response:
            chunks: list[bytes] = []
            size = 0
            # One read at a time: a body that trickles in would outlast any time-out of a single read.
            while chunk := response.raw.read1(65536, decode_content=True):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise OutcomeUnknownError("body_too_large", "the helpdesk's answer is too large")
                if time.monotonic() > finish_by:
                    raise OutcomeUnknownError("read_timeout", "the helpdesk's answer took too long")
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, lower, b"".join(chunks))

    def _begin(self) -> None:
        with self._lock:
            if not self._in_use and time.monotonic() - self._last_used > MAX_IDLE_S:
                for adapter in self._session.adapters.values():
                    adapter.close()
            self._in_use += 1

    def _end(self) -> None:
        with self._lock:
            self._in_use -= 1
            self._last_used = time.monotonic()
