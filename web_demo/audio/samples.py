"""Audio inside the services: mono float32 at one rate, in a record that carries the rate. Conversion happens at the edge."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Samples = npt.NDArray[np.float32]  # [n], full scale is -1..1

WIRE_RATE = 24_000  # Hz of the Opus streams and of every synthesised answer
SPEECH_RATE = 16_000  # Hz that recognisers and voice-activity detection work at
AUDIBLE = 1e-4  # of full scale, -80 dB: what never exceeds it is silence


def is_audible(samples: Samples) -> bool:
    """Whether there is any sound in it at all."""
    return bool((np.abs(samples) > AUDIBLE).any())


@dataclass(frozen=True, eq=False)
class Audio:
    """A piece of mono sound: `samples` is float32 [n], `rate` is in Hz."""

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"audio must be float32 [n], got {self.samples.dtype} {list(self.samples.shape)}")
        if self.rate <= 0:
            raise ValueError(f"sample rate must be positive, got {self.rate}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def at(self, rate: int) -> Audio:
        """The same sound at `rate` Hz."""
        if rate == self.rate:
            return self
        return Audio(soxr.resample(self.samples, self.rate, rate).astype(np.float32, copy=False), rate)


class Resampler:
    """A stream of sound from one rate to another, in Hz, without a seam between its pieces."""

    def __init__(self, source: int, target: int) -> None:
        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32")

    def push(self, samples: Samples) -> Samples:
        """What became certain with `samples`: the filter holds the last few milliseconds back."""
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples)
        return resampled

    def rest(self) -> Samples:
        """What was held back, at the end of the stream; nothing may come after it."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        resampled: Samples = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return resampled


@dataclass(frozen=True)
class EncodedAudio:
    """What a codec made of `samples` samples: bytes to send."""

    data: bytes
    samples: int


@dataclass(frozen=True, eq=False)
class DecodedAudio:
    """What a codec made of bytes that came: float32 [n]. Packets that were damaged are left out, and counted."""

    samples: Samples
    damaged_packets: int = 0


class TooMuchSound(ValueError):
    """More sound, or work for it, than may come now. What was within the limit is kept, the rest is left out."""


def silence(seconds: float, rate: int) -> Audio:
    return Audio(np.zeros(round(seconds * rate), np.float32), rate)


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Full-scale float to 16 bit, clipped, not wrapped: the exact inverse of `from_int16`."""
    scaled: Samples = np.clip((samples * np.float32(32768.0)).round(), -32768, 32767)
    return scaled.astype(np.int16)


def from_int16(samples: npt.NDArray[np.int16]) -> Samples:
    return samples.astype(np.float32) / np.float32(32768.0)


def to_wav(audio: Audio) -> bytes:
    """A 16-bit PCM WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.samples, audio.rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def from_wav(data: bytes) -> Audio:
    """Read one of our own WAV files (any rate, channels averaged). Files from users go through `av`, with caps."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return Audio(samples.mean(axis=1, dtype=np.float32), rate)
