"""What a decoder tells the service over its pipe. The service believes nothing of it: whoever broke the decoder writes
here, so a frame is bytes with a cap, never a pickle, and its text is printable ASCII.

    frame   kind, one byte · length, four bytes big endian · so many bytes
    S       samples, 16-bit, this machine's byte order
    W       a warning about what was decoded, to be told to the client
    E       code of an error, a space, its message; the last frame
    D       the sound has ended; the last frame
"""

from __future__ import annotations

import struct
from typing import Protocol

SAMPLES, WARNING, ERROR, DONE = KINDS = b"S", b"W", b"E", b"D"
UNSUPPORTED, TOO_LARGE, MEMORY, BROKEN = "unsupported", "too_large", "memory", "broken"  # codes of errors
MAX_BYTES = 1 << 16
MAX_TEXT = 400  # characters
_HEAD = struct.Struct(">cI")


class Source(Protocol):
    """As asyncio.StreamReader; its `readexactly` raises IncompleteReadError."""

    async def readexactly(self, n: int, /) -> bytes: ...


def pack(kind: bytes, body: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(body)) + body


def pack_text(kind: bytes, text: str) -> bytes:
    return pack(kind, printable(text).encode())


def printable(text: str) -> str:
    """Safe in a log, in a header and on a screen."""
    return "".join(character if " " <= character <= "~" else "?" for character in text[:MAX_TEXT])


async def read(source: Source) -> tuple[bytes, bytes]:
    """Kind and body of the next frame. Raises ValueError about one that is not ours, asyncio.IncompleteReadError at the end."""
    kind, length = _HEAD.unpack(await source.readexactly(_HEAD.size))
    if kind not in KINDS or length > MAX_BYTES:
        raise ValueError(f"a frame {kind!r} of {length} bytes came from a decoder")
    return kind, await source.readexactly(length)
