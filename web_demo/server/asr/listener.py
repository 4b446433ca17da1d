"""A live stream of speech to utterances: pure but for the voice-activity model. Counts samples, knows no clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import FRAME_SAMPLES, Edge, Endpointer, VoiceDetector

PRE_ROLL_S = 0.5  # sound kept from before the moment at which speech was noticed
PARTIAL_EVERY_S = 1.0  # of new speech


@dataclass(frozen=True, eq=False)
class Utterance:
    """`samples` at SPEECH_RATE, beginning `start_s` after the start of the stream; `final` once it has ended."""

    samples: Samples
    start_s: float
    final: bool

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / SPEECH_RATE


class Listener:
    """Feed samples at SPEECH_RATE; get utterances: growing ones for partial results, then the final one.

    An utterance longer than `max_s` is ended there, and the next begins at once.
    """

    def __init__(self, max_s: float) -> None:
        self._detector = VoiceDetector()
        self._ends = Endpointer()
        self._limit = int(max_s * SPEECH_RATE)
        self._kept = np.zeros(0, np.float32)  # the end of what was fed: the pre-roll, or the utterance
        self._kept_from = 0  # position of its first sample in the stream
        self._partial_at = 0
        self._speaking = False

    def feed(self, samples: Samples) -> list[Utterance]:
        found: list[Utterance] = []
        for start in range(0, len(samples), FRAME_SAMPLES):
            found += self._feed_frame(samples[start : start + FRAME_SAMPLES])
        return found

    def flush(self) -> list[Utterance]:
        """The stream has ended: so has what was being said."""
        return [self._end()] if self._speaking else []

    def _feed_frame(self, frame: Samples) -> list[Utterance]:
        self._kept = np.concatenate((self._kept, frame))
        edges = {self._ends.feed(probability) for probability in self._detector.feed(frame)}
        if Edge.BEGAN in edges:
            self._speaking, self._partial_at = True, len(self._kept)
        if self._speaking and (Edge.ENDED in edges or len(self._kept) >= self._limit):
            return [self._end(goes_on=Edge.ENDED not in edges)]
        if not self._speaking:
            self._keep_last(round(PRE_ROLL_S * SPEECH_RATE))
        elif len(self._kept) - self._partial_at >= PARTIAL_EVERY_S * SPEECH_RATE:
            self._partial_at = len(self._kept)
            return [self._utterance(final=False)]
        return []

    def _utterance(self, *, final: bool) -> Utterance:
        return Utterance(self._kept, self._kept_from / SPEECH_RATE, final)

    def _end(self, *, goes_on: bool = False) -> Utterance:
        ended = self._utterance(final=True)
        self._speaking, self._partial_at = goes_on, 0
        self._keep_last(0)
        return ended

    def _keep_last(self, samples: int) -> None:
        surplus = max(len(self._kept) - samples, 0)
        self._kept = self._kept[surplus:]
        self._kept_from += surplus
