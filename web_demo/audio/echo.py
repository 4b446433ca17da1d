"""The machine's own voice in the user's microphone: a sound that agrees with what is being played is an echo, and no voice.

What the microphone heard last is compared, by normalised cross-correlation of the first differences at 8 kHz, with what the
listener has played at any delay that a network, buffers and a room make. Somebody who speaks over the echo agrees with it far
less than the echo does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Samples
from web_demo.audio.vad import VoiceModel

RATE = 8_000  # Hz, of the comparison
WINDOW = round(0.35 * RATE)  # of the microphone's sound
DELAY_S = 1.5  # at most, from the loudspeaker's time by our clock to the arrival of its echo
EARLY_S = 0.2  # that a listener may be ahead of that clock
AGREEMENT = 0.5  # of 1, that makes an echo; other voices reach 0.3, somebody over the echo at -12 dB 0.45
DENSITY = 0.01  # of a sound that can be told from others: a click is like any other click
VOICE = 0.5  # probability, below which nothing is compared


class Played:
    """What a listener plays, by the clock `now` in seconds. May be written and read in different threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._differences = _Differences(WIRE_RATE // RATE)
        self._pieces: deque[tuple[float, Samples]] = deque()  # when it begins to be played, at RATE

    def add(self, samples: Samples, at_s: float) -> None:
        """Float32 [n] at WIRE_RATE, played from `at_s` on."""
        with self._lock:
            self._pieces.append((at_s, self._differences.feed(samples)))
            while self._pieces[0][0] < self._now() - DELAY_S - 3.0:
                self._pieces.popleft()

    def recent(self) -> Samples | None:
        """All that a window of the microphone which ends now can hold of it, float32 [n] at RATE; None: nothing."""
        with self._lock:
            pieces = list(self._pieces)
        begin_s = self._now() - DELAY_S - WINDOW / RATE
        sound = np.zeros(round((DELAY_S + EARLY_S) * RATE) + WINDOW, np.float32)
        for at_s, samples in pieces:
            at = round((at_s - begin_s) * RATE)
            first, last = max(at, 0), min(at + len(samples), len(sound))
            if first < last:
                sound[first:last] = samples[first - at : last - at]
        return sound if sound.any() else None


class WithoutEcho:
    """A model of voice activity that takes the echo of `played` for silence. One microphone's stream, as it arrives."""

    def __init__(self, model: VoiceModel, played: Played) -> None:
        self._model = model
        self._played = played
        self._heard = np.zeros(WINDOW, np.float32)
        self._differences = _Differences(SPEECH_RATE // RATE)

    def feed(self, samples: Samples) -> list[float]:
        probabilities = self._model.feed(samples)
        self._heard = np.concatenate((self._heard, self._differences.feed(samples)))[-WINDOW:]
        if max(probabilities, default=0.0) < VOICE or (played := self._played.recent()) is None:
            return probabilities
        return [0.0] * len(probabilities) if agreement(self._heard, played) >= AGREEMENT else probabilities


def agreement(heard: Samples, played: Samples) -> float:
    """0 to 1: how like `heard` [n] the likest stretch of `played` [m >= n] is, whatever their levels; 0 for what is too sparse to
    be told from anything else."""
    energy = float(heard @ heard)
    if energy == 0.0 or energy**2 < DENSITY * len(heard) * float(np.sum(heard**4)):
        return 0.0
    size = 1 << (len(heard) + len(played) - 1).bit_length()
    products = np.fft.irfft(np.fft.rfft(played, size) * np.conj(np.fft.rfft(heard, size)), size)
    sums = np.concatenate(([0.0], np.cumsum(np.square(played, dtype=np.float64))))
    energies = sums[len(heard) :] - sums[: -len(heard)]
    floor = 1e-3 * energies.max() + 1e-12  # in its gaps a played sound is like nothing
    return float((np.abs(products[: len(energies)]) / np.sqrt(energy * np.maximum(energies, floor))).max())


class _Differences:
    """A stream of sound at RATE times `step` to the differences of neighbours at RATE, smoothed so that a delay of half a sample
    changes little."""

    def __init__(self, step: int) -> None:
        self._step = step
        window = np.hanning(2 * step + 3)[1:-1]
        self._window = (window / window.sum()).astype(np.float32)
        self._rest = np.zeros(len(window) - 1, np.float32)
        self._last = np.zeros(1, np.float32)

    def feed(self, samples: Samples) -> Samples:
        pending = np.concatenate((self._rest, samples))
        count = max((len(pending) - len(self._window)) // self._step + 1, 0)
        self._rest = pending[count * self._step :].copy()
        if not count:
            return pending[:0]
        smooth = np.convolve(pending, self._window, "valid")[:: self._step][:count]
        differences: Samples = np.diff(smooth, prepend=self._last).astype(np.float32)
        self._last = smooth[-1:]
        return differences
