"""What is mixed into every HTTP connection, without a network."""

import socket

import pytest

from helpdesk.clients.connections import WritesOnce


class _WrongError(Exception):
    pass


class _Socket:
    def __init__(self) -> None:
        self.options: list[tuple[int, ...]] = []

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)


class _Sends:
    """As urllib3's connection does it: the head, then each part of the body."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.sock: _Socket | None = _Socket()

    def request(self, *parts: bytes) -> None:
        for part in parts:
            if part == b"wrong":
                raise _WrongError
            self.send(part)

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class _Connection(WritesOnce, _Sends):  # type: ignore[misc]  # its socket is a double
    pass


def test_a_request_is_one_piece_and_what_was_received_is_acknowledged() -> None:
    connection = _Connection()

    connection.request(b"head", b"body")

    assert connection.sent == [b"headbody"]
    assert isinstance(connection.sock, _Socket)
    if hasattr(socket, "TCP_QUICKACK"):
        assert connection.sock.options == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)]


def test_nothing_of_a_request_that_could_not_be_made_is_sent_with_the_next() -> None:
    connection = _Connection()

    with pytest.raises(_WrongError):
        connection.request(b"head", b"wrong")
    assert connection.sent == []
    connection.request(b"next")
    assert connection.sent == [b"next"]
