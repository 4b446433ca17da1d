"""The recording that all clients send, as 16-bit mono PCM."""

from __future__ import annotations

import wave

import numpy as np

from tests.clients.report import SPEECH


def speech(rate: int, *, silence_s: float = 0.0) -> bytes:
    """The recording at `rate`, and a pause after it."""
    with wave.open(str(SPEECH)) as file:
        own, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    at = np.arange(len(samples) * rate // own) * own / rate
    sound = np.interp(at, np.arange(len(samples)), samples).astype("<i2")
    return sound.tobytes() + bytes(2 * round(silence_s * rate))


def slices(data: bytes, rate: int, seconds: float = 0.02) -> list[bytes]:
    size = 2 * round(rate * seconds)
    return [data[start : start + size] for start in range(0, len(data), size)]
