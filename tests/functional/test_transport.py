"""One HTTP call over real sockets: what went wrong, and whether anything can have happened."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trustme

from helpdesk.clients.transport import MAX_BODY_BYTES, Reply, Transport
from helpdesk.errors import OutcomeUnknownError, UnavailableError
from tests.functional.scripted import RESET, Raw, ScriptedServer, Silence, a_port_that_refuses, scripted
from tests.functional.scripted import Reply as Answer

# No test takes so long, unless it fails.
LONG_S = 30.0


def transport(url: str, **options: Any) -> Transport:
    limits = {"connect_timeout_s": LONG_S, "read_timeout_s": LONG_S}
    return Transport(url, **{**limits, "connections": 10, **options})


def send(over: Transport, *, seconds: float = 2 * LONG_S, **headers: str) -> Reply:
    return over.send("POST", "/path", b"[1]", headers, time.monotonic() + seconds)


def unavailable(over: Transport, **options: Any) -> str:
    with pytest.raises(UnavailableError) as caught:
        send(over, **options)
    return caught.value.code


def in_doubt(over: Transport, **options: Any) -> str:
    with pytest.raises(OutcomeUnknownError) as caught:
        send(over, **options)
    return caught.value.code


@contextmanager
def in_time() -> Iterator[None]:
    """A call that heeds its limits ends long before; one that does not takes longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG_S / 2


class Clock:
    """The monotonic clock, and what a test lets pass on top of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        now = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: now() + self.passed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def at_the_same_time(count: int, call: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(count)]]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# ── the call ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_is_handed_over_whole_whatever_its_status() -> None:
    with scripted(Answer(418, "tea", {"X-Pot": "brown"})) as server:
        reply = send(transport(server.url), Authorization="Basic abc")

        assert (reply.status, reply.headers["x-pot"], reply.body) == (418, "brown", b"tea")
        (call,) = server.calls
        assert (call.method, call.path, call.body) == ("POST", "/path", b"[1]")
        assert call.headers["authorization"] == "Basic abc"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["{other}/elsewhere", "/elsewhere", "http://[", ""])
def test_a_redirect_is_never_followed(status: int, location: str) -> None:
    with scripted(Answer()) as other, scripted() as server:
        server.replies.append(Answer(status, "moved", {"Location": location.format(other=other.url)}))
        reply = send(transport(server.url), Authorization="Basic abc")

        assert (reply.status, reply.body) == (status, b"moved")
        assert len(server.calls) == 1
        assert other.calls == []


def test_nothing_of_an_answer_is_kept_for_the_next_call() -> None:
    with scripted(Answer(headers={"Set-Cookie": "JSESSIONID=old; Path=/"}), Answer()) as server:
        over = transport(server.url)
        send(over)
        send(over)

        assert "cookie" not in server.calls[1].headers


# ── before anything is sent ──────────────────────────────────────────────────────────────────────────────


def test_a_refused_connection_is_unavailable() -> None:
    with a_port_that_refuses() as port:
        assert unavailable(transport(f"http://127.0.0.1:{port}")) == "connect_refused"


def test_an_unknown_name_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert unavailable(transport("https://acme.example.com")) == "dns_failure"


@contextmanager
def a_port_that_answers_nobody() -> Iterator[int]:
    """A listener whose queue is full: it lets no further connection come about."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for connection in waiting:
            connection.close()


def test_a_connection_that_does_not_come_about_is_unavailable() -> None:
    with a_port_that_answers_nobody() as port, in_time():
        assert unavailable(transport(f"http://127.0.0.1:{port}", connect_timeout_s=0.2)) == "connect_timeout"


def named(monkeypatch: pytest.MonkeyPatch, *ports: int, looked_up: Callable[[], None] = lambda: None) -> str:
    """The URL of a name that has an address for each of the ports."""

    def addresses(*_: Any, **__: Any) -> list[Any]:
        looked_up()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    return "http://acme.example.com"


def test_all_addresses_of_a_name_share_one_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_port_that_answers_nobody() as port, in_time():
        url = named(monkeypatch, *[port] * 100)
        assert unavailable(transport(url, connect_timeout_s=0.5)) == "connect_timeout"


def test_a_call_with_little_time_left_ends_in_time_whatever_addresses_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with a_port_that_answers_nobody() as port, in_time():
        url = named(monkeypatch, *[port] * 8)
        assert unavailable(transport(url), seconds=2) == "connect_timeout"


