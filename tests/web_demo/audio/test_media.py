"""Files from strangers, as both services read them."""

import numpy as np
import pytest

from tests.speech import recording
from tests.web_demo.server.asr.helpers import encoded
from web_demo.audio.media import check_size, container_of, decode
from web_demo.audio.samples import Audio, silence, to_wav
from web_demo.errors import TooLarge, UnsupportedMedia


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("mp3", "libmp3lame"),
        ("flac", "flac"),
        ("ogg", "libopus"),
        ("mp4", "aac"),
        ("webm", "libopus"),
        ("adts", "aac"),
        ("aiff", "pcm_s16be"),
    ],
)
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_every_format_comes_as_mono_at_the_rate_that_was_asked_for(container, codec, rate):
    voice = recording("cards_001")
    decoded = decode(encoded(voice, container, codec), max_s=30.0, rate=rate)
    assert decoded.damage == ""
    assert decoded.audio.rate == rate
    assert decoded.audio.seconds == pytest.approx(voice.seconds, abs=0.15)


def test_padding_of_an_encoder_is_no_excess_and_is_cut_off():
    data = encoded(silence(2.0, 16_000), "mp3", "libmp3lame")
    assert decode(data, max_s=2.0).audio.seconds == 2.0
    with pytest.raises(TooLarge, match=r"longer than 1\.5 s"):
        decode(data, max_s=1.5)


def test_what_could_be_read_of_a_damaged_file_comes_with_a_word_about_it():
    data = encoded(recording("cards_001"), "flac", "flac")
    decoded = decode(data[: len(data) // 2], max_s=30.0)
    assert 0 < decoded.audio.seconds < recording("cards_001").seconds
    assert "is damaged after 0.4 s" in decoded.damage


def test_sound_out_of_range_is_brought_back():
    loud = decode(_float_wav(np.array([np.nan, np.inf, -5.0, 0.5] * 4000, np.float32)), max_s=30.0).audio.samples
    assert np.isfinite(loud).all()
    assert np.abs(loud).max() <= 1.0


def _float_wav(samples: np.ndarray) -> bytes:
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"MZ\x90\x00", b"RIFF1234AVI ", b"#EXTM3U\nfile:///etc/passwd\n", b"<svg/>"])
def test_what_is_no_audio_is_refused_with_the_formats_that_are_read(data):
    assert container_of(data) is None
    with pytest.raises(UnsupportedMedia, match="wav, mp3, flac, ogg"):
        decode(data, max_s=1.0)


def test_a_forged_rate_is_refused():
    with pytest.raises(UnsupportedMedia, match="the sample rate is 1 Hz"):
        decode(to_wav(Audio(np.ones(50_000, np.float32), 1)), max_s=30.0)


def test_a_size_over_the_cap_is_said_in_mib():
    check_size(3 << 20, 3 << 20)
    with pytest.raises(TooLarge, match=r"3\.5 MiB; at most 3 MiB"):
        check_size(7 << 19, 3 << 20)
