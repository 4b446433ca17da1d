"""Which running turns get a frame now. Pure: the time is passed in, in seconds of one monotonic clock.

A live answer is heard in real time, so frames made long before they are heard help nobody, and take the device from those
who wait for their first sound. A turn's lead is the sound that it has made and that cannot have been heard yet:

- while somebody has not made a first window, those and all whose lead is under `SOON_S` run: a frame of a few rows takes a
  third of a frame of many;
- otherwise, as soon as one falls under `LOW_S`, all that have less than `HIGH_S` run together until each has `FILLED_S`: a
  frame of many rows costs the least for each of them;
- otherwise nobody runs, and the device is free for what else lives on it: for `REST_S` also when all that would run have just
  made their first window, whose sound somebody waits for.

A turn that is not heard live (a call of functions, an answer in text alone) runs in every iteration.
"""

from __future__ import annotations

from collections.abc import Sequence

from web_demo.models.funaudiochat.engine.sequence import Turn

# A window of two seconds of speech codes must be whole, with the codes that the detokenizer looks ahead, before the sound
# of the one before it has been heard: 2.1 s, and some time to make its sound.
SOON_S = 2.5
FIRST_S = (
    1.0  # frames until there is a first window: four of codes (twenty, three of them looked ahead), after one without
)
REST_S = 0.04  # more than the sound of a first window takes, alone
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
        live = [turn for turn in running if turn.request.live]
        limit = self._limit(live, now)
        due = [turn for turn in running if hurry or not turn.request.live or self.lead(turn, now) < limit]
        return () if self._rest_s(due, now) > 0 else tuple(due)

    def _limit(self, live: Sequence[Turn], now: float) -> float:
        """Who has less than this in hand runs."""
        least = min((self.lead(turn, now) for turn in live), default=HIGH_S)
        self._filling = least < (FILLED_S if self._filling else LOW_S)
        if any(self._made_s(turn) < FIRST_S for turn in live):
            return SOON_S
        return HIGH_S if self._filling else 0.0

    def _made_s(self, turn: Turn) -> float:
        return turn.generated * self._frame_s

    def _rest_s(self, due: Sequence[Turn], now: float) -> float:
        """Seconds in which the device is left to the sound of first windows; 0 when any of `due` has something else to make."""
        rests = []
        for turn in due:
            first = turn.request.live and FIRST_S <= self._made_s(turn) < FIRST_S + self._frame_s
            if first and turn.first_window is None:
                turn.first_window = now
            rests.append(turn.first_window + REST_S - now if first and turn.first_window is not None else 0.0)
        return max(0.0, min(rests, default=0.0))

    def idle_s(self, running: Sequence[Turn], now: float) -> float:
        """Seconds until the next of them is due; 0: now."""
        if self.due(running, now):
            return 0.0
        live = [turn for turn in running if turn.request.live]
        limit = self._limit(live, now)
        if rest_s := self._rest_s([turn for turn in live if self.lead(turn, now) < limit], now):
            return rest_s
        return max(0.0, min((self.lead(turn, now) for turn in live), default=0.0) - LOW_S)
