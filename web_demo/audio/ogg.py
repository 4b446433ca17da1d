"""Ogg pages (RFC 3533) as pure functions over bytes: just what a live Opus stream (RFC 7845) needs.

The demuxer takes slices that begin and end anywhere, skips what is not Ogg and says how much it skipped, so that a
broken page costs that page and nothing else: one in whose length another page begins was cut off, and is skipped.
Checksums are written, not enforced: the transport is reliable, and clients that leave the field empty are still heard.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
CONTINUED, FIRST, LAST = 1, 2, 4
NO_PAGE = -1
_HEAD = re.compile(rb"OggS\x00[\x00-\x07]")  # by chance, in the sound of a page, once in 10^13 bytes
_HEAD_BYTES = 6
_MAX_PACKET = 64 * 1024  # an Opus packet has at most 3 * 1277 bytes; comment headers can be longer

# Ogg's CRC is zlib's with its bits the other way round, no initial value and no final inversion: so the fast C routine
# serves, given reversed bits.
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def checksum(page: bytes) -> int:
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def write_page(packets: list[bytes], *, granule: int, serial: int, sequence: int, flags: int = 0) -> bytes:
    """One page that holds whole packets. Raises ValueError when they need more than its 255 segments."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
    if len(lacing) > 255:
        raise ValueError(f"{len(packets)} packets need {len(lacing)} segments; a page has at most 255")
    body = lacing + b"".join(packets)
    head = _HEADER.pack(CAPTURE, 0, flags, granule, serial, sequence, 0, len(lacing))
    crc = checksum(head + body)
    return head[:22] + crc.to_bytes(4, "little") + head[26:] + body


class Demuxer:
    """Slices in, packets out. `skipped_bytes` counts what was no part of a page. Take what `feed` gives to its end, or `reset`."""

    def __init__(self) -> None:
        self.skipped_bytes = 0
        self._buffer = b""
        self._partial = b""  # the beginning of a packet that goes on in the next page

    def reset(self) -> None:
        """Forget what is not whole: the next page begins anew."""
        self._buffer = self._partial = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer + data if self._buffer else data
        position = 0
        while True:
            start = buffer.find(CAPTURE, position)
            if start < 0:
                keep = _possible_capture(buffer, position)
                self._skip(len(buffer) - position - keep)
                self._buffer = buffer[len(buffer) - keep :]
                return
            self._skip(start - position)
            end = _page_end(buffer, start)
            if end == NO_PAGE:  # the four letters, but no page
                self._skip(4)
                position = start + 4
                continue
            last = len(buffer) if end is None else end
            other = _HEAD.search(buffer, start + 4, last + _HEAD_BYTES - 1)
            if other is not None:  # the page was cut off
                self._skip(other.start() - start)
                position = other.start()
                continue
            if end is None or _ends_in_doubt(buffer, start, end):  # wait for more
                self._buffer = buffer[start:]
                return
            yield from self._packets(buffer[start:end])
            position = end

    def _skip(self, size: int) -> None:
        if size:
            self.skipped_bytes += size
            self._partial = b""  # what follows may not be its end

    def _packets(self, page: bytes) -> Iterator[bytes]:
        flags, segments = page[5], page[26]
        packet = self._partial if flags & CONTINUED else b""
        drop = bool(flags & CONTINUED) and not self._partial  # the beginning was lost with its page
        self._partial = b""
        position = 27 + segments
        for size in page[27 : 27 + segments]:
            packet += page[position : position + size]
            position += size
            if size == 255:
                continue
            if not drop:
                yield packet
            packet, drop = b"", False
        if segments and page[26 + segments] == 255 and not drop and len(packet) <= _MAX_PACKET:
            self._partial = packet


def _possible_capture(buffer: bytes, position: int) -> int:
    """How many bytes at the end could be the beginning of a capture pattern."""
    for length in (3, 2, 1):
        if len(buffer) - position >= length and buffer.endswith(CAPTURE[:length]):
            return length
    return 0


def _ends_in_doubt(buffer: bytes, start: int, end: int) -> bool:
    """Too little is there to tell whether the last bytes of the page are the head of another one, which would show that this
    one was cut off."""
    tails = (buffer[at:] for at in range(max(end - _HEAD_BYTES + 1, start + 4), end))
    if not any(len(tail) < _HEAD_BYTES and (CAPTURE + b"\x00").startswith(tail) for tail in tails):
        return False
    page = buffer[start:end]
    return checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little")


def _page_end(buffer: bytes, start: int) -> int | None:
    """Where the page at `start` ends; None when more bytes are needed; NO_PAGE when it is not a page of version 0."""
    if len(buffer) > start + 5 and (buffer[start + 4] != 0 or buffer[start + 5] > 7):
        return NO_PAGE
    if len(buffer) < start + 27:
        return None
    segments = buffer[start + 26]
    table_end = start + 27 + segments
    if len(buffer) < table_end:
        return None
    end = table_end + sum(buffer[start + 27 : table_end])
    return end if len(buffer) >= end else None
