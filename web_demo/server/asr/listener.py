"""A live stream of speech, float32 at SPEECH_RATE, to utterances. Counts samples, knows no clock; CPU work, for a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from web_demo.audio.end_of_turn import CONTEXT_SAMPLES
from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import PADDING_S, Edge, Stretch, TurnDetector

PARTIAL_EVERY_S = 1.0  # of new speech …
STREAMING_EVERY_S = 0.3  # … and where a partial text costs only what is new


@dataclass(frozen=True)
class Began:
    """Somebody speaks: an utterance follows, which begins `start_s` after the start of the stream."""

    start_s: float


@dataclass(frozen=True, eq=False)
class Utterance:
    """`samples` at SPEECH_RATE, beginning `start_s` after the start of the stream; `final` once it has ended."""

    samples: Samples
    start_s: float
    final: bool

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / SPEECH_RATE


Noticed = Began | Utterance


class Listener:
    """Feed samples at SPEECH_RATE; get what is said: that it began, then growing utterances for partial results, then the final
    one.

    An utterance longer than `max_s` is ended there, and the next begins at once. `padding_s` of sound from before its first word
    belong to it. `start`: samples of the stream that came before. `partials`: whether partial results are made of what is new.
    `patience`: asked with the last CONTEXT_S of an utterance at each pause that the detector notices; it says after how many
    seconds of silence the utterance ends, None: as the detector has it.
    """

    def __init__(
        self,
        max_s: float,
        detector: TurnDetector | None = None,
        *,
        padding_s: float = PADDING_S,
        start: int = 0,
        partials: bool = False,
        patience: Callable[[Samples], float | None] | None = None,
    ) -> None:
        self._patience = patience
        self._detector = detector or TurnDetector()
        self._pre_roll = self._detector.pre_roll(padding_s)
        self._limit = int(max_s * SPEECH_RATE)
        self._every = round((STREAMING_EVERY_S if partials else PARTIAL_EVERY_S) * SPEECH_RATE)
        self._kept = Recording(start)  # the pre-roll, or the utterance
        self._partial_at = 0
        self._speaking = self._told = False

    def feed(self, samples: Samples) -> list[Noticed]:
        return [noticed for stretch in self._detector.feed(samples) for noticed in self._take(stretch)]

    def flush(self) -> list[Noticed]:
        """The stream has ended: so has what was being said."""
        return list(self._end()) if self._speaking and len(self._kept) else []

    def cut(self) -> Utterance | None:
        """All that is kept, though nobody may be speaking; None: nothing came. Who goes on speaking is noticed anew."""
        cut = self._utterance(final=True) if len(self._kept) else None
        self.clear()
        return cut

    def clear(self) -> None:
        """Forget what is kept. Who goes on speaking is noticed anew."""
        self._speaking = self._told = False
        self._partial_at = 0
        self._detector.forget()
        self._kept.keep_last(0)

    def _take(self, stretch: Stretch) -> Iterator[Noticed]:
        rest = stretch.samples
        while self._speaking and len(self._kept) + len(rest) >= self._limit:
            room = self._limit - len(self._kept)
            self._kept.append(rest[:room])
            rest = rest[room:]
            yield from self._end()
        self._kept.append(rest)
        if stretch.edge is Edge.BEGAN:
            self._speaking, self._partial_at = True, len(self._kept)
        elif stretch.edge is Edge.PAUSED and self._patience is not None:
            if (silence_s := self._patience(self._kept.samples()[-CONTEXT_SAMPLES:])) is not None:
                self._detector.wait(silence_s)
        elif stretch.edge is Edge.ENDED:
            self._speaking = False
            if len(self._kept):  # else it ended at the limit
                yield from self._end()
        if not self._speaking:
            self._kept.keep_last(self._pre_roll)
        elif len(self._kept):
            yield from self._tell()
            if len(self._kept) - self._partial_at >= self._every:
                self._partial_at = len(self._kept)
                yield self._utterance(final=False)

    def _tell(self) -> Iterator[Began]:
        if not self._told:
            self._told = True
            yield Began(self._kept.start / SPEECH_RATE)

    def _utterance(self, *, final: bool) -> Utterance:
        return Utterance(self._kept.samples(), self._kept.start / SPEECH_RATE, final)

    def _end(self) -> Iterator[Noticed]:
        yield from self._tell()
        yield self._utterance(final=True)
        self._partial_at, self._told = 0, False
        self._kept.keep_last(0)
