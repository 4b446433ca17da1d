"""The user's sound in one session: taken apart as it arrives, decoded off the event loop a little at a time, listened to where
somebody is to be noticed, and kept as long as a turn of the user needs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from utils.bucket import TokenBucket
from utils.threads import off_loop
from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples, TooMuchSound
from web_demo.audio.vad import Stretch, TurnDetector
from web_demo.server.conversation.ports import AudioReader
from web_demo.server.conversation.turn import Keep

DECODE_MS = 500.0  # how much may wait to be decoded, and is decoded before others have their turn
LISTEN_MS = 60.0  # the same, while somebody listens for a voice
AHEAD_S = 120.0  # of sound, or of a whole turn where that is longer, that may come at once
RATE = 2.0  # times real time, that sound may come at from there
SETTLE_MS = 400.0  # of ignored sound, kept so that the decoder has found its feet when the next turn opens


class UserAudio:
    """Sound comes in with `push`, and becomes part of the turn as far as `keep` and `full` of the moment allow.

    `max_s` caps one turn. `now` is the clock of what may come when, in seconds. `listen_with` is the detector of a hands-free
    session; None: nobody is to be noticed.
    """

    def __init__(self, reader: AudioReader, max_s: float, now: Callable[[], float]) -> None:
        self._reader = reader
        self._max_samples = round(max_s * SPEECH_RATE)
        self._budget = TokenBucket(max(max_s, AHEAD_S), RATE, now)
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

    def wait(self, silence_s: float) -> None:
        """After Edge.PAUSED: that silence ends the turn when it has lasted so long."""
        if self._detector is not None:
            self._detector.wait(silence_s)

    def last(self, seconds: float) -> Samples:
        """The end of the turn so far."""
        return self._turn.last(round(seconds * SPEECH_RATE))

    @property
    def speaking(self) -> bool:
        """Somebody was noticed, and is not done yet."""
        return self._detector is not None and self._detector.speaking

    @property
    def noticing(self) -> bool:
        """Somebody may be beginning to speak at this moment."""
        return self._detector is not None and self._detector.noticing

    def time_of(self, edge: Stretch) -> float:
        """Seconds into the sound of the session."""
        return self._detector_from_s + edge.at / SPEECH_RATE

    def push(self, payload: bytes) -> None:
        """Raises ValueError about what is no audio, or comes too fast; the rest is kept."""
        charged_ms = self._reader.charged_ms
        try:
            self._reader.push(payload, max(self._budget.level, 0.0) * 1000)
        except TooMuchSound as error:
            raise ValueError(
                f"sound may come {self._budget.capacity:g} s ahead of its time and then at {self._budget.rate:g} times "
                "real time: what came beyond that is left out"
            ) from error
        finally:
            self._budget.take((self._reader.charged_ms - charged_ms) / 1000)

    def restart(self) -> None:
        """The page that is not whole yet belongs to nothing that follows."""
        self._reader.restart()

    @property
    def is_due(self) -> bool:
        """Enough waits to be worth decoding."""
        return self._reader.pending_ms >= (DECODE_MS if self._detector is None else LISTEN_MS)

    def ignore(self) -> None:
        """Nobody is listening: forget what waits, but for the little that the decoder needs to go on from."""
        self._reader.trim(SETTLE_MS)

    async def decode(self) -> AsyncGenerator[Stretch, None]:
        """What waits, in parts that may bring an edge. Take them to the end, and pass each to `keep`; those that `ignore` forgets
        meanwhile do not come. Between slices of DECODE_MS other sessions have their turn."""
        while True:
            samples, probabilities = await off_loop(self._decode)
            if self._detector is None:
                yield Stretch(samples)
            else:
                for stretch in self._detector.stretches(samples, probabilities):
                    yield stretch
            if self._reader.pending_ms <= 0:
                return

    def _decode(self) -> tuple[Samples, list[float]]:
        decoded = self._reader.decode(DECODE_MS)
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
        async for _ in self.decode():
            pass
        self._begin()

    async def take(self) -> Audio:
        """The whole turn; the next one begins empty."""
        samples = await off_loop(self._turn.samples)
        self._begin()
        return Audio(samples, SPEECH_RATE)

    def has_room_after(self, audio: Audio) -> bool:
        """Whether a turn that begins with this can grow by more than is kept already."""
        return len(self._turn) + len(audio.samples) < self._max_samples

    async def go_on_from(self, audio: Audio) -> None:
        """A turn that was taken was not over: it comes before what is kept."""
        await off_loop(self._turn.prepend, audio.samples)

    def _begin(self) -> None:
        self._turn.keep_last(0)
        if self._detector is not None:
            self._detector.forget()  # who goes on speaking speaks in the new turn
