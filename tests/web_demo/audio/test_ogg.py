"""Ogg pages, against pages that others wrote."""

import random
import struct

import pytest

from tests.public_client import session
from web_demo.audio.ogg import CONTINUED, FIRST, LAST, Demuxer, checksum, write_page

# The first page of every stream of sphn 0.2.1 at 24 kHz.
SPHN_HEAD_PAGE = bytes.fromhex(
    "4f676753000200000000000000002a00000000000000aefef3f101134f707573486561640101000f80bb0000000000"
)


def page(lacing: list[int], body: bytes, *, flags: int = 0) -> bytes:
    """A page laid out by hand, as RFC 3533 draws it: for packets that span pages, which `write_page` never makes."""
    return struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 1, 0, 0, len(lacing)) + bytes(lacing) + body


def packets(*slices: bytes) -> list[bytes]:
    demuxer = Demuxer()
    return [packet for data in slices for packet in demuxer.feed(data)]


def without_checksum(data: bytes) -> bytes:
    return data[:22] + bytes(4) + data[26:]


def test_a_page_is_written_as_sphn_writes_it():
    head = SPHN_HEAD_PAGE[28:]
    assert write_page([head], granule=0, serial=42, sequence=0, flags=FIRST) == SPHN_HEAD_PAGE


def test_the_checksum_agrees_with_every_page_of_the_public_client():
    pages = [sent.data[1:] for sent in session().messages if sent.data[0] == 1]
    assert len(pages) > 300
    for data in pages:
        assert checksum(without_checksum(data)) == int.from_bytes(data[22:26], "little")


def test_the_checksum_notices_one_bit():
    changed = bytearray(without_checksum(SPHN_HEAD_PAGE))
    changed[30] ^= 1
    assert checksum(bytes(changed)) != checksum(without_checksum(SPHN_HEAD_PAGE))


@pytest.mark.parametrize("sizes", [[0], [1], [254], [255], [256], [510], [1277, 3], [0, 0, 5], [100] * 255])
def test_packets_of_any_size_come_back(sizes):
    written = [bytes([size % 251]) * size for size in sizes]
    assert packets(write_page(written, granule=960, serial=1, sequence=2)) == written


