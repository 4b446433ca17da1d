"""The user's sound in one session: taken apart as it arrives, decoded off the event loop a little at a time, and kept as
16-bit samples until the turn ends."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from utils.threads import off_loop
from web_demo.audio.opus import Decoded
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples, from_int16, to_int16
from web_demo.audio.vad import FRAME_S, Edge, Endpointer, VadRules, VoiceDetector
from web_demo.server.conversation.events import AudioReader

DECODE_MS = 500.0  # how much may wait to be decoded
HEAR_MS = 60.0  # the same, when voice activity listens along
SETTLE_MS = 400.0  # of ignored sound, kept so that the decoder has found its feet when the next turn opens


class Ears:
    """Voice activity of one hands-free session."""

    def __init__(self, rules: VadRules) -> None:
        self.rules = rules
        self._detector = VoiceDetector()
        self._ends = Endpointer(rules)

    @property
    def speaking(self) -> bool:
        return self._ends.speaking

    def hear(self, samples: Samples) -> list[Edge]:
        """What began and ended within `samples`. CPU work: call it off the loop."""
        edges = (self._ends.feed(probability) for probability in self._detector.feed(samples))
        return [edge for edge in edges if edge is not None]

    def prefix_s(self, padding_s: float) -> float:
        """Seconds of sound to keep while nobody speaks, so that an utterance has its beginning once it is noticed."""
        return padding_s + self.rules.min_speech_s + HEAR_MS / 1000 + FRAME_S


class UserAudio:
    """`max_s` caps what is kept of one turn; `full` says that it was reached."""

    def __init__(self, reader: AudioReader, max_s: float) -> None:
        self._reader = reader
        self._max_samples = round(max_s * SPEECH_RATE)
        self._chunks: deque[npt.NDArray[np.int16]] = deque()
        self._samples = 0
        self.received_s = 0.0  # of the whole session, for the metrics
        self.damaged_packets = 0

    @property
    def seconds(self) -> float:
        """Decoded and waiting sound of the turn so far."""
        return self._samples / SPEECH_RATE + self._reader.pending_ms / 1000

    @property
    def full(self) -> bool:
        return self._samples >= self._max_samples

    def push(self, payload: bytes) -> None:
        """Raises ValueError about what is no audio; the rest is kept."""
        self._reader.push(payload)

    def ignore(self) -> None:
        """Nobody is listening: forget what waits, but for the little that the decoder needs to go on from."""
        self._reader.trim(SETTLE_MS)

    def is_due(self, limit_ms: float = DECODE_MS) -> bool:
        return self._reader.pending_ms >= limit_ms

    async def collect(self, ears: Ears | None = None) -> list[Edge]:
        """Decode what waits and keep it as part of the turn, up to the cap. Returns what `ears` noticed in it."""
        decoded, edges = await off_loop(self._decode, ears)
        self.damaged_packets += decoded.damaged_packets
        self.received_s += len(decoded.samples) / SPEECH_RATE
        kept = decoded.samples[: max(0, self._max_samples - self._samples)]
        if len(kept):
            self._chunks.append(to_int16(kept))
            self._samples += len(kept)
        return edges

    def _decode(self, ears: Ears | None) -> tuple[Decoded, list[Edge]]:
        decoded = self._reader.decode()
        return decoded, ears.hear(decoded.samples) if ears is not None else []

    async def open(self) -> None:
        """A new turn begins now: what came before belongs to no turn."""
        await off_loop(self._reader.decode)
        self._clear()

    def keep_last(self, seconds: float) -> None:
        """Hands-free, while nobody speaks: forget all but the last `seconds`."""
        keep = round(seconds * SPEECH_RATE)
        while self._chunks and self._samples - len(self._chunks[0]) >= keep:
            self._samples -= len(self._chunks.popleft())

    async def take(self) -> Audio:
        """The whole turn; the next one begins empty."""
        await self.collect()
        chunks = list(self._chunks)
        self._clear()
        return Audio(await off_loop(_join, chunks), SPEECH_RATE)

    def _clear(self) -> None:
        self._chunks.clear()
        self._samples = 0


def _join(chunks: list[npt.NDArray[np.int16]]) -> Samples:
    return from_int16(np.concatenate(chunks)) if chunks else np.zeros(0, np.float32)
