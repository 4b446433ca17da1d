import numpy as np
import pytest

from web_demo.audio.pcm import Coding, PcmReader, PcmWriter
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, TooMuchSound

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(WIRE_RATE) / WIRE_RATE)).astype(np.float32)  # a second
FORMATS = [
    (Coding.PCM16, 24_000, 1e-4),
    (Coding.PCM16, 16_000, 1e-4),
    (Coding.PCM16, 44_100, 1e-4),
    (Coding.MU_LAW, 8_000, 0.02),
    (Coding.A_LAW, 8_000, 0.02),
]


def read(reader: PcmReader, data: bytes, size: int, most_ms: float) -> np.ndarray:
    sound = []
    for start in range(0, len(data), size):
        reader.push(data[start : start + size])
        while reader.pending_ms > 0:
            sound.append(reader.decode(most_ms).samples)
    return np.concatenate([*sound, reader.flush()])


@pytest.mark.parametrize(("coding", "rate", "error"), FORMATS)
def test_a_tone_comes_through_writer_and_reader_however_it_is_cut(coding: Coding, rate: int, error: float):
    writer = PcmWriter(coding, rate)
    pages = [page for part in np.split(TONE, [1000, 1001, 9000]) for page in writer.write(part)] + writer.flush()
    assert sum(page.samples for page in pages) == len(TONE)
    assert all(page.data for page in pages)
    data = b"".join(page.data for page in pages)
    assert len(data) == pytest.approx(rate * coding.sample_bytes, abs=4)
    heard = read(PcmReader(coding, rate), data, 334, 7.0)
    assert len(heard) == pytest.approx(SPEECH_RATE, abs=2)
    sent = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / SPEECH_RATE)
    assert np.abs(heard - sent)[400:-400].max() < error


def test_sound_is_charged_as_it_comes_and_before_it_is_decoded():
    reader = PcmReader(Coding.MU_LAW, 8_000)
    reader.push(bytes(160))
    assert (reader.charged_ms, reader.pending_ms) == (20.0, 20.0)
    reader.decode(5.0)
    assert (reader.charged_ms, reader.pending_ms) == (20.0, 15.0)


def test_half_a_sample_is_refused_and_nothing_of_it_kept():
    reader = PcmReader(Coding.PCM16, 24_000)
    with pytest.raises(ValueError, match="even number of bytes, got 5"):
        reader.push(b"12345")
    assert (reader.charged_ms, reader.pending_ms) == (0.0, 0.0)


def test_of_too_much_sound_what_is_within_the_limit_is_kept():
    reader = PcmReader(Coding.PCM16, 16_000)
    with pytest.raises(TooMuchSound):
        reader.push(bytes(32_000), most_ms=100.0)
    assert (reader.charged_ms, reader.pending_ms) == (100.0, 100.0)
    with pytest.raises(TooMuchSound):
        reader.push(bytes(2), most_ms=0.0)
    assert reader.pending_ms == 100.0


def test_the_oldest_sound_is_trimmed():
    reader = PcmReader(Coding.PCM16, SPEECH_RATE)
    reader.push(np.arange(160, dtype="<i2").tobytes())
    reader.push(np.arange(160, 480, dtype="<i2").tobytes())
    reader.trim(10.0)
    assert reader.pending_ms == 10.0
    assert round(reader.decode().samples[0] * 32768) == 320


def test_the_smallest_slice_is_a_sample():
    reader = PcmReader(Coding.PCM16, SPEECH_RATE)
    reader.push(bytes(4))
    assert len(reader.decode(0.0).samples) == 1


def test_dropped_sound_is_not_in_what_follows():
    writer = PcmWriter(Coding.PCM16, 8_000)
    writer.write(np.ones(1_500, np.float32))
    writer.drop()
    pages = writer.write(np.zeros(4_800, np.float32)) + writer.flush()
    assert not any(b"".join(page.data for page in pages))
    assert sum(page.samples for page in pages) == 4_800
