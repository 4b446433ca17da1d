"""Voices in the background are none: of a stream that a voice activity model has heard, who speaks much more quietly than the
one whom the microphone belongs to. Pure arithmetic on levels; counts frames, knows no clock."""

from __future__ import annotations

from collections import deque

import numpy as np

from web_demo.audio.samples import Samples
from web_demo.audio.vad import FRAME_S, FRAME_SAMPLES, VoiceModel

BELOW_DB = 9.0  # the user's running level, a voice is in the background
HOLD_FRAMES = 16  # half a second: weak syllables are as near as the loud ones beside them
LEARN = 0.03  # of the way to a new level, with each frame of the user's voice
FORGET_DB_S = 0.25  # with each second of voices in the background: who has moved away is heard again
VOICE = 0.5  # probability
FLOOR = 1e-9  # of power, -90 dB


class Foreground:
    """A model of voice activity that takes voices for silence which are BELOW_DB the running level of the user's."""

    def __init__(self, model: VoiceModel) -> None:
        self._model = model
        self._rest = np.zeros(0, np.float32)
        self._recent: deque[float] = deque(maxlen=HOLD_FRAMES)  # dB
        self._level: float | None = None  # dB, of the user
        self._frames = 0  # that it was learned from

    def feed(self, samples: Samples) -> list[float]:
        probabilities = self._model.feed(samples)
        pending = np.concatenate((self._rest, samples))
        frames = pending[: len(probabilities) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        self._rest = pending[frames.size :].copy()
        levels = 10 * np.log10(np.square(frames).mean(axis=1) + FLOOR)
        return [self._heard(*frame) for frame in zip(probabilities, levels.tolist(), strict=True)]

    def _heard(self, probability: float, level: float) -> float:
        self._recent.append(level)
        if probability < VOICE:
            return probability
        level = max(self._recent)
        if self._level is None:
            self._level = level
        elif level < self._level - BELOW_DB:
            self._level -= FORGET_DB_S * FRAME_S
            return 0.0
        self._frames += 1
        self._level += max(LEARN, 1 / self._frames) * (level - self._level)
        return probability
