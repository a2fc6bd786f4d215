"""The steps of an update that takes several calls, so that it goes on where it stopped."""

from typing import Protocol

# The step that writes an update's comment; its text carries the marker.
COMMENT = "comment"


class Steps(Protocol):
    """What of one request is done. A step that was begun and not done may have happened."""

    @property
    def marker(self) -> str:
        """The request's marker, for a text by which the step is found again."""

    def is_done(self, step: str) -> bool:
        """Whether the step has been done before."""

    def mark_begun(self, step: str) -> None:
        """Remembers that a step is begun which must not be made twice. Raises UnavailableError."""

    def mark_done(self, step: str) -> None:
        """Remembers that a step is done. Raises UnavailableError."""
