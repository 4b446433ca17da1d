"""Live Ogg-Opus streams, against sphn and av as independent ends."""

import io

import av
import numpy as np
import pytest
import soundfile
import sphn

from tests.speech import recording
from web_demo.audio import ogg, opus_decoders
from web_demo.audio.opus import OpusError, OpusReader, OpusWriter, packet_ms
from web_demo.audio.samples import Audio, TooMuchSound


@pytest.fixture(autouse=True, params=[opus_decoders.SphnDecoder, opus_decoders.AvDecoder], ids=["sphn", "av"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read here is read by both: machines differ in which one they have."""
    monkeypatch.setattr(opus_decoders, "decoder", request.param)


def tone(seconds: float, rate: int = 24_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sphn_stream(samples: np.ndarray, rate: int = 24_000) -> bytes:
    assert len(samples) % 960 == 0, "sphn has no flush"
    writer = sphn.OpusStreamWriter(rate)
    return b"".join(writer.append_pcm(samples[i : i + 1920]) for i in range(0, len(samples), 1920))


def decode_all(reader: OpusReader, data: bytes, slice_bytes: int = 145) -> np.ndarray:
    for start in range(0, len(data), slice_bytes):
        reader.push(data[start : start + slice_bytes])
    return reader.decode().samples


def energy(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0


def test_a_written_stream_is_a_valid_file_of_the_same_sound():
    speech = recording("go_forward_ten_meters").at(24_000)
    writer = OpusWriter()
    data = writer.header + b"".join(page.data for page in (*writer.write(speech.samples), *writer.flush()))
    decoded, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate in (24_000, 48_000)
    sound = Audio(decoded, rate).at(24_000).samples
    assert abs(len(sound) - len(speech.samples)) <= 1920
    n = min(len(sound), len(speech.samples))
    correlation = np.corrcoef(sound[:n], speech.samples[:n])[0, 1]
    assert correlation > 0.97  # aligned to the sample: pre-skip and positions are right
    with av.open(io.BytesIO(data)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0


def test_pages_count_the_samples_that_they_carry_and_flush_pads_the_tail():
    writer = OpusWriter()
    pages = writer.write(tone(0.1))
    assert [page.samples for page in pages] == [960, 960]
    assert sum(page.samples for page in (*pages, *writer.flush())) >= 2400
    assert OpusWriter().flush() == []


@pytest.mark.parametrize("slice_bytes", [1, 27, 145, 100_000])
def test_a_stream_cut_anywhere_decodes_to_the_same_length(slice_bytes):
    samples = decode_all(OpusReader(16_000), sphn_stream(tone(2.0)), slice_bytes)
    assert len(samples) == 32_000
    assert energy(samples[3200:]) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_long_audio_in_one_message_is_decoded_whole():
    data = sphn_stream(tone(30.0))
    assert len(decode_all(OpusReader(16_000), data, len(data))) == 30 * 16_000


def test_a_stream_goes_on_after_trimming_without_new_headers():
    data = sphn_stream(tone(4.0))
    reader = OpusReader(16_000)
    reader.push(data[: len(data) // 2])
    reader.trim(keep_ms=80)
    assert reader.pending_ms <= 120
    reader.decode()
    rest = decode_all(reader, data[len(data) // 2 :])
    assert len(rest) == pytest.approx(2 * 16_000, abs=2000)
    assert energy(rest) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_a_new_stream_each_turn_is_followed():
    reader = OpusReader(16_000)
    for _ in range(3):
        assert len(decode_all(reader, sphn_stream(tone(1.0)))) == 16_000


def test_trimming_away_the_header_of_a_new_stream_still_changes_the_decoder():
    reader = OpusReader(16_000)
    decode_all(reader, sphn_stream(tone(0.4)))
    reader.push(sphn_stream(tone(2.0)))
    reader.trim(keep_ms=400)
    assert energy(reader.decode().samples[1600:]) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_garbage_is_reported_and_the_next_page_is_heard():
    reader = OpusReader(16_000)
    data = sphn_stream(tone(1.0))
    with pytest.raises(OpusError, match="no part of an Ogg page"):
        reader.push(bytes(range(256)) * 40)
    assert len(decode_all(reader, data)) == 16_000


def test_a_broken_capture_pattern_costs_one_page():
    data = bytearray(sphn_stream(tone(2.0)))
    third = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"][5]
    data[third : third + 4] = b"XXXX"
    reader = OpusReader(16_000)
    with pytest.raises(OpusError):
        reader.push(bytes(data))
    assert len(reader.decode().samples) == 32_000 - 640


def test_a_packet_of_no_bytes_makes_no_sound():
    reader = OpusReader(16_000)
    with pytest.raises(OpusError, match="empty"):
        reader.push(ogg.write_page([b""], granule=0, serial=1, sequence=0))
    assert len(reader.decode().samples) == 0


def test_a_packet_of_one_byte_is_the_pause_that_its_sender_meant():
    reader = OpusReader(16_000)
    reader.push(ogg.write_page([b"\x08"], granule=0, serial=1, sequence=0))
    assert len(reader.decode().samples) == 320


def test_a_damaged_packet_is_counted_and_its_neighbours_are_heard():
    writer = OpusWriter()
    pages = [page.data for page in writer.write(tone(1.0))]
    bad = bytes((0xFF, 0x41)) + b"\xff" * 3  # three frames that do not fit
    reader = OpusReader(16_000)
    for page in pages[:12]:
        reader.push(page)
    reader.push(ogg.write_page([bad], granule=0, serial=9, sequence=40))
    for page in pages[12:]:
        reader.push(page)
    decoded = reader.decode()
    assert decoded.damaged_packets == 1
    assert len(decoded.samples) == 16_000


@pytest.mark.parametrize(
    ("packet", "duration"),
    [
        (b"\x00a", 10),
        (b"\x0ba" + b"\x00", None),
        (b"\xfca", 20),
        (b"\xfda", 40),
        (b"\x1b\x02", 120),
        (b"\x1b\x3f", None),
    ],
)
def test_packet_durations(packet, duration):
    if duration is None:
        with pytest.raises(OpusError):
            packet_ms(packet)
    else:
        assert packet_ms(packet) == duration


def many(packet: bytes, pages: int = 400) -> bytes:
    """Pages of as many packets as fit: a short packet may claim 120 ms."""
    return ogg.write_page([packet] * 255, granule=0, serial=1, sequence=0) * pages


@pytest.mark.parametrize("packet", [b"\x1b\x02", b"\x08", b"", b"\xff\x3f", b"OpusHead", b"OpusTags"])
def test_whatever_is_in_a_message_is_charged_before_the_work_and_no_more_than_allowed_is_kept(packet):
    reader = OpusReader(16_000)
    with pytest.raises(TooMuchSound):
        reader.push(many(packet), most_ms=1000.0)
    assert reader.charged_ms == pytest.approx(1000.0)
    assert len(reader._pending) <= 200
    assert len(reader.decode().samples) <= 16_000


def test_sound_is_charged_by_its_length_and_empty_pages_by_their_bytes():
    reader = OpusReader(16_000)
    reader.push(sphn_stream(tone(2.0)))
    assert reader.charged_ms == pytest.approx(2000, abs=30)  # and the head, and the comment
    reader.push(ogg.write_page([], granule=0, serial=1, sequence=0) * 6400)
    assert reader.charged_ms == pytest.approx(2000 + 2700, abs=30)
    with pytest.raises(TooMuchSound):
        reader.push(bytes(100_000), most_ms=1000.0)


def test_heads_without_sound_are_not_kept():
    reader = OpusReader(16_000)
    reader.push(many(b"OpusHead" + bytes(11), 10))
    assert len(reader._pending) == 1


def test_decoding_in_slices_gives_the_same_sound():
    data = sphn_stream(tone(4.0))
    whole, sliced = OpusReader(16_000), OpusReader(16_000)
    whole.push(data)
    sliced.push(data)
    parts = []
    while sliced.pending_ms:
        parts.append(sliced.decode(500.0).samples)
    assert max(map(len, parts)) <= 0.54 * 16_000
    assert np.array_equal(np.concatenate(parts), whole.decode().samples)


def test_half_a_page_before_a_restart_is_forgotten():
    reader, data = OpusReader(16_000), sphn_stream(tone(1.0))
    reader.push(data[:130])
    reader.restart()
    assert len(decode_all(reader, data)) == 16_000
