import base64

import numpy as np
import pytest

from web_demo.audio.pcm import Coding
from web_demo.server.common.realtime.audio import PCM, AudioFormat, audio_in, audio_out, charge_s, format_of
from web_demo.server.common.realtime.fields import EventError, Fields

MU_LAW = AudioFormat(Coding.MU_LAW, 8_000)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, PCM),
        ({"type": "audio/pcm"}, PCM),
        ({"type": "audio/pcm", "rate": 24_000}, PCM),
        ({"type": "audio/pcm", "rate": 16_000}, AudioFormat(Coding.PCM16, 16_000)),
        ({"type": "audio/pcmu"}, MU_LAW),
        ({"type": "audio/pcma"}, AudioFormat(Coding.A_LAW, 8_000)),
        ("g711_ulaw", MU_LAW),
        ("pcm16", PCM),
    ],
)
def test_formats(given, expected: AudioFormat):
    assert format_of(Fields({"format": given})) == expected


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "audio/mp3"}, "input.format.type"),
        ({"type": 7}, "input.format.type"),
        ({"type": "audio/pcm", "rate": 1}, "input.format.rate"),
        ({"type": "audio/pcm", "rate": 22_050.5}, "input.format.rate"),
        ({"type": "audio/pcm", "rate": "24000"}, "input.format.rate"),
        ({"type": "audio/pcm", "rate": 10**400}, "input.format.rate"),
        ("mp3", "input.format"),
        (["audio/pcm"], "input.format"),
    ],
)
def test_other_formats_are_refused_by_name(given, param: str):
    with pytest.raises(EventError) as refused:
        format_of(Fields({"format": given}, "input"))
    assert refused.value.param == param


def test_sound_comes_and_goes_as_base64():
    sound = np.arange(-500, 500, dtype="<i2").tobytes()
    assert audio_in(Fields({"audio": audio_out(sound)}), PCM, 1.0) == sound
    assert audio_in(Fields({"audio": ""}), PCM, 1.0) == b""


def test_base64_is_charged_by_the_sound_that_it_can_hold():
    assert charge_s(audio_out(bytes(48_000)), PCM) == 1.0
    assert charge_s(audio_out(bytes(8_000)), MU_LAW) == pytest.approx(1.0, abs=1e-3)


def test_too_much_sound_is_refused_before_it_is_decoded():
    with pytest.raises(EventError) as refused:
        audio_in(Fields({"audio": "!" * 640_001}), PCM, 10.0)
    assert refused.value.code == "audio_too_long"


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ("AAA", "invalid_base64"),
        ("AA\nAA", "invalid_base64"),
        ("ä" * 4, "invalid_base64"),
        ("AA-_", "invalid_base64"),
        ("AA=A", "invalid_base64"),
        (base64.b64encode(b"odd").decode(), "invalid_value"),
        (None, "invalid_value"),
        (5, "invalid_value"),
        ([0, 1], "invalid_value"),
    ],
)
def test_what_is_no_sound_is_refused(audio, code: str):
    with pytest.raises(EventError) as refused:
        audio_in(Fields({"audio": audio}), PCM, 10.0)
    assert (refused.value.code, refused.value.param) == (code, "audio")


def test_a_format_makes_readers_and_writers_of_its_kind():
    sound = (0.5 * np.sin(np.arange(24_000) / 9)).astype(np.float32)
    writer = MU_LAW.writer()
    data = b"".join(page.data for page in (*writer.write(sound), *writer.flush()))
    assert len(data) == pytest.approx(8_000, abs=4)
    reader = MU_LAW.reader()
    reader.push(data)
    assert len(reader.decode().samples) + len(reader.flush()) == pytest.approx(16_000, abs=8)