def test_a_page_that_would_need_too_many_segments_is_refused():
    with pytest.raises(ValueError, match="256 packets need 256 segments; a page has at most 255"):
        write_page([b"a"] * 256, granule=0, serial=1, sequence=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_cut_anywhere_gives_the_same_packets(seed):
    choice = random.Random(seed)
    written = [choice.randbytes(choice.choice([0, 1, 80, 255, 600])) for _ in range(60)]
    data = b"".join(
        write_page(written[i : i + 3], granule=i, serial=7, sequence=i, flags=LAST if i == 57 else 0)
        for i in range(0, 60, 3)
    )
    slices, position = [], 0
    while position < len(data):
        size = choice.choice([1, 2, 3, 26, 27, 28, 150, 5000])
        slices.append(data[position : position + size])
        position += size
    assert packets(*slices) == written


def test_a_packet_may_span_pages():
    packet = bytes(range(256)) * 3  # 768 = 3 * 255 + 3
    first = page([4, 255], b"aaaa" + packet[:255])
    second = page([255, 255], packet[255:765], flags=CONTINUED)
    third = page([3, 1], packet[765:] + b"z", flags=CONTINUED)
    assert packets(first + second + third) == [b"aaaa", packet, b"z"]


def test_a_packet_that_fills_its_page_to_the_brim_ends_in_the_next():
    assert packets(page([255], b"x" * 255), page([0, 1], b"y", flags=CONTINUED)) == [b"x" * 255, b"y"]


def test_the_end_of_a_packet_whose_beginning_was_lost_is_left_out():
    assert packets(page([10, 2], b"e" * 10 + b"ok", flags=CONTINUED)) == [b"ok"]


def test_a_packet_whose_beginning_was_lost_is_left_out_through_all_its_pages():
    middle, end = page([255], b"m" * 255, flags=CONTINUED), page([3, 2], b"endok", flags=CONTINUED)
    assert packets(middle, middle, end) == [b"ok"]


def test_the_beginning_of_a_packet_whose_end_was_lost_is_left_out():
    assert packets(page([255], b"x" * 255), page([2], b"ok")) == [b"ok"]


def test_a_packet_without_end_is_given_up_and_the_next_is_heard():
    endless = [page([255] * 255, bytes(255 * 255), flags=CONTINUED if i else 0) for i in range(40)]  # 2.6 MB
    for number in (2, 3, 40):
        assert packets(*endless[:number], page([3, 2], b"endok", flags=CONTINUED)) == [b"ok"]


def test_what_is_no_page_is_skipped_and_counted():
    demuxer = Demuxer()
    good = write_page([b"good"], granule=0, serial=1, sequence=0)
    assert list(demuxer.feed(b"garbage" + good + b"Ogg no" + good)) == [b"good", b"good"]
    assert demuxer.skipped_bytes == len(b"garbage") + len(b"Ogg no")


@pytest.mark.parametrize("wrong", [b"OggS\x01\x00", b"OggS\x00\xff"], ids=["version", "flags"])
def test_the_four_letters_alone_are_no_page(wrong):
    demuxer = Demuxer()
    good = write_page([b"good"], granule=0, serial=1, sequence=0)
    assert list(demuxer.feed(wrong + good)) == [b"good"]
    assert demuxer.skipped_bytes == len(wrong)


def test_the_beginning_of_a_page_at_the_end_of_a_slice_is_no_garbage():
    demuxer = Demuxer()
    good = write_page([b"good"], granule=0, serial=1, sequence=0)
    assert list(demuxer.feed(good[:3])) == []
    assert demuxer.skipped_bytes == 0
    assert list(demuxer.feed(good[3:])) == [b"good"]


@pytest.mark.parametrize("seed", range(10))
def test_noise_never_breaks_the_demuxer(seed):
    choice = random.Random(seed)
    demuxer = Demuxer()
    for _ in range(50):
        list(demuxer.feed(choice.randbytes(choice.randrange(300)) + choice.choice([b"", b"Og", b"OggS\x00\x04"])))
    # Whatever page the noise seemed to begin ends within the longest page there is.
    list(demuxer.feed(bytes(70_000)))
    assert list(demuxer.feed(write_page([b"good"], granule=0, serial=1, sequence=0))) == [b"good"]


WHOLE = [write_page([bytes([i]) * 80], granule=i, serial=1, sequence=i) for i in range(1, 20)]
HEARD = [bytes([i]) * 80 for i in range(1, 20)]


@pytest.mark.parametrize("cut", [*range(1, 40), 100, 5000, 60_000])
def test_a_page_that_was_cut_off_costs_that_page_and_nothing_of_the_next(cut):
    long = page([255] * 254 + [1], bytes(254 * 255 + 1))
    assert packets(long[:cut], *WHOLE) == HEARD
    assert packets(long[:cut] + b"".join(WHOLE)) == HEARD


@pytest.mark.parametrize("missing", range(1, 40))
def test_the_next_page_is_heard_wherever_it_lies_in_the_length_of_one_that_was_cut_off(missing):
    cut = WHOLE[0][:-missing]
    for stream in (
        [cut, *WHOLE[1:]],
        [cut + b"".join(WHOLE[1:])],
        [bytes([byte]) for byte in cut + b"".join(WHOLE[1:])],
    ):
        assert packets(*stream) == HEARD[1:]


def test_a_whole_page_whose_sound_ends_as_a_capture_begins_is_not_waited_with():
    data = [b"a" * 50 + b"Ogg", b"b" * 50 + b"OggS"]
    for packet in data:
        assert packets(write_page([packet], granule=1, serial=1, sequence=1)) == [packet]


def test_what_is_not_whole_is_forgotten_at_a_reset():
    demuxer = Demuxer()
    assert list(demuxer.feed(WHOLE[0][:60])) == []
    demuxer.reset()
    assert list(demuxer.feed(WHOLE[1])) == [HEARD[1]]
    assert demuxer.skipped_bytes == 0


def test_a_packet_does_not_go_on_after_a_page_that_was_broken():
    first, lost, end = page([255], b"a" * 255), b"broken", page([3, 2], b"endok", flags=CONTINUED)
    assert packets(first, lost, end) == [b"ok"]
