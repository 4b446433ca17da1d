"""What is read of strangers' files; their cage is tried in test_decoders.py."""

import io
import os
import struct
import tempfile
import wave

import numpy as np
import pytest

from tests.speech import recording
from tests.web_demo.media.files import paused, with_tracks
from tests.web_demo.server.asr.helpers import encoded
from web_demo.audio.samples import Audio, from_int16, silence, to_int16, to_wav
from web_demo.errors import TooLarge, UnsupportedMedia
from web_demo.media.decode import FileDecoder, Window

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


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_two_files_joined_are_heard_both(container, codec):
    """With other rates and channels."""
    other_rate = {"flv": 22_050, "ac3": 32_000}.get(container, 24_000)
    other = encoded(VOICE, container, codec, layout="mono", rate=other_rate)
    audio, warnings = decode(voice_as(container, codec) + other)
    assert audio.seconds == pytest.approx(2 * VOICE.seconds, abs=0.3)
    for half in (audio.samples[: VOICE.rate], audio.samples[-VOICE.rate :]):
        assert np.abs(half).max() > 0.1
    assert warnings == []


def test_files_of_several_kinds_joined_are_heard_all():
    kinds = [
        ("wav", "pcm_s16le"),
        ("mp4", "aac"),
        ("webm", "libopus"),
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
    ]
    audio, warnings = decode(b"".join(voice_as(*kind) for kind in kinds))
    assert audio.seconds == pytest.approx(6 * VOICE.seconds, abs=0.3)
    assert warnings == []


@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("mp4", "aac"), ("aiff", "pcm_s16be"), ("matroska", "pcm_s16le")]
)
def test_what_is_behind_a_file_and_no_audio_is_told(container, codec):
    data = voice_as(container, codec)
    audio, warnings = decode(data + b"something" * 500)
    assert audio.seconds == pytest.approx(VOICE.seconds, abs=0.15)
    assert warnings == [f"4500 bytes behind byte {len(data)} are no audio that can be read"]


APE1 = bytes(40) + b"APETAGEX" + struct.pack("<IIII8x", 1000, 72, 1, 0)
ID3V1 = b"TAG" + 125 * b"t"
LYRICS3 = b"LYRICSBEGIN" + 40 * b"l" + b"000051LYRICS200"


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("ac3", "ac3"), ("flac", "flac"), ("mp2", "mp2")]
)
def test_tags_and_padding_behind_frames_are_no_damage_and_junk_is_told(container, codec):
    data = voice_as(container, codec)
    audio, warnings = decode(data)
    assert warnings == []
    for behind in (
        ID3V1,
        APE1,
        LYRICS3 + ID3V1,
        APE1 + LYRICS3 + ID3V1,
        bytes(100),
        bytes(70_000),
        bytes(3000) + ID3V1,
    ):
        with_tags, warnings = decode(data + behind)
        assert np.array_equal(with_tags.samples, audio.samples)
        assert warnings == []
    if container != "flac":  # whose frames do not say where they end: FFmpeg takes junk for the last's
        for junk in (
            b"\xff" * 3000,
            b"some text, or what a download has left " * 50,
            np.random.default_rng(1).bytes(5000),
        ):
            _, warnings = decode(data + junk + ID3V1)
            assert warnings == [f"{len(junk)} bytes behind byte {len(data)} are no audio that can be read"]


def test_joined_files_are_too_long_together():
    with pytest.raises(TooLarge, match=r"longer than 1\.5 s"):
        decode(2 * voice_as("flac", "flac"), max_s=1.5)


def test_a_file_without_sound_does_not_hide_the_next():
    audio, warnings = decode(to_wav(silence(0.0, 16_000)) + voice_as("wav", "pcm_s16le"))
    assert audio.seconds == pytest.approx(VOICE.seconds, abs=0.01)
    assert len(warnings) == 1


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


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "pcm_s16le"), ("mpegts", "aac")])
@pytest.mark.parametrize("speaks", [0, 1, 2])
def test_of_several_tracks_the_one_with_sound_is_heard(container, codec, speaks):
    tracks = [silence(VOICE.seconds, 16_000)] * 3
    tracks[speaks] = VOICE
    decoder = FileDecoder(io.BytesIO(with_tracks(*tracks, container=container, codec=codec)), rate=16_000, max_s=60.0)
    assert np.abs(np.concatenate(list(decoder.blocks()))).max() > 3000
    assert decoder.warnings == ()
    (remark,) = decoder.remarks
    assert remark.startswith(f"of 3 audio tracks number {speaks + 1} was read")
    if container != "mpegts":  # which knows no default: FFmpeg takes the track with the most bytes
        assert ("there is no sound" in remark) is bool(speaks)


def test_of_several_tracks_with_sound_the_default_is_heard_and_that_is_a_warning():
    audio, warnings = decode(with_tracks(VOICE, Audio(VOICE.samples / 4, 16_000)))
    assert np.abs(audio.samples).max() > 0.5 * np.abs(VOICE.samples).max()
    assert warnings == ["of 2 audio tracks number 1 was read"]


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
        window = Window(file, 10, 100)
        assert window.seek(position) < 0
        assert window.seek(-20, os.SEEK_CUR) < 0
        assert window.seek(-20, os.SEEK_END) == 70
        assert (window.tell(), len(window.read(100))) == (70, 20)
