"""Reference recordings from users: where they may come from, and what must be true of them.

A recording comes as bytes (an upload, or base64) or as a path inside the one folder that the operator opened. Nothing
is fetched, nothing is written.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Audio
from web_demo.audio.vad import speech_spans
from web_demo.errors import Forbidden, InvalidRequest, NotFound, TooLarge, UnsupportedMedia
from web_demo.media.decoders import Decoders
from web_demo.server.common.forms import BodyLimits, FilePart

MAX_PROMPT_BYTES = 12 << 20
BODY_LIMITS = BodyLimits(MAX_PROMPT_BYTES)
MAX_PROMPT_S = 30.0
MIN_PROMPT_S = 1.0
MIN_SPEECH_S = 0.5
MAX_PROMPT_CHARS = 500


def from_base64(text: str) -> bytes:
    """`text`: base64, in one line or many, with or without a `data:audio/…;base64,` in front."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest("a data: URL must look like data:audio/wav;base64,…")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            f"the recording is not valid base64 ({error}): send it as data:audio/wav;base64,…"
        ) from error


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
        check_size(status.st_size)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_PROMPT_BYTES)
    finally:
        os.close(descriptor)


def check_size(size: int) -> None:
    """Raises TooLarge. For recordings that did not come by a form, whose reader has its own cap."""
    if size > MAX_PROMPT_BYTES:
        raise TooLarge(f"the recording has {size / 2**20:.1f} MiB; at most {MAX_PROMPT_BYTES / 2**20:g} MiB are taken")


async def decode(decoders: Decoders, recording: FilePart) -> Audio:
    """The recording as Audio at WIRE_RATE, checked: 1 to 30 s, with speech in it."""
    check_size(recording.size)
    async with decoders.decoding(recording.file, recording.size, max_s=MAX_PROMPT_S, rate=WIRE_RATE) as sound:
        whole = await sound.whole()
    audio = Audio(
        whole.samples[: round(MAX_PROMPT_S * whole.rate)], whole.rate
    )  # a little more is padding of its encoder
    if sound.warnings and audio.samples.any():  # silence has an error of its own
        raise UnsupportedMedia(f"{'; '.join(sound.warnings)}: a voice is made of a whole recording with one track")
    await off_loop(_check, audio)
    return audio


def _check(audio: Audio) -> None:
    if audio.seconds < MIN_PROMPT_S:
        raise InvalidRequest(f"the recording lasts {audio.seconds:.2f} s; {MIN_PROMPT_S:g} to {MAX_PROMPT_S:g} s work")
    spans = speech_spans(audio.at(SPEECH_RATE).samples, pad_s=0.0)
    if sum(end - start for start, end in spans) < MIN_SPEECH_S * SPEECH_RATE:
        raise InvalidRequest("no speech was found in the recording; 3 to 10 s of one person, without music, work best")
