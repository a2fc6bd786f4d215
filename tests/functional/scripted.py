"""A server on loopback that answers from a list and keeps what it was sent."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Nobody waits for so long, unless a test fails.
_LONG_S = 30
# Closing sends RST.
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Call:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer; a body that is no text and no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    # Answered when so many calls have arrived.
    together: threading.Barrier | None = None

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Raw:
    """Bytes instead of an answer, one after the other if `interval_s` is given; then the connection ends."""

    content: bytes
    interval_s: float = 0
    reset: bool = False


@dataclass(frozen=True)
class Silence:
    """No answer, for as long as the server lives."""


RESET = Raw(b"", reset=True)


class ScriptedServer(ThreadingHTTPServer):
    """Gives each call the next of `replies`; when there is none left, status 599."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *replies: Reply | Raw | Silence, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
        self.calls: list[Call] = []
        # One for each of `calls`: a caller that gives up may be quicker than the server.
        self.arrived = threading.Semaphore(0)
        self.connections = 0
        self.ended_connections = threading.Semaphore(0)
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self._tls = tls
        if tls:
            # The handshake is left to the connection's own thread.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def take(self, call: Call) -> Reply | Raw | Silence:
        with self.lock:
            self.calls.append(call)
            self.arrived.release()
            return self.replies.pop(0) if self.replies else Reply(599, "no reply is left")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: clients that break off are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedServer

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.connection.close()
        self.server.ended_connections.release()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        match self.server.take(Call(self.command, self.path, headers, body)):
            case Reply() as reply:
                if reply.together:
                    reply.together.wait(_LONG_S)
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.content)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.content)
            case Raw() as raw:
                self._send_raw(raw)
            case Silence():
                self.server.stopping.wait()
                self.close_connection = True

    do_GET = do_POST = _answer  # noqa: N815  # http.server's names

    def _send_raw(self, raw: Raw) -> None:
        self.close_connection = True
        if raw.interval_s:
            for byte in raw.content:
                self.wfile.write(bytes([byte]))
                if self.server.stopping.wait(raw.interval_s):
                    return
        else:
            self.wfile.write(raw.content)
        if raw.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        """Says nothing."""


@contextmanager
def scripted(*replies: Reply | Raw | Silence, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """A server for as long as the block lasts."""
    server = ScriptedServer(*replies, tls=tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def a_port_that_refuses() -> Iterator[int]:
    """A port on which nobody listens, kept from all others while the block lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
