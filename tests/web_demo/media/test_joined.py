"""Where files begin and end that were joined: bytes in, numbers out."""

import io
import struct

import pytest

from web_demo.media.joined import parts


def riff(body: bytes, *, says: int | None = None, sound_says: int | None = None) -> bytes:
    chunks = b"WAVEfmt " + struct.pack("<I16x", 16)
    chunks += b"data" + struct.pack("<I", len(body) if sound_says is None else sound_says) + body
    return b"RIFF" + struct.pack("<I", len(chunks) if says is None else says) + chunks


def page(*, first: bool, body: bytes = b"sound") -> bytes:
    return b"OggS\0" + (b"\2" if first else b"\0") + bytes(20) + bytes([1, len(body)]) + body


def box(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def matroska(body: bytes, *, known: bool = True) -> bytes:
    length = struct.pack(">Q", len(body) | 1 << 56) if known else b"\xff"
    return b"\x1aE\xdf\xa3\x87\x42\x82\x84webm" + b"\x18S\x80g" + length + body


def mpeg(frames: int) -> bytes:
    return frames * (b"\xff\xfb\x90\x00" + 413 * b"\x55")


def id3(body: bytes) -> bytes:
    return b"ID3\4\0\0\0\0" + bytes([len(body) >> 7, len(body) & 127]) + body


FLAC = b"fLaC\0\0\0\x22" + 300 * b"\x55"
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 72, 1, 0xA0000000) + 40 * b"i"
APE += b"APETAGEX" + struct.pack("<IIII8x", 2000, 72, 1, 0x80000000)
LYRICS = b"LYRICSBEGIN" + 40 * b"l" + b"000051LYRICS200"
ID3V1 = b"TAG" + 125 * b"t"
WAV, MP4 = riff(100 * b"\x55"), box(b"ftyp", b"M4A ") + box(b"mdat", 99 * b"d") + box(b"moov", b"m")
OLD = box(b"mdat", 99 * b"d") + box(b"moov", b"m")
OGG = page(first=True) + page(first=True) + page(first=False)


@pytest.mark.parametrize(
    "files",
    [
        [WAV, WAV],
        [riff(b"sound", says=0), WAV],
        [riff(b"odd" * 5), WAV],
        [riff(b"sound", sound_says=0xFFFFFFFF), WAV],
        [riff(b"sound", sound_says=0), riff(b"sound", sound_says=0)],
        [riff(b"sound" + FLAC), WAV],
        [riff(b"sound") + b"LIST" + struct.pack("<I4s", 4, b"INFO"), WAV],
        [MP4, MP4, MP4],
        [OLD, OLD],
        [OLD, MP4, OLD],
        [OGG, OGG, FLAC],
        [matroska(b"fLaC\0\0\0\x22"), matroska(b"1")],
        [matroska(b"fLaC\0\0\0\x22", known=False), matroska(b"1", known=False), matroska(b"2")],
        [FLAC, FLAC, WAV, MP4, OGG],
        [mpeg(3), id3(b"title") + mpeg(4)],
        [id3(FLAC) + mpeg(3), FLAC],
    ],
)
def test_every_file_is_found(files):
    """Without the tags in front of it, but for the first."""
    at = 0
    found = list(parts(io.BytesIO(b"".join(files))))
    for part, file in zip(found, files, strict=True):
        tag = 15 if at and file[:3] == b"ID3" else 0
        assert (part.start, part.end, part.known) == (at + tag, at + len(file), True)
        at += len(file)


@pytest.mark.parametrize("sound", [WAV, MP4, id3(b"title") + mpeg(5), FLAC, matroska(b"1")])
@pytest.mark.parametrize("behind", [ID3V1, APE, LYRICS + ID3V1, APE + ID3V1, APE + LYRICS + ID3V1])
def test_tags_belong_to_no_part(sound, behind):
    assert [(part.start, part.end) for part in parts(io.BytesIO(sound + behind))] == [(0, len(sound))]
    both = list(parts(io.BytesIO(sound + behind + sound + behind)))
    tag = 15 if sound[:3] == b"ID3" else 0
    assert [part.end - part.start for part in both] == [len(sound), len(sound) - tag]


def test_what_is_unknown_between_two_files_hides_neither():
    found = [(part.start, part.end, part.known) for part in parts(io.BytesIO(WAV + 30 * b"unknown" + MP4))]
    assert found == [
        (0, len(WAV), True),
        (len(WAV), len(WAV) + 210, False),
        (len(WAV) + 210, len(WAV) + 210 + len(MP4), True),
    ]


@pytest.mark.parametrize("sound", [WAV, MP4, OGG, matroska(b"1")])
def test_what_is_unknown_behind_a_file_is_the_last_part(sound):
    first, rest = parts(io.BytesIO(sound + b"something else"))
    assert (first.end, rest.start, rest.end, rest.known) == (len(sound), len(sound), len(sound) + 14, False)
    assert len(list(parts(io.BytesIO(sound + bytes(5000))))) == 1


@pytest.mark.parametrize(
    "data", [b"", b"x", b"RIFF", b"ID3", b"\xff", WAV[:30], MP4[:20], OGG[:27], OGG[:20], b"\0\0\0\1ftyp" + b"\xff" * 8]
)
def test_what_is_broken_off_is_one_part(data):
    assert [(part.start, part.end) for part in parts(io.BytesIO(data))] == [(0, len(data))]
