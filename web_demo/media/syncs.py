"""Streams of frames that say only how long each of them is: MPEG audio, AAC in ADTS, AC-3."""

from __future__ import annotations

import re
from typing import BinaryIO

SYNC = re.compile(rb"\xff[\xe2-\xff](?=[\x00-\xfb])|\x0b\x77")
HEAD_BYTES = 7
_CHUNK = 1 << 16
_IN_A_ROW = 3  # frames that no junk looks like

_LAYER_1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)  # kbit/s
_LAYER_2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_LAYER_3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_LOW_LAYER_1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AC3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def frame_bytes(head: bytes) -> int:
    """Of the frame that begins with this, HEAD_BYTES of it; 0: none does."""
    if len(head) < HEAD_BYTES:
        return 0
    if head[:2] == b"\x0b\x77":
        return _ac3_bytes(head)
    if head[0] != 0xFF or head[1] < 0xE0:
        return 0
    return _adts_bytes(head) if head[1] & 0xF6 == 0xF0 else _mpeg_bytes(head)


def end_of_frames(file: BinaryIO, start: int, end: int) -> int | None:
    """Behind the last frame between these places, one that is broken off included; None: there are too few to tell."""
    found = None
    at, kind = start, (0, 0)
    while at < end:
        head = _head(file, at)
        length = frame_bytes(head)
        if length and (_kind(head) == kind or in_a_row(file, at)):
            kind = _kind(head)
            at += length
            found = min(at, end)
            continue
        again = _next_frames(file, at + 1, end)
        if again is None:
            break
        at = again
    return found


def _next_frames(file: BinaryIO, start: int, end: int) -> int | None:
    for chunk in range(start, end, _CHUNK):
        file.seek(chunk)
        data = file.read(min(_CHUNK + HEAD_BYTES, end - chunk))
        for sync in SYNC.finditer(data):
            if sync.start() < _CHUNK and in_a_row(file, chunk + sync.start()):
                return chunk + sync.start()
    return None


def in_a_row(file: BinaryIO, at: int) -> bool:
    kinds = set()
    for _ in range(_IN_A_ROW):
        head = _head(file, at)
        length = frame_bytes(head)
        if not length:
            return False
        kinds.add(_kind(head))
        at += length
    return len(kinds) == 1


def _head(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(HEAD_BYTES)


def _kind(head: bytes) -> tuple[int, int]:
    """What all frames of a stream have in common: not whether there is a checksum."""
    return head[0], head[1] | 1


def _mpeg_bytes(head: bytes) -> int:
    """ISO 11172-3, 2.4.2.3, and ISO 13818-3; layer 3 also at the rates of "MPEG 2.5"."""
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bit_rate, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index == 3 or not 0 < bit_rate < 15:
        return 0
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    low = version != 3
    if layer == 1:
        return 4 * (12_000 * (_LOW_LAYER_1 if low else _LAYER_1)[bit_rate - 1] // rate + padding)
    kbits = (_LOW if low else _LAYER_2 if layer == 2 else _LAYER_3)[bit_rate - 1]
    return (72_000 if low and layer == 3 else 144_000) * kbits // rate + padding


def _adts_bytes(head: bytes) -> int:
    """ISO 14496-3, 1.A.2.2."""
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > HEAD_BYTES and head[2] >> 2 & 15 < 13 else 0


def _ac3_bytes(head: bytes) -> int:
    """ETSI TS 102 366, 4.3 and E.1.2: of E-AC-3 too."""
    if head[5] >> 3 > 10:
        return 2 * ((head[2] & 7) << 8 | head[3]) + 2
    rate_code, size_code = head[4] >> 6, head[4] & 63
    if rate_code == 3 or size_code >= 2 * len(_AC3):
        return 0
    kbits = _AC3[size_code >> 1]
    words = (2 * kbits, kbits * 960 // 441 + (size_code & 1), 3 * kbits)[rate_code]
    return 2 * words
