"""Reference recordings from users: where they may come from, and what must be true of them.

A recording comes as bytes (an upload, or base64) or as a path inside the one folder that the operator opened. Nothing
is fetched, nothing is written.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import stat
from pathlib import Path

import av
import numpy as np

from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Audio, Samples
from web_demo.audio.vad import speech_spans
from web_demo.errors import Forbidden, InvalidRequest, NotFound, TooLarge, UnsupportedMedia
from web_demo.server.common.forms import FormLimits

MAX_PROMPT_BYTES = 12 << 20
FORM_LIMITS = FormLimits(MAX_PROMPT_BYTES)
MAX_PROMPT_S = 30.0
MIN_PROMPT_S = 1.0
MIN_SPEECH_S = 0.5
MAX_PROMPT_CHARS = 500
MIN_RATE, MAX_RATE = 8_000, 192_000  # Hz

_FTYP = slice(4, 8)
# libav's probing also finds playlists, which open other files: the format is decided here, and given to it.
_MAGIC = (
    (b"RIFF", "wav"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"ID3", "mp3"),
    (b"#!AMR", "amr"),
)


def from_base64(text: str) -> bytes:
    """`text`: base64, with or without a `data:audio/…;base64,` in front."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest("a data: URL must look like data:audio/wav;base64,…")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"the recording is not valid base64: {error}") from error


def from_path(path: str, folder: Path | None) -> bytes:
    """The file at `path`, absolute or relative to `folder`; raises Forbidden for anything outside of it."""
    if folder is None:
        raise Forbidden(
            "prompt_wav as a path is not allowed here: the operator can allow one folder with --prompt-dir; "
            "or send the recording itself, as data:audio/wav;base64,… or by a multipart upload"
        )
    root = folder.resolve()
    try:
        target = (root / path).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, a name too long, a loop of links
        raise InvalidRequest(f"prompt_wav is not a path: {error}") from error
    if not target.is_relative_to(root):
        raise Forbidden("prompt_wav must be inside the folder that the operator gave as --prompt-dir")
    return _read_regular(target, path)


def _read_regular(target: Path, asked: str) -> bytes:
    try:
        # Not blocking: opening a named pipe would wait for its other end.
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"prompt_wav {asked[:200]!r}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequest(f"prompt_wav {asked[:200]!r} is not a file")
        if status.st_size > MAX_PROMPT_BYTES:
            raise TooLarge(f"the recording has {status.st_size} bytes; at most {MAX_PROMPT_BYTES} are taken")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_PROMPT_BYTES)
    finally:
        os.close(descriptor)


def decode(data: bytes) -> Audio:
    """The recording as Audio at WIRE_RATE, checked: 1 to 30 s, with speech in it. Blocking: call it in a thread."""
    if len(data) > MAX_PROMPT_BYTES:
        raise TooLarge(f"the recording has {len(data)} bytes; at most {MAX_PROMPT_BYTES} are taken")
    audio = Audio(_samples(data), WIRE_RATE)
    if audio.seconds < MIN_PROMPT_S:
        raise InvalidRequest(f"the recording lasts {audio.seconds:.2f} s; {MIN_PROMPT_S:g} to {MAX_PROMPT_S:g} s work")
    spans = speech_spans(audio.at(SPEECH_RATE).samples, pad_s=0.0)
    if sum(end - start for start, end in spans) < MIN_SPEECH_S * SPEECH_RATE:
        raise InvalidRequest("no speech was found in the recording; 3 to 10 s of one person, without music, work best")
    return audio


def _samples(data: bytes) -> Samples:
    kind = _container(data)
    if kind is None:
        raise UnsupportedMedia("the recording is in no known audio format; wav, mp3, flac, ogg, m4a and webm are read")
    pieces: list[Samples] = []
    count = 0
    try:
        with av.open(io.BytesIO(data), "r", format=kind) as container:
            if not container.streams.audio:
                raise UnsupportedMedia("the file holds no audio")
            rate = container.streams.audio[0].rate
            if not MIN_RATE <= rate <= MAX_RATE:  # at 1 Hz, a few bytes would become gigabytes
                raise UnsupportedMedia(
                    f"the recording says that it has {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read"
                )
            resampler = av.AudioResampler("flt", "mono", WIRE_RATE)
            for frame in container.decode(container.streams.audio[0]):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray()[0])
                    count += piece.samples
                if count > (MAX_PROMPT_S + 0.1) * WIRE_RATE:
                    raise TooLarge(f"the recording is longer than {MAX_PROMPT_S:g} s; cut it to 3 to 10 s")
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError) as error:
        raise UnsupportedMedia(f"the recording cannot be read as {kind}: {error}") from error
    if not pieces:
        raise UnsupportedMedia(f"the recording is an empty {kind} file")
    return np.nan_to_num(np.concatenate(pieces), posinf=0.0, neginf=0.0)


def _container(data: bytes) -> str | None:
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[_FTYP] == b"ftyp":
        return "mp4"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return "aac" if data[1] & 0x06 == 0 else "mp3"  # the layer bits of MPEG audio are zero in ADTS only
    return None
