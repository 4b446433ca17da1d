"""Audio files from strangers, decoded in memory with caps.

FFmpeg probes for formats, and some of them (playlists, image sequences) open other files and URLs. So the format is
told from the first bytes, from a short list, and FFmpeg is held to it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.errors import TooLarge, UnsupportedMedia

FORMATS = "wav, mp3, flac, ogg, opus, m4a, webm, aac, amr, aiff"
RATES = range(4_000, 384_001)  # Hz
READABLE = f"send one of: {FORMATS}"


@dataclass(frozen=True, eq=False)
class Decoded:
    """`damage` says what was wrong with a file that could be read only in part."""

    audio: Audio
    damage: str = ""


def container_of(data: bytes | bytearray) -> str | None:
    """FFmpeg's name of the demuxer for these bytes; None when they are none of the audio files that we read."""
    head = bytes(data[:64])
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "mov"
    for magic, name in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"#!AMR", "amr"),
        (b"ID3", "mp3"),
    ):
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the sync word of an MPEG audio frame
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return None


def check_size(size: int, max_bytes: int) -> None:
    """For files that did not come by a form, whose reader has its own cap. Raises TooLarge."""
    if size > max_bytes:
        raise TooLarge(f"the audio file has {size / 2**20:.1f} MiB; at most {max_bytes / 2**20:g} MiB are taken")


def decode(
    data: bytes | bytearray, *, max_s: float, rate: int = SPEECH_RATE, stopped: Callable[[], bool] = lambda: False
) -> Decoded:
    """The first audio stream as mono at `rate` Hz. Blocks: run it in a thread; it ends early when `stopped()`.

    Raises UnsupportedMedia when there is no readable audio, TooLarge as soon as more than `max_s` seconds came out.
    """
    if not data:
        raise UnsupportedMedia(f"the audio file is empty (0 bytes); {READABLE}")
    container = container_of(data)
    if container is None:
        raise UnsupportedMedia(f"the file ({len(data)} bytes) does not begin like any audio file; {READABLE}")
    pieces: list[Samples] = []
    limit, length, damage = round(max_s * rate), 0, ""
    try:
        with av.open(io.BytesIO(data), "r", format=container, metadata_errors="ignore") as file:
            if not file.streams.audio:
                raise UnsupportedMedia(f"the file holds no audio stream; {READABLE}")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in file.decode(file.streams.audio[0]):
                if frame.sample_rate not in RATES:  # one frame at a forged 1 Hz would be an hour of sound
                    raise UnsupportedMedia(
                        f"the sample rate is {frame.sample_rate} Hz; {RATES[0]} to {RATES[-1]} are read"
                    )
                for resampled in resampler.resample(frame):
                    pieces.append(resampled.to_ndarray()[0])
                    length += resampled.samples
                if length > limit + rate // 10:  # encoders pad
                    raise TooLarge(f"the audio is longer than {max_s:g} s, the most that is taken; send it in parts")
                if stopped():
                    break
            pieces += [rest.to_ndarray()[0] for rest in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:  # ValueError: the stream's layout or rate changed half way
        if not length:
            raise UnsupportedMedia(f"the {container} file cannot be read ({error}); {READABLE}") from error
        damage = f"the file is damaged after {length / rate:.1f} s: only the part before was used"
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    np.clip(samples, -1.0, 1.0, out=samples)
    return Decoded(Audio(samples[:limit], rate), damage)
