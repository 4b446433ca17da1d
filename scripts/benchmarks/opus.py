#!/usr/bin/env python3
"""Which Opus encoder and setting to speak with: time, size, and closeness to the original, on human speech.

    python3 scripts/benchmarks/opus.py

Every setting encodes all recordings of tests/data/speech at 24 kHz in 40 ms packets. Closeness is the log-spectral distance
in dB (root mean square over 39 bands from 94 Hz to 12 kHz, mean over the frames that hold speech) between the original and
what sphn's decoder makes of the packets, aligned by cross-correlation: lower is closer. One thread. Reports as report.py
says.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import sphn

from scripts.benchmarks.report import Report
from web_demo.audio.ogg import Demuxer
from web_demo.audio.opus import FRAME_S, OpusReader, OpusWriter
from web_demo.audio.samples import WIRE_RATE, Samples, from_wav

ROOT = Path(__file__).resolve().parents[2]

FRAME = round(FRAME_S * WIRE_RATE)
SETTINGS = [
    (application, complexity, kbps)
    for application in ("voip", "audio", "lowdelay")
    for complexity in (10, 5, 0)
    for kbps in (32, 48)
]


def speech() -> Samples:
    files = sorted((ROOT / "tests" / "data" / "speech").glob("*.wav"))
    whole = np.concatenate([from_wav(path.read_bytes()).at(WIRE_RATE).samples for path in files])
    return whole[: len(whole) // FRAME * FRAME]


def bands(samples: Samples) -> npt.NDArray[np.float64]:
    """Log power [frames, 39]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(4, 512, 40).astype(int))
    result: npt.NDArray[np.float64] = 10 * np.log10(
        np.stack([power[:, low:high].mean(axis=1) for low, high in itertools.pairwise(edges)], 1) + 1e-4
    )
    return result


def distance(original: Samples, decoded: Samples) -> float:
    probe = slice(WIRE_RATE, WIRE_RATE + 56_000)
    lag = int(np.argmax(np.correlate(decoded[WIRE_RATE : WIRE_RATE + 60_000], original[probe], "valid")))
    decoded = decoded[lag:]
    length = min(len(original), len(decoded))
    reference, result = bands(original[:length]), bands(decoded[:length])
    active = reference.max(axis=1) > -15
    return float(np.sqrt(((result - reference)[active] ** 2).mean(axis=1)).mean())


def decode(stream: bytes) -> Samples:
    reader = OpusReader(WIRE_RATE)
    reader.push(stream)
    return reader.decode().samples


class Settings(OpusWriter):
    """The writer with other settings."""

    def __init__(self, application: str, complexity: int, kbps: int) -> None:
        super().__init__()
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate, self._codec.layout, self._codec.format = WIRE_RATE, "mono", "flt"
        self._codec.bit_rate = kbps * 1000
        self._codec.options = {
            "application": application,
            "compression_level": str(complexity),
            "frame_duration": str(round(FRAME_S * 1000)),
        }
        self._codec.open()


def by_sphn(samples: Samples) -> bytes:
    writer = sphn.OpusStreamWriter(WIRE_RATE)
    return b"".join(writer.append_pcm(samples[start : start + FRAME]) for start in range(0, len(samples), FRAME))


def main() -> int:
    original = speech()
    seconds = len(original) / WIRE_RATE
    report = Report("opus", speech_seconds=round(seconds, 1))
    for name, encode in [("sphn", by_sphn)] + [
        (f"libopus {a} c{c} {k}k", lambda x, s=(a, c, k): b"".join(page.data for page in Settings(*s).write(x)))
        for a, c, k in SETTINGS
    ]:
        began = time.perf_counter()
        stream = encode(original)
        spent = time.perf_counter() - began
        payload = sum(map(len, Demuxer().feed(stream)))
        report.row(
            encoder=name,
            ms_per_s=round(spent / seconds * 1000, 2),
            kbit_per_s=round(payload * 8 / seconds / 1000, 1),
            distance_db=round(distance(original, decode(stream)), 2),
        )
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
