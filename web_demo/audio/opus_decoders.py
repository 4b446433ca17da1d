"""Opus packets (RFC 6716) to float32 at one rate, by two libraries with one interface.

`sphn` is what decodes where it has a wheel; elsewhere `av` does, which the services need anyway. Both are libopus. sphn's gives
any of Opus' rates itself; av's always gives 48 kHz, of which a filter here keeps every second, third, … sample: at 16 kHz
1.4 to 1.8 ms of CPU for a second of sound, where sphn takes 0.7 to 0.8.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

import av
import numpy as np

from web_demo.audio import ogg
from web_demo.audio.samples import Samples

RATE = 48_000  # Hz, what av's libopus gives
HEAD = b"OpusHead"
TAGS = b"OpusTags" + struct.pack("<I", 3) + b"fac" + struct.pack("<I", 0)
_REACH = 32  # samples of the lower rate that the filter looks to each side: 2 ms at 16 kHz
_PASSED = 0.93  # of the lower rate's band
_KAISER_BETA = 8.0  # 80 dB down in the stop band


class Decoder(Protocol):
    """One stream, from its beginning. After an error the decoder is not to be used again."""

    def decode(self, packets: Sequence[bytes]) -> Samples:
        """Of checked packets in their order, a second of sound at most: float32 [n], exactly as long as the packets say.
        Raises ValueError for a damaged one."""
        ...


class SphnDecoder:
    """sphn's reader, fed with pages of our own making: it breaks for good on more than about 5 s in one call."""

    def __init__(self, rate: int) -> None:
        import sphn

        self._reader = sphn.OpusStreamReader(rate)
        self._sequence = 2
        self._reader.append_bytes(ogg.write_page([_head(rate)], granule=0, serial=1, sequence=0, flags=ogg.FIRST))
        self._reader.append_bytes(ogg.write_page([TAGS], granule=0, serial=1, sequence=1))

    def decode(self, packets: Sequence[bytes]) -> Samples:
        page = ogg.write_page(list(packets), granule=self._sequence, serial=1, sequence=self._sequence)
        self._sequence += 1
        samples: Samples = self._reader.append_bytes(page)
        return samples


class AvDecoder:
    """libopus through av, one packet after the other."""

    def __init__(self, rate: int) -> None:
        if RATE % rate:
            raise ValueError(f"the rate must divide {RATE} Hz, got {rate}")
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.extradata = _head(rate)
        self._codec.layout = "mono"
        self._codec.sample_rate = RATE
        self._codec.options = {"request_sample_fmt": "flt"}
        self._codec.open()
        self._factor = RATE // rate
        self._before = np.zeros(2 * _REACH * self._factor, np.float32)  # what the filter still needs of earlier sound

    def decode(self, packets: Sequence[bytes]) -> Samples:
        frames = [frame for packet in packets for frame in self._codec.decode(av.Packet(packet))]
        sound = np.concatenate([frame.to_ndarray()[0] for frame in frames]) if frames else np.zeros(0, np.float32)
        return self._decimated(sound.astype(np.float32, copy=False))

    def _decimated(self, sound: Samples) -> Samples:
        """A packet is a whole number of samples at every rate, so nothing is held back; the sound is 2 ms late (at 16 kHz)."""
        if self._factor == 1:
            return sound
        sound = np.concatenate((self._before, sound))
        self._before = sound[-len(self._before) :]
        taps, step = _low_pass(self._factor), self._factor
        phases = (np.correlate(sound[step + phase :: step], taps[phase::step]) for phase in range(step))
        filtered: Samples = np.sum(list(phases), axis=0, dtype=np.float32)
        return filtered


def _head(rate: int) -> bytes:
    """A mono stream with nothing to skip."""
    return HEAD + struct.pack("<BBHIhB", 1, 1, 0, rate, 0, 0)


@functools.cache
def _low_pass(factor: int) -> Samples:
    """A windowed sinc, [2 * _REACH * factor], that adds up to 1."""
    at = np.arange(2 * _REACH * factor) - (_REACH * factor - 0.5)
    taps = np.sinc(at / factor * _PASSED) * np.kaiser(len(at), _KAISER_BETA)
    low_pass: Samples = (taps / taps.sum()).astype(np.float32)
    return low_pass


decoder: Callable[[int], Decoder] = SphnDecoder if importlib.util.find_spec("sphn") else AvDecoder
"""Of this machine, for a rate in Hz."""
