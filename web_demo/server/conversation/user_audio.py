"""The user's sound in one session: taken apart as it arrives, decoded off the event loop a little at a time, listened to where
somebody is to be noticed, and kept as long as a turn of the user needs it."""

from __future__ import annotations

from collections.abc import Iterator

from utils.threads import off_loop
from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.audio.vad import Stretch, TurnDetector
from web_demo.server.conversation.ports import AudioReader
from web_demo.server.conversation.turn import Keep

DECODE_MS = 500.0  # how much may wait to be decoded
LISTEN_MS = 60.0  # the same, while somebody listens for a voice
SETTLE_MS = 400.0  # of ignored sound, kept so that the decoder has found its feet when the next turn opens


class UserAudio:
    """Sound comes in with `push`, and becomes part of the turn as far as `keep` and `full` of the moment allow.

    `max_s` caps one turn. `listen_with` is the detector of a hands-free session; None: nobody is to be noticed.
    """

    def __init__(self, reader: AudioReader, max_s: float) -> None:
        self._reader = reader
        self._max_samples = round(max_s * SPEECH_RATE)
        self._turn = Recording()
        self._detector: TurnDetector | None = None
        self._detector_from_s = 0.0
        self._pre_roll = 0  # samples
        self.received_s = 0.0  # of the whole session
        self.damaged_packets = 0

    @property
    def seconds(self) -> float:
        """Decoded and waiting sound of the turn so far."""
        return len(self._turn) / SPEECH_RATE + self._reader.pending_ms / 1000

    @property
    def full(self) -> bool:
        return len(self._turn) >= self._max_samples

    def listen_with(self, detector: TurnDetector | None, padding_s: float) -> None:
        """`padding_s`: what an utterance keeps of the sound before it."""
        self._detector, self._detector_from_s = detector, self.received_s
        self._pre_roll = min(detector.pre_roll(padding_s), self._max_samples // 2) if detector else 0

    @property
    def speaking(self) -> bool:
        """Somebody was noticed, and is not done yet."""
        return self._detector is not None and self._detector.speaking

    def time_of(self, edge: Stretch) -> float:
        """Seconds into the sound of the session."""
        return self._detector_from_s + edge.at / SPEECH_RATE

    def push(self, payload: bytes) -> None:
        """Raises ValueError about what is no audio; the rest is kept."""
        self._reader.push(payload)

    @property
    def is_due(self) -> bool:
        """Enough waits to be worth decoding."""
        return self._reader.pending_ms >= (DECODE_MS if self._detector is None else LISTEN_MS)

    def ignore(self) -> None:
        """Nobody is listening: forget what waits, but for the little that the decoder needs to go on from."""
        self._reader.trim(SETTLE_MS)

    async def decode(self) -> Iterator[Stretch]:
        """What waits, in parts that may bring an edge. Take them to the end, and pass each to `keep`."""
        samples, probabilities = await off_loop(self._decode)
        return self._detector.stretches(samples, probabilities) if self._detector else iter((Stretch(samples),))

    def _decode(self) -> tuple[Samples, list[float]]:
        decoded = self._reader.decode()
        self.damaged_packets += decoded.damaged_packets
        self.received_s += len(decoded.samples) / SPEECH_RATE
        return decoded.samples, self._detector.probabilities(decoded.samples) if self._detector is not None else []

    def keep(self, samples: Samples, how: Keep) -> Samples:
        """Returns what does not fit any more into the turn."""
        match how:
            case Keep.NOTHING:
                return samples[:0]
            case Keep.PRE_ROLL:
                self._turn.append(samples)
                self._turn.keep_last(self._pre_roll)
                return samples[:0]
            case Keep.ALL:
                room = max(self._max_samples - len(self._turn), 0)
                self._turn.append(samples[:room])
                return samples[room:]

    async def open(self) -> None:
        """A new turn begins now: what came before belongs to no turn."""
        for _ in await self.decode():
            pass
        self._begin()

    async def take(self) -> Audio:
        """The whole turn; the next one begins empty."""
        samples = await off_loop(self._turn.samples)
        self._begin()
        return Audio(samples, SPEECH_RATE)

    def _begin(self) -> None:
        self._turn.keep_last(0)
        if self._detector is not None:
            self._detector.forget()  # who goes on speaking speaks in the new turn
