"""A live stream of speech, float32 at SPEECH_RATE, to utterances. Counts samples, knows no clock; CPU work, for a thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import PADDING_S, Edge, Stretch, TurnDetector

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

    def __init__(self, max_s: float, detector: TurnDetector | None = None) -> None:
        self._detector = detector or TurnDetector()
        self._pre_roll = self._detector.pre_roll(PADDING_S)
        self._limit = int(max_s * SPEECH_RATE)
        self._kept = Recording()  # the pre-roll, or the utterance
        self._partial_at = 0
        self._speaking = False

    def feed(self, samples: Samples) -> list[Utterance]:
        return [utterance for stretch in self._detector.feed(samples) for utterance in self._take(stretch)]

    def flush(self) -> list[Utterance]:
        """The stream has ended: so has what was being said."""
        return [self._end()] if self._speaking and len(self._kept) else []

    def _take(self, stretch: Stretch) -> Iterator[Utterance]:
        rest = stretch.samples
        while self._speaking and len(self._kept) + len(rest) >= self._limit:
            room = self._limit - len(self._kept)
            self._kept.append(rest[:room])
            rest = rest[room:]
            yield self._end()
        self._kept.append(rest)
        if stretch.edge is Edge.BEGAN:
            self._speaking, self._partial_at = True, len(self._kept)
        elif stretch.edge is Edge.ENDED:
            self._speaking = False
            if len(self._kept):  # else it ended at the limit
                yield self._end()
        if not self._speaking:
            self._kept.keep_last(self._pre_roll)
        elif len(self._kept) - self._partial_at >= PARTIAL_EVERY_S * SPEECH_RATE:
            self._partial_at = len(self._kept)
            yield self._utterance(final=False)

    def _utterance(self, *, final: bool) -> Utterance:
        return Utterance(self._kept.samples(), self._kept.start / SPEECH_RATE, final)

    def _end(self) -> Utterance:
        ended = self._utterance(final=True)
        self._partial_at = 0
        self._kept.keep_last(0)
        return ended
