"""Sound files that many workers make: each encodes its part, and the parts are put into one file, with chapters where it has them.

AAC, MP3 and Opus are joined packet by packet, without being decoded: what an encoder adds before its first packet (21 to 47 ms)
stands in the silence between sentences. WAV and FLAC get their samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, cast

import av
import av.audio.codeccontext
import av.audio.stream
import numpy as np

from web_demo.audio.samples import Samples, to_int16


@dataclass(frozen=True)
class Kind:
    """`joined`: by packets. `bits` a second, 0 for what has no such setting."""

    container: str
    codec: str
    suffix: str
    joined: bool = True
    bits: int = 0
    chapters: bool = False


KINDS: Mapping[str, Kind] = {
    "m4b": Kind("ipod", "aac", ".m4b", bits=64_000, chapters=True),
    "m4a": Kind("ipod", "aac", ".m4a", bits=64_000, chapters=True),
    "mp3": Kind("mp3", "libmp3lame", ".mp3", bits=64_000),
    "opus": Kind("ogg", "libopus", ".opus", bits=32_000),
    "flac": Kind("flac", "flac", ".flac", joined=False),
    "wav": Kind("wav", "pcm_s16le", ".wav", joined=False),
}


@dataclass(frozen=True, eq=False)
class Encoded:
    """A part: packets with their lengths in samples, or one packet of 16-bit samples."""

    rate: int
    packets: tuple[tuple[bytes, int], ...]


def encode(kind: Kind, samples: Samples, rate: int) -> Encoded:
    pcm = to_int16(samples)
    if not kind.joined or not len(pcm):
        return Encoded(rate, ((pcm.astype("<i2").tobytes(), len(pcm)),) if len(pcm) else ())
    codec = cast(av.audio.codeccontext.AudioCodecContext, av.CodecContext.create(kind.codec, "w"))
    codec.sample_rate, codec.layout, codec.bit_rate = rate, "mono", kind.bits
    codec.format = codec.codec.audio_formats[0] if codec.codec.audio_formats else "s16"
    codec.time_base = Fraction(1, rate)
    resampler = av.AudioResampler(codec.format, "mono", rate)
    codec.open()
    packets = []
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate = rate
    frame.pts = 0
    fifo = av.AudioFifo()
    for piece in resampler.resample(frame):
        fifo.write(piece)
    size = codec.frame_size or len(pcm)
    frames = fifo.read_many(size, partial=True)
    for each in frames:
        packets += codec.encode(each)
    packets += codec.encode(None)
    return Encoded(rate, tuple((bytes(packet), packet.duration or size) for packet in packets))


@dataclass(frozen=True)
class Mark:
    title: str
    start: int  # samples


class SoundFile:
    """A file that has no name yet, written part by part. Raises OSError (FFmpeg's errors are some)."""

    def __init__(self, kind: Kind, rate: int, told: Mapping[str, str]) -> None:
        """`told`: title, artist and the like."""
        self._kind = kind
        self._rate = rate
        self.content: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - gone with the process
        self._output = av.open(self.content, "w", format=kind.container)
        self._output.metadata.update({name: value for name, value in told.items() if value})
        stream = self._output.add_stream(kind.codec, rate=rate, layout="mono")
        self._stream = cast(av.audio.stream.AudioStream, stream)
        if kind.bits:
            self._stream.bit_rate = kind.bits
        self.samples = 0

    def add(self, part: Encoded) -> None:
        for data, samples in part.packets:
            if self._kind.joined:
                packet = av.Packet(data)
                packet.stream = self._stream
                packet.time_base = Fraction(1, self._rate)
                packet.pts = packet.dts = self.samples
                packet.duration = samples
                self._output.mux(packet)
            else:
                frame = av.AudioFrame.from_ndarray(np.frombuffer(data, "<i2")[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = self._rate, self.samples
                self._output.mux(self._stream.encode(frame))
            self.samples += samples

    def end(self, marks: Sequence[Mark]) -> None:
        if not self._kind.joined:
            self._output.mux(self._stream.encode(None))
        if self._kind.chapters and len(marks) > 1:
            ends = [*(mark.start for mark in marks[1:]), self.samples]
            self._output.set_chapters(
                [
                    {
                        "id": number,
                        "start": mark.start,
                        "end": end,
                        "time_base": Fraction(1, self._rate),
                        "metadata": {"title": mark.title},
                    }
                    for number, (mark, end) in enumerate(zip(marks, ends, strict=True))
                ]
            )
        self._output.close()

    def abandon(self) -> None:
        with suppress(OSError):
            self._output.close()
        self.content.close()
