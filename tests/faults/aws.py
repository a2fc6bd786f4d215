"""AWS as moto plays it, on loopback: its calls can be refused, lost on the way, or made deadly."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.base_backend import BackendDict
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.model_instances import reset_model_data

_SERVICE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")
_ENTRIES = "PublishBatchRequestEntries.member."


@dataclass(frozen=True)
class AwsCall:
    """A call as it arrived, for example `UpdateItem` with its body."""

    operation: str
    body: str
    url: str
    headers: Mapping[str, str]


type Answer = tuple[int, Mapping[str, str], str | bytes]


@dataclass
class Mishap:
    """What befalls calls in whose body `match` is found: `times` of them, after the first `spared`.

    `refused` is an error code that is answered instead. Otherwise the answer is lost, `before` the call has
    had its effect or `after`, and `strike` is called at that moment. Where the answer is only `held`, that is
    done once the call has succeeded, and the answer follows.
    """

    operation: str
    match: str = ""
    times: int | None = None
    spared: int = 0
    refused: str | None = None
    lost: Literal["before", "after", "held"] = "before"
    strike: Callable[[], None] = field(default=lambda: None)
    hits: int = 0

    def befalls(self, call: AwsCall) -> bool:
        if call.operation != self.operation or not re.search(self.match, call.body):
            return False
        self.hits += 1
        number = self.hits - self.spared
        return number > 0 and (self.times is None or number <= self.times)


class AwsOnLoopback:
    """One account. `mishaps` may be changed at any time; the first that fits a call befalls it."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[AwsCall] = []
        self.mishaps: list[Mishap] = []
        # Publishing refuses the entries that hold this text.
        self.refused_entry: str | None = None
        # Writes of one item are one at a time on AWS; in moto threads would see each other's halves.
        self._lock = threading.RLock()
        self._moto = BotocoreStubber()

    @contextmanager
    def running(self) -> Iterator["AwsOnLoopback"]:
        """Listens while the block lasts."""
        with _Server(("127.0.0.1", 0), _Handler) as server:
            server.aws = self
            self.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield self
            server.shutdown()

    def reset(self) -> None:
        """An empty account without mishaps."""
        with self._lock:
            BackendDict.reset()
            reset_model_data()
        self.calls.clear()
        self.mishaps.clear()
        self.refused_entry = None

    def writes(self) -> int:
        """How many times an item was written, or asked to be."""
        return sum(call.operation in ("PutItem", "UpdateItem") for call in self.calls)

    def answer(self, call: AwsCall) -> Answer | None:
        """None where the answer is lost."""
        with self._lock:
            self.calls.append(call)
            mishap = next((mishap for mishap in self.mishaps if mishap.befalls(call)), None)
        if mishap and mishap.refused:
            return _refusal(call, mishap.refused)
        if mishap and mishap.lost == "before":
            mishap.strike()
            return None
        if call.operation == "PublishBatch" and self.refused_entry:
            return self._publish_partly(call, self.refused_entry)
        answer = self._perform(call)
        if mishap and (mishap.lost == "after" or answer[0] == 200):
            mishap.strike()
        return None if mishap and mishap.lost == "after" else answer

    def _perform(self, call: AwsCall) -> Answer:
        headers = HTTPHeaders()
        for name, value in call.headers.items():
            headers[name] = value
        request = AWSPreparedRequest("POST", call.url, headers, call.body.encode(), stream_output=False)
        with self._lock:
            performed = self._moto.process_request(request)
        assert performed, f"moto knows no {call.operation}"
        return performed

    def _publish_partly(self, call: AwsCall, refused: str) -> Answer:
        fields = parse_qsl(call.body, keep_blank_values=True)
        entries: dict[str, dict[str, str]] = {}
        for name, value in fields:
            if name.startswith(_ENTRIES):
                place, _, inner = name.removeprefix(_ENTRIES).partition(".")
                entries.setdefault(place, {})[inner] = value
        kept = [entry for entry in entries.values() if refused not in entry["Message"]]
        failed = "".join(
            f"<member><Id>{entry['Id']}</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member>"
            for entry in entries.values()
            if entry not in kept
        )
        answer = "<PublishBatchResponse><PublishBatchResult></PublishBatchResult></PublishBatchResponse>"
        if kept:
            rest = [(name, value) for name, value in fields if not name.startswith(_ENTRIES)]
            rest += [
                (f"{_ENTRIES}{place}.{inner}", value)
                for place, entry in enumerate(kept, 1)
                for inner, value in entry.items()
            ]
            answer = str(self._perform(replace(call, body=urlencode(rest)))[2])
        answer = re.sub(r"<Failed\s*/>|<Failed>.*?</Failed>", "", answer)
        answer = answer.replace("</PublishBatchResult>", f"<Failed>{failed}</Failed></PublishBatchResult>")
        return 200, {"Content-Type": "text/xml"}, answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    aws: AwsOnLoopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: clients that are killed are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = self.server.aws.answer(_call_in(body, dict(self.headers)))
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, said = answer
        content = said.encode() if isinstance(said, str) else said
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "date", "server", "connection"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the library
        """Says nothing."""


def _call_in(body: str, headers: Mapping[str, str]) -> AwsCall:
    lower = {name.lower(): value for name, value in headers.items()}
    signed = _SERVICE.search(lower["authorization"])
    assert signed, "the call is not signed"
    region, service = signed.groups()
    operation = lower.get("x-amz-target", "").rpartition(".")[2] or dict(parse_qsl(body)).get("Action", "")
    return AwsCall(operation, body, f"https://{service}.{region}.amazonaws.com/", headers)


def _refusal(call: AwsCall, code: str) -> Answer:
    if call.body.startswith("{"):
        said = json.dumps({"__type": code, "message": "made up by a test"})
        return 400, {"Content-Type": "application/x-amz-json-1.0"}, said
    said = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
    return 400, {"Content-Type": "text/xml"}, said
