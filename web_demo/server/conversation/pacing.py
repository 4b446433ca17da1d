"""When the audio of an answer is due, and how much of it has been played. Pure: the time is passed in.

Positions count samples of the answer, times are seconds of one monotonic clock. The listener is thought to play from
the moment the first sample was sent, so the stream runs `prebuffer_s` ahead of real time and no further: enough to bridge a
stall of the network, little enough that an interruption leaves little to throw away.
"""

from __future__ import annotations


class SampleClock:
    def __init__(self, rate: int, prebuffer_s: float) -> None:
        self._rate = rate
        self._prebuffer_s = prebuffer_s
        self._origin: float | None = None  # when sample 0 would have been played

    def due(self, position: int, now: float) -> float:
        """When the audio that begins at `position` may be sent; never later than its time of playing.

        If the listener has run dry by then (the producer was late), the clock starts anew from here: the gap is not
        made up for by a burst beyond the prebuffer.
        """
        plays_at = position / self._rate + (now if self._origin is None else self._origin)
        if self._origin is None or plays_at < now:
            self._origin = now - position / self._rate
            return now
        return max(plays_at - self._prebuffer_s, 0.0)

    def plays_at(self, position: int) -> float:
        """When the listener plays what begins at `position`, of which something was due."""
        return (self._origin or 0.0) + position / self._rate

    def runs_dry_at(self, sent: int, now: float) -> float:
        """When a listener who got `sent` samples has nothing left to play; 0 before the first."""
        return 0.0 if self._origin is None else max(self._origin + sent / self._rate, now)

    def played(self, sent: int, now: float) -> int:
        """How many of the `sent` samples the listener can have played."""
        if self._origin is None:
            return 0
        return max(0, min(sent, round((now - self._origin) * self._rate)))
