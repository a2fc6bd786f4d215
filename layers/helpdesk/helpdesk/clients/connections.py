"""What our HTTP connections, those of the helpdesks and those of AWS, do alike."""

import socket
from typing import Any

# Linux only.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class WritesOnce:
    """Mixed into a connection of urllib3: a request goes out in one piece, and not its headers first.

    That is one system call, one TLS record and one packet instead of two.
    """

    sock: socket.socket | None
    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Sends a request whose body is bytes."""
        self._pieces = []
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # the connection's own
            pieces = self._pieces
        finally:
            self._pieces = None
        self.send(b"".join(pieces))
        if _QUICK_ACK is not None and self.sock is not None:
            # Of a new TLS connection the server's tickets wait for our word, and with Nagle's algorithm its
            # first answer waits for them. A second piece would carry it; else the system lets it wait 40 ms.
            self.sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def send(self, data: Any) -> None:
        """Keeps the pieces of a request until it is whole."""
        if self._pieces is None:
            super().send(data)  # type: ignore[misc]  # the connection's own
        else:
            self._pieces.append(data)