def test_silent_addresses_leave_time_for_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_port_that_answers_nobody() as silent, scripted(Answer(body="here")) as server:
        over = transport(named(monkeypatch, silent, silent, server.port), connect_timeout_s=4)

        assert send(over).body == b"here"


def test_a_refused_address_leaves_all_time_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_port_that_refuses() as refusing, scripted(Answer(body="here")) as server:
        assert send(transport(named(monkeypatch, refusing, server.port))).body == b"here"


def test_a_name_that_is_looked_up_for_too_long_is_not_called(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def slowly() -> None:
        clock.passed += LONG_S

    with scripted(Answer()) as server:
        over = transport(named(monkeypatch, server.port, looked_up=slowly))

        assert unavailable(over) == "connect_timeout"
        assert server.connections == 0


def test_the_connection_and_its_handshake_share_one_time_out(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def slowly() -> None:
        clock.passed += LONG_S - 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = named(monkeypatch, listener.getsockname()[1], looked_up=slowly).replace("http:", "https:")
        began = time.monotonic()

        assert unavailable(transport(url)) == "connect_timeout"
        # Begun anew, the time-out would take as long once more.
        assert time.monotonic() - began < 1.5 * LONG_S


def test_a_handshake_that_is_not_answered_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, in_time():
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        assert unavailable(transport(url, connect_timeout_s=0.2)) == "connect_timeout"


def test_a_call_for_which_no_time_is_left_is_not_begun() -> None:
    with scripted(Answer()) as server:
        assert unavailable(transport(server.url), seconds=0.5) == "out_of_time"
        assert server.connections == 0


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_of_the_right_authority_is_taken(authority: trustme.CA) -> None:
    with scripted(Answer(body="safe"), tls=server_context(authority, "127.0.0.1")) as server:
        assert send(transport(server.url, tls=trusting(authority))).body == b"safe"


def test_an_untrusted_authority_is_refused_before_anything_is_sent(authority: trustme.CA) -> None:
    with scripted(Answer(), tls=server_context(authority, "127.0.0.1")) as server:
        assert unavailable(transport(server.url)) == "tls_failure"
        assert unavailable(transport(server.url, tls=trusting(trustme.CA()))) == "tls_failure"
        assert server.calls == []


def test_a_certificate_for_another_host_is_refused_before_anything_is_sent(authority: trustme.CA) -> None:
    with scripted(Answer(), tls=server_context(authority, "other.example.com")) as server:
        assert unavailable(transport(server.url, tls=trusting(authority))) == "tls_failure"
        assert server.calls == []


def test_a_server_that_speaks_no_tls_is_refused() -> None:
    with scripted(Answer()) as server:
        assert unavailable(transport(server.url.replace("http:", "https:"))) == "tls_failure"
        assert server.calls == []


def test_of_the_trusted_authorities_and_the_right_host_a_certificate_is_taken(trusted: trustme.CA) -> None:
    with scripted(Answer(body=b"safe"), tls=server_context(trusted, "127.0.0.1")) as server:
        assert send(transport(server.url)).body == b"safe"


@pytest.mark.parametrize("host", ["127.0.0.1", "other.example.com"])
def test_of_another_authority_or_host_it_is_refused(host: str, trusted: trustme.CA) -> None:
    issuer = trustme.CA() if host == "127.0.0.1" else trusted
    with scripted(Answer(), tls=server_context(issuer, host)) as server:
        assert unavailable(transport(server.url)) == "tls_failure"
        assert server.calls == []


def test_many_connections_share_one_context(trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counting(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        loads.append(context)
        load(context, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counting)
    together = threading.Barrier(10)
    replies = [Answer(together=together)] * 10
    with scripted(*replies, tls=server_context(trusted, "127.0.0.1")) as server:
        over = transport(server.url)
        at_the_same_time(10, lambda: send(over))

        assert server.connections == 10
    assert len(loads) == 1


# ── after it may have happened ───────────────────────────────────────────────────────────────────────────

HEAD = b"HTTP/1.1 200 OK\r\n"
LATE = {
    "silence": Silence(),
    "headers drip": Raw(HEAD + b"X-Long: " + b"x" * 1000, interval_s=0.05),
    "body drips": Raw(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, interval_s=0.05),
}
BROKEN = {
    "reset": RESET,
    "closed": Raw(b""),
    "cut short": Raw(HEAD + b"Content-Length: 10\r\n\r\nabc"),
    "cut short in a chunk": Raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
    "reset in the body": Raw(HEAD + b"Content-Length: 10\r\n\r\nabc", reset=True),
    "another protocol": Raw(b"220 mail.example.com ESMTP\r\n\r\n"),
    "not as encoded": Raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
}


@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
def test_an_answer_that_is_not_whole_within_the_read_time_out_is_in_doubt(fault: Raw | Silence) -> None:
    with scripted(fault) as server, in_time():
        assert in_doubt(transport(server.url, read_timeout_s=0.4)) == "read_timeout"
        assert server.arrived.acquire(timeout=LONG_S)
        assert len(server.calls) == 1


@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
def test_an_answer_that_is_not_whole_by_the_deadline_is_in_doubt(fault: Raw | Silence) -> None:
    with scripted(fault) as server, in_time():
        # A call with less than a second left is not begun.
        assert in_doubt(transport(server.url), seconds=2) == "read_timeout"
        assert server.arrived.acquire(timeout=LONG_S)
        assert len(server.calls) == 1


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_connection_that_breaks_is_in_doubt_and_the_call_is_not_repeated(fault: Raw) -> None:
    with scripted(fault) as server:
        assert in_doubt(transport(server.url)) == "connection_lost"
        assert len(server.calls) == 1


def test_an_answer_may_be_large_but_not_endless() -> None:
    fits = Answer(body=b"x" * MAX_BODY_BYTES)
    endless = Raw(HEAD + b"\r\n" + b"x" * (MAX_BODY_BYTES + 1))
    with scripted(fits, endless) as server:
        over = transport(server.url)

        assert len(send(over).body) == MAX_BODY_BYTES
        assert in_doubt(over) == "body_too_large"


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────


def test_ten_threads_share_ten_connections_and_keep_them() -> None:
    with scripted() as server:
        over = transport(server.url)
        for _ in range(3):
            server.replies += [Answer(together=threading.Barrier(10))] * 10
            at_the_same_time(10, lambda: send(over))

        assert len(server.calls) == 30
        assert server.connections == 10


def test_a_connection_is_kept_after_every_kind_of_answer() -> None:
    answers = [Answer(), Answer(body="text"), Answer(500, {"a": 1}), Answer(302, "x", {"Location": "/"})]
    with scripted(*answers, *answers) as server:
        over = transport(server.url)
        for _ in answers * 2:
            send(over)

        assert server.connections == 1


def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    closing = Raw(HEAD + b"Content-Length: 2\r\n\r\nok")
    with scripted(closing, Answer(body="ok")) as server:
        over = transport(server.url)
        first = send(over)
        assert server.ended_connections.acquire(timeout=LONG_S)

        assert (first.body, send(over).body) == (b"ok", b"ok")
        assert server.connections == 2


def two_connections(server: ScriptedServer, over: Transport) -> None:
    server.replies += [Answer(together=threading.Barrier(2))] * 2
    at_the_same_time(2, lambda: send(over))


def test_a_connection_idle_for_long_is_replaced_even_while_another_is_busy(clock: Clock) -> None:
    with scripted() as server:
        over = transport(server.url, max_idle_s=5 * LONG_S)
        two_connections(server, over)
        for _ in range(6):
            clock.passed += LONG_S
            server.replies.append(Answer())
            send(over)
        assert server.connections == 2
        two_connections(server, over)

        # The busy one served again, the idle one was not trusted.
        assert server.connections == 3


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────


def test_a_netrc_does_not_replace_our_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with scripted(Answer()) as server:
        send(transport(server.url), Authorization="Basic ours")

        assert server.calls[0].headers["authorization"] == "Basic ours"


def test_a_proxy_of_the_environment_sees_nothing(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    with (
        scripted(Answer()) as proxy,
        scripted(Answer()) as plain,
        scripted(Answer(), tls=server_context(authority, "127.0.0.1")) as secure,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

        assert send(transport(plain.url)).status == 200
        assert send(transport(secure.url, tls=trusting(authority))).status == 200
        assert proxy.connections == 0


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment_neither_adds_nor_takes_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: trustme.CA, name: str
) -> None:
    added, other = tmp_path / "added.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(added))
    trustme.CA().cert_pem.write_to_path(str(other))
    with scripted(Answer(), tls=server_context(authority, "127.0.0.1")) as server:
        monkeypatch.setenv(name, str(added))
        assert unavailable(transport(server.url)) == "tls_failure"

        monkeypatch.setenv(name, str(other))
        assert send(transport(server.url, tls=trusting(authority))).status == 200
