"""Sound into the bytes of a file while it is being made: what is returned can be sent at once."""

from __future__ import annotations

import struct
from typing import Protocol, cast

import av
import av.audio.stream
import numpy as np

from web_demo.audio.samples import Samples, to_int16

STREAMED_SIZE = 0xFFFFFFFF  # in a WAV header: the length is not known yet; players read to the end


class Encoder(Protocol):
    def encode(self, samples: Samples) -> bytes:
        """The bytes that `samples` made whole; may be empty while a codec collects a frame."""
        ...

    def finish(self) -> bytes:
        """The rest, at the end."""
        ...


class PcmEncoder:
    """16 bit little endian, no header."""

    def encode(self, samples: Samples) -> bytes:
        return to_int16(samples).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class WavEncoder(PcmEncoder):
    """A WAV file whose header says that its length is unknown."""

    def __init__(self, rate: int) -> None:
        self._header = wav_header(rate)

    def encode(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + super().encode(samples)

    def finish(self) -> bytes:
        return self._header


def wav_header(rate: int, data_bytes: int | None = None) -> bytes:
    """The 44 bytes before 16-bit mono samples at `rate` Hz; `data_bytes` None: not known yet."""
    riff_bytes = STREAMED_SIZE if data_bytes is None else data_bytes + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        STREAMED_SIZE if data_bytes is None else data_bytes,
    )


class _Sink:
    """A file that can only be written; `take` empties it."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


class CodecEncoder:
    """mp3, Ogg-Opus, FLAC and AAC by libav, in containers that need no seeking back."""

    # format -> container, codec, options of the container
    _KINDS = {  # noqa: RUF012 - a constant
        "mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),  # the Xing frame holds a length that is not known yet
        "opus": ("ogg", "libopus", {"page_duration": "20000"}),  # microseconds: a page leaves with every packet
        "flac": ("flac", "flac", {}),
        "aac": ("adts", "aac", {}),
    }

    def __init__(self, kind: str, rate: int) -> None:
        container, codec, options = self._KINDS[kind]
        self._sink = _Sink()
        self._rate = rate
        self._position = 0  # in samples
        self._output = av.open(self._sink, "w", format=container, options=options)
        self._stream = cast(av.audio.stream.AudioStream, self._output.add_stream(codec, rate=rate, layout="mono"))

    def encode(self, samples: Samples) -> bytes:
        if not len(samples):
            return b""
        frame = av.AudioFrame.from_ndarray(to_int16(samples)[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._position
        self._position += len(samples)
        for packet in self._stream.encode(frame):
            self._output.mux(packet)
        return self._sink.take()

    def finish(self) -> bytes:
        if self._position:
            for packet in self._stream.encode(None):
                self._output.mux(packet)
        self._output.close()
        return self._sink.take()


CONTENT_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}


def encoder(kind: str, rate: int) -> Encoder:
    """`kind`: one of CONTENT_TYPES; `rate` in Hz."""
    match kind:
        case "wav":
            return WavEncoder(rate)
        case "pcm":
            return PcmEncoder()
        case _:
            return CodecEncoder(kind, rate)


def whole_wav(samples: Samples, rate: int) -> bytes:
    data = to_int16(samples).astype("<i2").tobytes()
    return wav_header(rate, len(data)) + data


def join_samples(pieces: list[Samples]) -> Samples:
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
