"""Every format is decoded again, by a library that had no part in making it where there is one (see `decoded`)."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import soundfile

from tests.web_demo.server.tts.fakes import decoded
from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.server.tts.encode import CONTENT_TYPES, encoder, whole_wav

TONE = (0.4 * np.sin(2 * np.pi * 500 / WIRE_RATE * np.arange(2 * WIRE_RATE))).astype(np.float32)


def streamed(kind: str, samples: Samples, piece: int) -> bytes:
    codec = encoder(kind, WIRE_RATE)
    parts = [codec.encode(samples[start : start + piece]) for start in range(0, len(samples), piece)]
    return b"".join(parts) + codec.finish()


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_what_was_encoded_on_the_fly_is_the_same_sound_with_a_whole_end(kind: str) -> None:
    sound = decoded(kind, streamed(kind, TONE, 960))
    assert len(TONE) - 1 <= len(sound) <= len(TONE) + 3000  # codecs pad their first and last frame
    middle = sound[8000:40000]
    assert float(np.sqrt(np.mean(middle**2))) == pytest.approx(0.4 / np.sqrt(2), rel=0.08)  # LAME takes 5 % off
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * WIRE_RATE / len(middle) == pytest.approx(500, abs=1)


@pytest.mark.parametrize("kind", ["pcm", "wav", "flac"])
def test_seams_between_pieces_leave_no_trace(kind: str) -> None:
    sound = decoded(kind, streamed(kind, TONE, 777))[: len(TONE)]
    assert np.abs(sound - TONE).max() < 1e-4


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_bytes_leave_while_the_sound_is_still_being_made(kind: str) -> None:
    codec = encoder(kind, WIRE_RATE)
    early = sum(len(codec.encode(TONE[start : start + 960])) for start in range(0, WIRE_RATE, 960))
    assert early > 0.4 * len(streamed(kind, TONE[:WIRE_RATE], 960))


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_no_sound_at_all_ends_without_an_error(kind: str) -> None:
    codec = encoder(kind, WIRE_RATE)
    assert codec.encode(np.zeros(0, np.float32)) in (b"", encoder("wav", WIRE_RATE).finish())
    codec.finish()


def test_a_streamed_wav_is_read_by_other_readers_and_a_whole_one_has_its_length() -> None:
    data, rate = soundfile.read(io.BytesIO(streamed("wav", TONE, 960)))
    assert (len(data), rate) == (len(TONE), WIRE_RATE)
    with wave.open(io.BytesIO(whole_wav(TONE, WIRE_RATE))) as reader:
        assert (reader.getnframes(), reader.getframerate(), reader.getnchannels()) == (len(TONE), WIRE_RATE, 1)
