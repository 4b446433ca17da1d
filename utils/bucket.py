"""A token bucket: how much of something may come now, if so much may come at once and so much a second."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Full at first, with `capacity`; `rate` a second flow back. `now` is the clock, in seconds."""

    def __init__(self, capacity: float, rate: float, now: Callable[[], float]) -> None:
        self.capacity = capacity
        self.rate = rate
        self._now = now
        self._level = capacity
        self._at = now()

    @property
    def level(self) -> float:
        """What may be taken now; below 0 where more was taken than there was."""
        now = self._now()
        self._level = min(self._level + (now - self._at) * self.rate, self.capacity)
        self._at = now
        return self._level

    @property
    def wait_s(self) -> float:
        """Until nothing is owed any more."""
        return max(-self.level, 0.0) / self.rate

    def take(self, amount: float) -> None:
        self._level = self.level - amount
