"""One request for speech: its pieces of text, each spoken by an utterance of the LM and a stream of the vocoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from web_demo.audio.samples import Samples

from ..lm.batch import Utterance
from ..lm.generate import LmInput, SilenceFilter
from ..voices import Voice
from .token2wav import Stream


@dataclass(frozen=True, eq=False)
class Finished:
    """The last event of a job; `error` is what stopped it early."""

    error: Exception | None = None


Event = Samples | Finished


@dataclass(eq=False)
class Speaking:
    """A piece being spoken. Its tokens are kept until it is the one to be heard and has a stream; a piece of another
    speed than 1 never has one."""

    utterance: Utterance
    stream: Stream | None = None
    tokens: list[int] = field(default_factory=list)  # without what the silence filter dropped
    _silence: SilenceFilter = field(default_factory=SilenceFilter)
    _taken: int = 0  # tokens of the utterance seen
    _fed: int = 0  # tokens given to the stream

    def pass_tokens(self) -> None:
        """Hand what the LM made to the stream, with its end."""
        new = self.utterance.tokens[self._taken :]
        self._taken += len(new)
        self.tokens += [token for token in new if self._silence.keep(token)]
        if self.stream is not None and not self.stream.cursor.ended:
            self.stream.feed(self.tokens[self._fed :][: self.stream.cursor.room], last=self.utterance.ended)
            self._fed = len(self.tokens)

    @property
    def spoken(self) -> bool:
        """Nothing more will come out of the stream."""
        return self.stream is not None and self.stream.cursor.ended and self.stream.cursor.ready() is None


@dataclass(eq=False)
class Job:
    """`emit` is called from the synthesizer's thread, with `Finished` last; not after `cancelled` was set."""

    pieces: deque[LmInput]
    voice: Voice
    seed: int
    emit: Callable[[Event], None]
    speed: float = 1.0
    cancelled: bool = False
    speaking: deque[Speaking] = field(default_factory=deque)
    first_at: float | None = None  # time of the first sound
    samples: int = 0
    chunks: int = 0

    @property
    def done(self) -> bool:
        return not self.pieces and not self.speaking

    def deadline(self, rate: int) -> float:
        """When the listener, who started with the first sound, runs dry; 0 before the first sound."""
        return 0.0 if self.first_at is None else self.first_at + self.samples / rate

    def deliver(self, samples: Samples, now: float) -> None:
        if self.first_at is None:
            self.first_at = now
        self.samples += len(samples)
        self.chunks += 1
        if not self.cancelled:
            self.emit(samples)


def new_job(
    pieces: Sequence[LmInput], voice: Voice, *, seed: int, emit: Callable[[Event], None], speed: float = 1.0
) -> Job:
    return Job(deque(pieces), voice, seed, emit, speed)
