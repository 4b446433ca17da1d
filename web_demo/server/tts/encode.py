"""Sound into the bytes of a file: while it is being made, so that what is returned can be sent at once, or whole, with its
length in its header where the format has one."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import av
import av.audio.stream
import numpy as np

from web_demo.audio.samples import Resampler, Samples, to_int16
from web_demo.errors import InvalidRequest

WAV_HEADER_BYTES = 44
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


class WholeWavEncoder(PcmEncoder):
    """A WAV file that is there at the end, with its length in its header."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._data = bytearray()

    def encode(self, samples: Samples) -> bytes:
        self._data += super().encode(samples)
        return b""

    def finish(self) -> bytes:
        return wav_header(self._rate, len(self._data)) + bytes(self._data)


def wav_header(rate: int, data_bytes: int | None = None) -> bytes:
    """The WAV_HEADER_BYTES before 16-bit mono samples at `rate` Hz; `data_bytes` None: not known yet."""
    riff_bytes = STREAMED_SIZE if data_bytes is None else data_bytes + WAV_HEADER_BYTES - 8
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
    """A file that can only be written, from its beginning to its end; `take` empties it."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken

    def end(self) -> bytes:
        return self.take()


class _File(io.BytesIO):
    """A file whose header is written once more at its end, when its length is known: nothing is taken before."""

    def take(self) -> bytes:
        return b""

    def end(self) -> bytes:
        return self.getvalue()


class CodecEncoder:
    """mp3, Ogg-Opus, FLAC and AAC by libav, in containers that need no seeking back. `whole`: it is done nevertheless, all of the
    file comes at the end, and its header says how long it is."""

    # format -> container, codec, options of the container
    _KINDS = {  # noqa: RUF012 - a constant
        "mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),  # the Xing frame holds a length that is not known yet
        "opus": ("ogg", "libopus", {"page_duration": "20000"}),  # microseconds: a page leaves with every packet
        "flac": ("flac", "flac", {}),
        "aac": ("adts", "aac", {}),
    }

    def __init__(self, kind: str, rate: int, *, whole: bool = False) -> None:
        container, codec, options = self._KINDS[kind]
        self._sink: _File | _Sink = _File() if whole else _Sink()
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
        return self._sink.end()


CONTENT_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}


WITH_LENGTH = ("wav", "flac")  # have their length in a header, so that a file is either whole or sent while it is made

_PCM_RATES = range(8_000, 48_001)
_RATES: Mapping[str, Sequence[int]] = {  # in Hz, that a format has
    **dict.fromkeys(("wav", "pcm", "flac"), _PCM_RATES),
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "aac": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}


def check_rate(kind: str, rate: int) -> None:
    """Raises InvalidRequest for a rate that the format does not have."""
    rates = _RATES[kind]
    if rate not in rates:
        known = f"{rates[0]} to {rates[-1]}" if isinstance(rates, range) else ", ".join(map(str, rates))
        raise InvalidRequest(f"sample_rate of {kind} must be {known} (Hz), got {rate}")


class _Resampled:
    """An encoder of sound that has another rate."""

    def __init__(self, inner: Encoder, source: int, target: int) -> None:
        self._inner = inner
        self._resampler = Resampler(source, target)

    def encode(self, samples: Samples) -> bytes:
        return self._inner.encode(self._resampler.push(samples))

    def finish(self) -> bytes:
        return self._inner.encode(self._resampler.rest()) + self._inner.finish()


def encoder(kind: str, rate: int, *, source_rate: int | None = None, whole: bool = False) -> Encoder:
    """`kind`: one of CONTENT_TYPES; `rate` in Hz, of the file; `source_rate`: of the sound, where it is another one; `whole`: with
    the length in the header of those WITH_LENGTH, whose bytes then come with `finish`."""
    made = _encoder(kind, rate, whole=whole and kind in WITH_LENGTH)
    return made if source_rate in (None, rate) else _Resampled(made, source_rate or rate, rate)


def _encoder(kind: str, rate: int, *, whole: bool) -> Encoder:
    match kind:
        case "wav":
            return WholeWavEncoder(rate) if whole else WavEncoder(rate)
        case "pcm":
            return PcmEncoder()
        case _:
            return CodecEncoder(kind, rate, whole=whole)


def join_samples(pieces: list[Samples]) -> Samples:
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
