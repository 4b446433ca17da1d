"""What is read of strangers' files; their cage is tried in test_decoders.py."""

import io
import os
import struct
import tempfile
import wave

import numpy as np
import pytest

from tests.speech import recording
from tests.web_demo.media.files import paused
from tests.web_demo.server.asr.helpers import encoded
from web_demo.audio.samples import Audio, from_int16, silence, to_int16, to_wav
from web_demo.errors import TooLarge, UnsupportedMedia
from web_demo.media.decode import FileDecoder, Tail

VOICE = recording("cards_001")


def decode(data: bytes, *, max_s: float = 60.0, rate: int = 16_000) -> tuple[Audio, list[str]]:
    decoder = FileDecoder(io.BytesIO(data), rate=rate, max_s=max_s)
    pcm = np.concatenate(list(decoder.blocks()))
    return Audio(from_int16(pcm), rate), list(decoder.warnings)


KINDS = [
    ("wav", "pcm_s16le"),
    ("w64", "pcm_s16le"),
    ("mp3", "libmp3lame"),
    ("flac", "flac"),
    ("ogg", "libopus"),
    ("mp4", "aac"),
    ("mov", "pcm_s16be"),
    ("matroska", "flac"),
    ("webm", "libopus"),
    ("adts", "aac"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "pcm_s16le"),
    ("voc", "pcm_u8"),
    ("avi", "pcm_s16le"),
    ("asf", "wmav2"),
    ("flv", "libmp3lame"),
    ("mpegts", "aac"),
    ("ac3", "ac3"),
    ("tta", "tta"),
    ("wv", "wavpack"),
]


def voice_as(container: str, codec: str) -> bytes:
    return encoded(VOICE, container, codec, rate=44_100 if container in ("flv", "asf") else 48_000)


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_every_kind_of_file_comes_whole(container, codec):
    audio, warnings = decode(voice_as(container, codec))
    assert warnings == []
    assert audio.rate == 16_000
    assert audio.seconds == pytest.approx(VOICE.seconds, abs=0.15)
    assert np.abs(audio.samples).max() > 0.1


ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 0, 0xA0000000) + bytes(range(1, 41))


@pytest.mark.parametrize(
    ("front", "container", "codec"),
    [
        (ID3, "flac", "flac"),
        (ID3, "adts", "aac"),
        (ID3, "wav", "pcm_s16le"),
        (ID3, "mp3", "libmp3lame"),
        (APE, "mp3", "libmp3lame"),
        (bytes(3000), "mp3", "libmp3lame"),
        (b"junk " * 1000, "mp3", "libmp3lame"),
    ],
)
def test_what_stands_in_front_of_a_file_does_not_hide_it(front, container, codec):
    audio, _ = decode(front + encoded(VOICE, container, codec))
    assert audio.seconds == pytest.approx(VOICE.seconds, abs=0.2)
    assert np.abs(audio.samples).max() > 0.1


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("flac", "flac")])
def test_two_files_joined_are_heard_both(container, codec):
    one = encoded(VOICE, container, codec)
    other = encoded(VOICE, container, codec, layout="mono", rate=48_000)
    audio, _ = decode(one + other)
    assert audio.seconds == pytest.approx(2 * VOICE.seconds, abs=0.3)
    half = len(audio.samples) // 2
    assert np.abs(audio.samples[half + 1600 :]).max() > 0.1


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("mp4", "aac"), ("ogg", "libopus")]
)
def test_decoding_goes_on_behind_damage_and_says_so(container, codec):
    data = bytearray(encoded(Audio(np.tile(VOICE.samples, 4), 16_000), container, codec))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    audio, warnings = decode(bytes(data))
    assert audio.seconds > 0.99 * 4 * VOICE.seconds - 0.1 or warnings
    assert np.abs(audio.samples[-VOICE.rate // 2 :]).max() > 0.05


def test_half_of_a_file_is_used_and_said_to_be_half():
    data = encoded(Audio(np.tile(VOICE.samples, 4), 16_000), "flac", "flac")
    audio, warnings = decode(data[: len(data) // 2])
    assert 0 < audio.seconds < 4 * VOICE.seconds
    assert any("only" in warning or "damaged" in warning for warning in warnings)


def test_a_gap_in_the_timestamps_is_silence():
    tone = Audio(np.sin(np.arange(96_000) * 0.1).astype(np.float32), 48_000)
    audio, _ = decode(paused(tone, at_s=1.0, for_s=8.0))
    assert audio.seconds == pytest.approx(10.0, abs=0.1)
    assert np.abs(audio.samples[16_000 * 3 : 16_000 * 7]).max() < 0.01
    assert np.abs(audio.samples[16_000 * 9 + 4000 :]).max() > 0.5


def test_opposite_channels_do_not_cancel_each_other():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        pcm = to_int16(VOICE.samples)
        out.writeframes(np.stack((pcm, -pcm), axis=1).tobytes())
    audio, _ = decode(file.getvalue())
    assert np.abs(audio.samples).max() > 0.5 * np.abs(VOICE.samples).max()


def test_silence_is_said_to_be_silent():
    audio, warnings = decode(to_wav(silence(2.0, 16_000)))
    assert audio.seconds == 2.0
    assert "no sound in it" in warnings[0]


def test_sound_out_of_range_is_brought_back():
    file = io.BytesIO()
    import soundfile

    soundfile.write(
        file, np.array([np.nan, np.inf, -5.0, 0.5] * 4000, np.float32), 16_000, format="WAV", subtype="FLOAT"
    )
    audio, _ = decode(file.getvalue())
    assert np.abs(audio.samples).max() <= 1.0


def test_what_is_too_long_is_refused():
    with pytest.raises(TooLarge, match=r"longer than 1\.5 s"):
        decode(encoded(silence(2.0, 16_000), "mp3", "libmp3lame"), max_s=1.5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ\x90\x00",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        b"<svg/>",
        os.urandom(1000),
    ],
)
def test_what_is_no_audio_is_refused(data):
    with pytest.raises(UnsupportedMedia):
        decode(data)


def test_a_long_recording_comes_whole():
    audio, warnings = decode(
        encoded(Audio(np.tile(VOICE.samples, 200), 16_000), "flac", "flac", rate=16_000, layout="mono"), max_s=600.0
    )
    assert warnings == []
    assert audio.seconds == pytest.approx(200 * VOICE.seconds, abs=0.1)


@pytest.mark.parametrize("position", [-1, 1 << 62, (1 << 63) - 1])
def test_seeking_to_where_no_file_has_a_place_is_refused_without_an_exception(position):
    """PyAV takes an exception for the end of everything, FFmpeg a negative number for a header that lies."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(100))
        tail = Tail(file, 10)
        assert tail.seek(position) < 0
        assert tail.seek(-20, os.SEEK_CUR) < 0
        assert tail.seek(-20, os.SEEK_END) == 70
        assert (tail.tell(), len(tail.read(100))) == (70, 20)
