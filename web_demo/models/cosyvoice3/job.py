"""One request for speech: its pieces of text, each spoken by an utterance of the LM and a stream of the vocoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from utils.audio import Samples

from .generate import LmInput, SilenceFilter
from .lm_batch import Utterance
from .token2wav import Stream
from .voices import Voice


@dataclass(frozen=True, eq=False)
class Finished:
    """The last event of a job; `error` is what stopped it early."""

    error: Exception | None = None


Event = Samples | Finished


@dataclass(eq=False)
class Speaking:
    """A piece being spoken. Tokens go from the utterance to the stream; without a stream (another speed than 1) they
    are kept until the utterance has ended."""

    utterance: Utterance
    stream: Stream | None
    silence: SilenceFilter = field(default_factory=SilenceFilter)
    tokens: list[int] = field(default_factory=list)  # without what the silence filter dropped
    taken: int = 0  # tokens of the utterance seen

    def pass_tokens(self) -> None:
        """Hand what the LM made to the stream, with its end."""
        new = [token for token in self.utterance.tokens[self.taken :] if self.silence.keep(token)]
        self.taken = len(self.utterance.tokens)
        self.tokens += new
        if self.stream is not None and not self.stream.cursor.ended:
            self.stream.feed(new[: self.stream.cursor.room], last=self.utterance.ended)

    @property
    def spoken(self) -> bool:
        """Nothing more will come out of the stream."""
        cursor = self.stream.cursor if self.stream is not None else None
        return cursor is not None and cursor.ended and cursor.ready() is None


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
