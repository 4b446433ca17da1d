"""Channels to one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MEMORY = 0.9  # of the energies of earlier blocks, in those that decide about this one
CANCELLED = 0.1  # the sum has less than this part of the channels' energy: they are each other's opposite


class Mixer:
    """Blocks of one recording, float32 [1 or 2, n], to mono [n]: the mean of two channels, or half their difference while
    they cancel each other, as a microphone with one lead swapped makes them."""

    def __init__(self) -> None:
        self._sum = self._difference = 0.0

    def mix(self, block: Floats) -> Floats:
        if len(block) == 1:
            mono: Floats = block[0]
            return mono
        left, right = block
        together: Floats = (left + right) * np.float32(0.5)
        apart: Floats = (left - right) * np.float32(0.5)
        self._sum = MEMORY * self._sum + _energy(together)
        self._difference = MEMORY * self._difference + _energy(apart)
        return apart if self._sum < CANCELLED * self._difference else together


def _energy(samples: Floats) -> float:
    return float(np.dot(samples, samples))
