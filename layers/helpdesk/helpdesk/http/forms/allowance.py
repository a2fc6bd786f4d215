"""How many submissions of a form an instance takes: a flood on one form leaves the others alone."""

from collections.abc import Callable


class Allowance:
    """`burst` at once, and `rate` a second from then on."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._left = self._burst
        # Not the clock: a snapshot may be older than the first call.
        self._at = float("-inf")

    def take(self) -> float:
        """0 where another submission may pass, which is counted; otherwise the seconds until it may."""
        now = self._clock()
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0
