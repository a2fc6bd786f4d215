"""What our HTTP connections, those of the helpdesks and those of AWS, do alike."""

from typing import Any


class WritesOnce:
    """Mixed into a connection of urllib3: a request goes out in one piece, and not its headers first.

    That is one system call, one TLS record and one packet instead of two.
    """

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

    def send(self, data: Any) -> None:
        """Keeps the pieces of a request until it is whole."""
        if self._pieces is None:
            super().send(data)  # type: ignore[misc]  # the connection's own
        else:
            self._pieces.append(data)
