"""Sounds to put behind a voice, at SPEECH_RATE."""

from __future__ import annotations

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Samples


def level(samples: Samples, db: float) -> Samples:
    """With that mean level of full scale."""
    return samples * np.float32(10 ** (db / 20) / np.sqrt(np.square(samples).mean()))


def noise(samples: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def music(samples: int) -> Samples:
    """Chords of five partials a note, two a second, each dying away."""
    time = np.arange(samples) / SPEECH_RATE
    sound = np.zeros(samples)
    roots = (220.0, 174.6, 130.8, 196.0)
    beat = (time * 2).astype(int)
    decay = np.exp(-3 * (time % 0.5))
    for number, root in enumerate(roots):
        for third in (1.0, 1.26, 1.5):
            for partial in range(1, 6):
                sound += (beat % 4 == number) * decay * np.sin(2 * np.pi * root * third * partial * time) / partial
    return sound.astype(np.float32)
