"""Files that were joined to one, as by `cat`: where each of them begins and ends, told by their own structure.

FFmpeg reads the first of them and stops, or takes the header of the next for damage. What says how long it is (RIFF, AIFF,
MP4, Matroska) is believed where that can be true; everything else ends where the beginning of another file is found.
Behind the end of a file, padding and tags (ID3v1, APEv2, Lyrics3) are nothing that anybody misses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from web_demo.media.syncs import SYNC, end_of_frames, in_a_row

_CHUNK = 1 << 20
_LOOK = 1 << 12
_OVERLAP = 256  # no beginning is longer
_MOST_PAGE_BYTES = 27 + 255 + 255 * 255  # of Ogg
_PADDING = b"\0\r\n"
_UNKNOWN = (0, 0xFFFFFFFF)  # as a length: the writer could not go back to it
_NAME = re.compile(rb"[ -~\xa9]{4}")  # of a chunk, of a box


@dataclass(frozen=True)
class Part:
    """Bytes of a file: `known` when they begin as audio files do."""

    start: int
    end: int
    known: bool = True


@dataclass(frozen=True)
class _Kind:
    """`literal` stands `offsets` bytes behind the beginning, where `head` matches. `raw`: a stream of frames, which holds
    nothing that looks like the beginning of another kind of file, as containers may."""

    literal: bytes
    head: re.Pattern[bytes]
    offsets: tuple[int, ...] = (0,)
    raw: bool = False


def _kind(literal: bytes, head: bytes, *offsets: int, raw: bool = False) -> _Kind:
    return _Kind(literal, re.compile(head, re.DOTALL), offsets or (0,), raw)


_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_WAVE = _kind(b"RIFF", rb"RIFF.{4}WAVE")
_WAVE64 = _kind(b"RF64", rb"RF64.{4}WAVE")
_AVI = _kind(b"RIFF", rb"RIFF.{4}AVI ")
_AIFF = _kind(b"FORM", rb"FORM.{4}AIF[FC]")
_OGG = _kind(b"OggS\0", rb"OggS\0[\2\6]")
_MP4 = _kind(b"ftyp", rb"\0\0\0[\x08-\xff]ftyp", 4)
_QUICKTIME = _kind(b"moov", rb".{4}(?:moov|mdat|wide|free|skip|pnot)", 4)
_MATROSKA = _kind(b"\x1aE\xdf\xa3", rb"\x1aE\xdf\xa3.{0,80}?B\x82.(?:webm|matroska)")
_TAGGED = _kind(b"ID3", rb"ID3[\2-\4][\0-\x0f].[\0-\x7f]{4}", raw=True)
_FRAMES = _Kind(b"", SYNC, raw=True)  # too short to be searched for
_LAME = (  # the first frame of an MP3 file, which says how long it is
    _kind(b"Xing", rb"\xff[\xe2-\xff][\x10-\xef].\0{9,32}Xing", 13, 21, 36, raw=True),
    _kind(b"Info", rb"\xff[\xe2-\xff][\x10-\xef].\0{9,32}Info", 13, 21, 36, raw=True),
)
_INITIAL = b"".join(b"\\x%02x" % byte for byte in range(256) if byte & 8)  # flag of a first WavPack block
_KINDS = (
    *(_WAVE, _WAVE64, _AVI, _AIFF, _OGG, _MP4, _MATROSKA, _TAGGED, *_LAME),
    _kind(b"fLaC", rb"fLaC[\0\x80]\0\0\x22", raw=True),
    _kind(b".snd", rb"\.snd\0\0.{6}\0\0\0[\1-\x1b]", raw=True),
    _kind(b"wvpk", rb"wvpk.{5}\x04.{6}\0{4}.{5}[" + _INITIAL + rb"]", raw=True),
    _kind(b"caff", rb"caff\0\x01\0\0desc"),
    _kind(b"TTA1", rb"TTA1[\1\2]\0", raw=True),
    _kind(b"#!AMR", rb"#!AMR(?:-WB)?\n", raw=True),
    _kind(b"Creative Voice File\x1a", rb"Creative Voice File\x1a"),
    _kind(b"FLV\1", rb"FLV\x01[\1\4\5]\0\0\0\x09"),
    _kind(_ASF, re.escape(_ASF)),
    _kind(_W64, re.escape(_W64)),
)


def parts(file: BinaryIO) -> Iterator[Part]:
    """The files in this one, in order, without the tags and the padding between them and behind them. What cannot be told to
    be audio comes as a part that is not `known`; where that is the first, it is all, and FFmpeg may know more."""
    size = _untagged(file, file.seek(0, os.SEEK_END))
    at = 0
    while at < size or not at:
        body = _behind_tags(file, at, size)
        kind = _kind_at(file, body)
        if kind is _FRAMES and at and not in_a_row(file, body):
            kind = None
        if kind is None and not at:
            yield Part(at, size, known=False)
            return
        end = _stated_end(file, kind, body, size) if kind else None
        if end is None:
            end = _next_beginning(file, kind or _FRAMES, body, size)
        sound_end = _untagged(file, end) if kind is None or kind.raw else end
        if kind in (_FRAMES, *_LAME):
            end = sound_end = end_of_frames(file, body, sound_end) or end
        if sound_end > at:
            yield Part(at, sound_end, known=kind is not None)
        at = _behind_tags(file, end, size)


def _kind_at(file: BinaryIO, at: int) -> _Kind | None:
    head = _read(file, at, _OVERLAP)
    return next((kind for kind in (*_KINDS, _QUICKTIME, _FRAMES) if kind.head.match(head)), None)


def _next_beginning(file: BinaryIO, kind: _Kind, at: int, size: int) -> int:
    kinds = _KINDS if kind.raw else (kind,)
    for start in range(at + 1, size, _CHUNK):
        data = _read(file, start, _CHUNK + _OVERLAP)
        found = [start + place for other in kinds for place in _places(other, data) if place < _CHUNK]
        if found:
            return min(found)
    return size


def _places(kind: _Kind, data: bytes) -> Iterator[int]:
    at = data.find(kind.literal)
    while at >= 0:
        yield from (at - offset for offset in kind.offsets if offset <= at and kind.head.match(data, at - offset))
        at = data.find(kind.literal, at + 1)


def _stated_end(file: BinaryIO, kind: _Kind, at: int, size: int) -> int | None:
    """As the file says it; None: it does not, or says what cannot be."""
    if kind in (_WAVE, _WAVE64):
        return _wave_end(file, at, size)
    if kind is _AVI:
        return _avi_end(file, at, size)
    if kind is _AIFF:
        length = int.from_bytes(_read(file, at + 4, 4), "big")
        return None if length in _UNKNOWN else min(at + 8 + length + length % 2, size)
    if kind is _OGG:
        return _ogg_end(file, at, size)
    if kind in (_MP4, _QUICKTIME):
        return _boxes_end(file, at, size)
    return _matroska_end(file, at, size) if kind is _MATROSKA else None


def _wave_end(file: BinaryIO, at: int, size: int) -> int | None:
    """Behind the last chunk. The length of the whole is not asked: more writers leave that wrong than the one of the sound."""
    long_bytes = 0
    sounded = False
    at += 12
    while at + 8 <= size:
        head = _read(file, at, 24)
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if not _NAME.match(name) or any(other.head.match(_read(file, at, _OVERLAP)) for other in _KINDS):
            break
        if name == b"ds64":  # EBU Tech 3306
            long_bytes = int.from_bytes(head[16:24], "little")
        if name == b"data" and length in _UNKNOWN:
            if not long_bytes:
                return None
            length = long_bytes
        if at + 8 + length > size:  # broken off, or no chunk at all
            return at if sounded and name != b"data" else size
        sounded |= name == b"data"
        at += 8 + length
        if length % 2 and _read(file, at, 1) == b"\0":  # not everybody pads
            at += 1
    return at


def _avi_end(file: BinaryIO, at: int, size: int) -> int | None:
    while at + 12 <= size:
        head = _read(file, at, 12)
        length = int.from_bytes(head[4:8], "little")
        if length in _UNKNOWN:
            return None
        at += 8 + length + length % 2
        head = _read(file, at, 12)
        if head[:4] != b"RIFF" or head[8:] != b"AVIX":  # by which long files go on
            break
    return min(at, size)


def _ogg_end(file: BinaryIO, at: int, size: int) -> int:
    """RFC 3533, 6. Behind the last page, or where other tracks begin behind those that began together."""
    begun = False
    while at < size:
        head = _read(file, at, 27 + 255)
        if head[:5] != b"OggS\0":
            damaged = _read(file, at, _MOST_PAGE_BYTES).find(b"OggS\0")
            if damaged < 0:
                return at
            at += damaged
            continue
        if len(head) < 27 or len(head) < 27 + head[26]:
            break
        begins = bool(head[5] & 2)
        if begins and begun:
            return at
        begun |= not begins
        at += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return size


def _boxes_end(file: BinaryIO, at: int, size: int) -> int:
    """ISO 14496-12, 4.2. Before the second `ftyp`; of files that have none, behind the first that are whole."""
    seen: set[bytes] = set()
    whole = 0
    while at + 8 <= size:
        head = _read(file, at, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if name == b"ftyp" and seen:
            break
        if name == b"moov" and name in seen and whole:
            return whole
        if not length and (_NAME.match(name) or not any(name)):  # to the end of the file
            return size
        if length < 8 or not _NAME.match(name):
            break
        if at + length > size:  # broken off, or no box at all
            return at if whole and name not in (b"moov", b"mdat", b"moof") else size
        seen.add(name)
        at += length
        if not whole and {b"moov", b"mdat"} <= seen:
            whole = at
    return at


def _matroska_end(file: BinaryIO, at: int, size: int) -> int | None:
    """RFC 8794, 4: of the header and the one segment behind it."""
    for name in (b"\x1aE\xdf\xa3", b"\x18S\x80g"):
        head = _read(file, at, 12)
        width = 9 - head[4].bit_length() if len(head) > 4 and head[4] else 0
        if head[:4] != name or not width:
            return None
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if length in ((1 << 7 * width) - 1, 0):
            return None
        at += 4 + width + length
    return at if at <= size else None


def _behind_tags(file: BinaryIO, at: int, size: int) -> int:
    """Behind padding and tags that tell where they end (https://id3.org/id3v2.4.0-structure, 3.1; https://id3.org/ID3v1;
    https://id3.org/Lyrics3v2; APEv2 with its header)."""
    while at < size:
        at = _behind_padding(file, at, size)
        head = _read(file, at, 32)
        if _TAGGED.head.match(head):
            length = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            length = 32 + int.from_bytes(head[12:16], "little") * bool(head[23] & 0x20)
        elif head[:3] == b"TAG" and size - at >= 128:
            length = 128
        elif head[:11] == b"LYRICSBEGIN" and (end := _read(file, at, 1 << 17).find(b"LYRICS200")) > 0:
            length = end + 9
        else:
            break
        if at + length > size:
            break
        at += length
    return at


def _behind_padding(file: BinaryIO, at: int, size: int) -> int:
    start = at
    while at < size:
        data = _read(file, at, min(_LOOK, size - at))
        rest = data.lstrip(_PADDING)
        at += len(data) - len(rest)
        if rest or not data:
            break
    for box in range(max(start, at - 4), at):  # whose length begins with zeros
        if any(kind.head.match(_read(file, box, 8)) for kind in (_MP4, _QUICKTIME)):
            return box
    return at


def _untagged(file: BinaryIO, size: int) -> int:
    """Where the tags begin that stand at the end of the file."""
    end = size
    while end:
        if _read(file, end - 128, 3) == b"TAG":
            length = 128
        elif (foot := _read(file, end - 32, 32))[:8] == b"APETAGEX":
            length = int.from_bytes(foot[12:16], "little") + (32 if foot[23] & 0x80 else 0)
        elif (foot := _read(file, end - 15, 15))[6:] == b"LYRICS200" and foot[:6].isdigit():
            length = 15 + int(foot[:6])
        else:
            break
        if not 0 < length < end:
            break
        end -= length
    return end


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    try:
        file.seek(at)
    except (OSError, ValueError, OverflowError):  # a length that lies
        return b""
    return file.read(count)
