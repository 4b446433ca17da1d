"""G.711, the sound of telephones: a byte a sample, 8 kHz by custom. Float32 in and out.

The laws are those of ITU-T Recommendation G.711 (1988), tables 1a to 2b, on 16 bits as its software library (G.191) places them:
µ-law values lie in the upper 14 bits, A-law values in the upper 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from web_demo.audio.samples import Samples, from_int16, to_int16

RATE = 8_000  # Hz
BIAS = 33  # of µ-law magnitudes, so that each segment begins at a power of two
LARGEST_14_BIT = 0x1FFF - BIAS


@dataclass(frozen=True, eq=False)
class Law:
    values: npt.NDArray[np.int16]  # [256], of each code
    codes: npt.NDArray[np.uint8]  # [65536], of each 16-bit value, as an unsigned number

    def decode(self, data: bytes) -> Samples:
        return from_int16(self.values[np.frombuffer(data, np.uint8)])

    def encode(self, samples: Samples) -> bytes:
        return self.codes[to_int16(samples).view(np.uint16)].tobytes()


def _mu_law() -> Law:
    code = ~np.arange(256, dtype=np.uint8)  # a line idles on ones: every bit is sent inverted
    segment, step = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((2 * step + BIAS) << segment) - BIAS
    values = np.where(code & 0x80, -magnitude, magnitude) << 2

    sample = _all_samples()
    biased = np.minimum(_magnitude(sample) >> 2, LARGEST_14_BIT) + BIAS
    segment = _top_bit(biased) - 5
    codes = segment << 4 | (biased >> segment + 1 & 15)
    return Law(values.astype(np.int16), ~(codes | np.where(sample < 0, 0x80, 0)).astype(np.uint8))


def _a_law() -> Law:
    code = np.arange(256, dtype=np.uint8) ^ 0x55  # every other bit is sent inverted
    segment, step = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    values = np.where(code & 0x80, magnitude, -magnitude) << 3

    sample = _all_samples()
    magnitude = _magnitude(sample) >> 4
    segment = np.maximum(_top_bit(magnitude) - 3, 0)
    codes = segment << 4 | (magnitude >> np.maximum(segment - 1, 0) & 15)
    return Law(values.astype(np.int16), ((codes | np.where(sample < 0, 0, 0x80)) ^ 0x55).astype(np.uint8))


def _all_samples() -> npt.NDArray[np.int32]:
    """[65536] 16-bit values in the order of their unsigned numbers."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _magnitude(sample: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.where(sample < 0, ~sample, sample)


def _top_bit(number: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The position of the highest bit that is set; -1 for 0."""
    return np.frexp(number.astype(np.float64))[1] - 1


MU_LAW = _mu_law()
A_LAW = _a_law()
