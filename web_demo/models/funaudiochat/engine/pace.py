"""Which running turns get a frame now. Pure: the time is passed in, in seconds of one monotonic clock.

A live answer is heard in real time, so frames made long before they are heard help nobody, and take the device from those
who wait for their first sound. A turn's lead is the sound that it has made and that cannot have been heard yet:

- turns with a lead under `SOON_S`, new ones first of all, run alone: a frame of a few rows takes a third of a frame of many;
- otherwise, as soon as one falls under `LOW_S`, all that have less than `HIGH_S` run together until each has `FILLED_S`: a
  frame of many rows costs the least for each of them;
- otherwise nobody runs, and the device is free for what else lives on it.

A turn that is not heard live (a call of functions, an answer in text alone) runs in every iteration.
"""

from __future__ import annotations

from collections.abc import Sequence

from web_demo.models.funaudiochat.engine.sequence import Turn

# A window of two seconds of speech codes must be whole, with the codes that the detokenizer looks ahead, before the sound
# of the one before it has been heard: 2.1 s, and some time to make its sound.
SOON_S = 2.5
LOW_S = 3.5
FILLED_S = 4.5
HIGH_S = 6.0


class Pace:
    """`frame_s`: seconds of sound in a frame."""

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._filling = False

    def lead(self, turn: Turn, now: float) -> float:
        """Seconds; 0 before the first frame, below 0 for a turn that is late."""
        return 0.0 if turn.began is None else turn.generated * self._frame_s - (now - turn.began)

    def due(self, running: Sequence[Turn], now: float, *, hurry: bool = False) -> tuple[Turn, ...]:
        """Those that run in this iteration, in the order given. `hurry`: nobody is held back, because others wait for the
        places of those that run."""
        leads = [self.lead(turn, now) for turn in running if turn.request.live]
        limit = self._limit(min(leads, default=HIGH_S))
        return tuple(turn for turn in running if hurry or not turn.request.live or self.lead(turn, now) < limit)

    def _limit(self, least: float) -> float:
        self._filling = least < (FILLED_S if self._filling else LOW_S)
        if least < SOON_S:
            return SOON_S
        return HIGH_S if self._filling else 0.0

    def idle_s(self, running: Sequence[Turn], now: float) -> float:
        """Seconds until the next of them is due; 0: now."""
        if any(not turn.request.live for turn in running):
            return 0.0
        least = min(self.lead(turn, now) for turn in running)
        return 0.0 if self._filling and least < FILLED_S else max(0.0, least - LOW_S)
