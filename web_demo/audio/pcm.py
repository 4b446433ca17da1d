"""Live streams of sound without a container: 16-bit PCM of any rate, and G.711. Float32 in, bytes out, and back.

They do for such a stream what `opus` does for Ogg-Opus. The converters keep their state between calls, so a stream may be cut
anywhere between two samples.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum

import numpy as np
import soxr

from web_demo.audio.g711 import A_LAW, MU_LAW
from web_demo.audio.opus import FRAME_S
from web_demo.audio.samples import (
    SPEECH_RATE,
    WIRE_RATE,
    DecodedAudio,
    EncodedAudio,
    Samples,
    TooMuchSound,
    from_int16,
    to_int16,
)


class Coding(Enum):
    """How a sample stands in bytes."""

    PCM16 = "16-bit little-endian PCM"
    MU_LAW = "G.711 µ-law"
    A_LAW = "G.711 A-law"

    @property
    def sample_bytes(self) -> int:
        return 2 if self is Coding.PCM16 else 1

    def decode(self, data: bytes) -> Samples:
        """`data` is whole samples."""
        match self:
            case Coding.PCM16:
                return from_int16(np.frombuffer(data, "<i2").astype(np.int16))
            case Coding.MU_LAW:
                return MU_LAW.decode(data)
            case Coding.A_LAW:
                return A_LAW.decode(data)

    def encode(self, samples: Samples) -> bytes:
        match self:
            case Coding.PCM16:
                return to_int16(samples).astype("<i2").tobytes()
            case Coding.MU_LAW:
                return MU_LAW.encode(samples)
            case Coding.A_LAW:
                return A_LAW.encode(samples)


class PcmReader:
    """Bytes of a stream at `rate` to samples at `to`. `push` only counts; `decode` does the work and may run in another thread,
    while nothing else is called."""

    def __init__(self, coding: Coding, rate: int, to: int = SPEECH_RATE) -> None:
        self._coding = coding
        self._bytes_per_ms = coding.sample_bytes * rate / 1000
        self._resampler = _Resampler(rate, to)
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self.charged_ms = 0.0  # of all that was pushed

    @property
    def pending_ms(self) -> float:
        return self._pending_bytes / self._bytes_per_ms

    def push(self, data: bytes, most_ms: float = math.inf) -> None:
        """Raises ValueError about half a sample, and takes none of `data` then. Raises TooMuchSound about more than `most_ms`: what
        is within it is kept, the rest left out."""
        if len(data) % self._coding.sample_bytes:
            raise ValueError(f"{self._coding.value} has an even number of bytes, got {len(data)}")
        too_much = len(data) / self._bytes_per_ms > most_ms
        kept = data[: self._whole(most_ms)] if too_much else data
        self.charged_ms += len(kept) / self._bytes_per_ms
        if kept:
            self._pending.append(kept)
            self._pending_bytes += len(kept)
        if too_much:
            raise TooMuchSound

    def restart(self) -> None:
        """Nothing is ever half there."""

    def trim(self, keep_ms: float) -> None:
        """Forget the oldest pending sound, but for `keep_ms`."""
        surplus = max(self._pending_bytes - self._whole(keep_ms), 0)
        self._take(surplus)

    def decode(self, most_ms: float = math.inf) -> DecodedAudio:
        """The oldest pending sound: all of it, or `most_ms`."""
        size = self._pending_bytes if most_ms == math.inf else max(self._whole(most_ms), self._coding.sample_bytes)
        return DecodedAudio(self._resampler.feed(self._coding.decode(self._take(size))))

    def flush(self) -> Samples:
        """What the conversion held back (some 20 ms), at the end of a stream; another may begin after it."""
        return self._resampler.flush()

    def _whole(self, ms: float) -> int:
        """Bytes of the samples in `ms`."""
        return int(ms * self._bytes_per_ms) // self._coding.sample_bytes * self._coding.sample_bytes

    def _take(self, size: int) -> bytes:
        taken = []
        while size > 0 and self._pending:
            first = self._pending.popleft()
            if len(first) > size:
                self._pending.appendleft(first[size:])
            taken.append(first[:size])
            size -= len(taken[-1])
            self._pending_bytes -= len(taken[-1])
        return b"".join(taken)


class PcmWriter:
    """Samples at WIRE_RATE to bytes of a stream at `rate`. A result is FRAME_S of sound, or two where a converter gives nothing for
    one; its `samples` count at WIRE_RATE, as its time does. Samples that do not fill a frame wait for more, or for `flush`."""

    def __init__(self, coding: Coding, rate: int) -> None:
        self._coding = coding
        self._resampler = _Resampler(WIRE_RATE, rate)
        self._frame = round(FRAME_S * WIRE_RATE)
        self._rest = np.zeros(0, np.float32)
        self._held = 0  # samples that went into the converter since something came out

    def write(self, samples: Samples) -> list[EncodedAudio]:
        pending = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(pending) // self._frame * self._frame
        self._rest = pending[whole:].copy()
        frames = (pending[start : start + self._frame] for start in range(0, whole, self._frame))
        return [page for frame in frames for page in self._pages(frame, self._resampler.feed(frame))]

    def flush(self) -> list[EncodedAudio]:
        """The last samples, and what the conversion held back. The stream may go on afterwards."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        return self._pages(rest, np.concatenate((self._resampler.feed(rest), self._resampler.flush())))

    def drop(self) -> None:
        """Forget what waits."""
        self._rest, self._held = np.zeros(0, np.float32), 0
        self._resampler.clear()

    def _pages(self, given: Samples, converted: Samples) -> list[EncodedAudio]:
        self._held += len(given)
        if not len(converted):
            return []
        held, self._held = self._held, 0
        return [EncodedAudio(self._coding.encode(converted), held)]


class _Resampler:
    """One stream at a time: `flush` ends it, `clear` forgets it, and the next begins."""

    def __init__(self, rate: int, to: int) -> None:
        self._stream = soxr.ResampleStream(rate, to, 1) if rate != to else None

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples, last=last)
        return resampled

    def flush(self) -> Samples:
        rest = self.feed(np.zeros(0, np.float32), last=True)
        self.clear()
        return rest

    def clear(self) -> None:
        if self._stream is not None:
            self._stream.clear()
