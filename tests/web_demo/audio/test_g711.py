import io

import av
import numpy as np
import pytest
import soundfile

from web_demo.audio.g711 import A_LAW, MU_LAW, Law
from web_demo.audio.samples import from_int16

EVERY_CODE = bytes(range(256))
EVERY_VALUE = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("law", "code", "value"),  # from tables 1a to 2b of the recommendation, moved up to 16 bits
    [
        (MU_LAW, 0xFF, 0),
        (MU_LAW, 0x7F, 0),
        (MU_LAW, 0x80, 32124),
        (MU_LAW, 0x00, -32124),
        (MU_LAW, 0xFE, 8),
        (MU_LAW, 0xF0, 120),
        (MU_LAW, 0xEF, 132),
        (A_LAW, 0xD5, 8),
        (A_LAW, 0x55, -8),
        (A_LAW, 0xAA, 32256),
        (A_LAW, 0x2A, -32256),
        (A_LAW, 0xC5, 264),
    ],
)
def test_known_codes_have_their_values(law: Law, code: int, value: int):
    assert law.values[code] == value


@pytest.mark.parametrize(("law", "name"), [(MU_LAW, "ULAW"), (A_LAW, "ALAW")])
def test_libsndfile_reads_every_code_as_we_do(law: Law, name: str):
    theirs, _ = soundfile.read(
        io.BytesIO(EVERY_CODE), format="RAW", subtype=name, channels=1, samplerate=8000, dtype="int16"
    )
    assert np.array_equal(law.values, theirs)


@pytest.mark.parametrize(("law", "name"), [(MU_LAW, "pcm_mulaw"), (A_LAW, "pcm_alaw")])
def test_ffmpeg_writes_every_value_within_a_step_as_we_do(law: Law, name: str):
    """FFmpeg's encoder takes the nearest code, the recommendation its decision values: they differ where a step begins."""
    codec = av.CodecContext.create(name, "w")
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(EVERY_VALUE[None], format="s16", layout="mono")
    frame.sample_rate = 8000
    theirs = np.frombuffer(b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None))), np.uint8)
    ours = np.frombuffer(law.encode(from_int16(EVERY_VALUE)), np.uint8)
    assert np.mean(ours == theirs) > 0.95
    steps = np.searchsorted(np.unique(law.values), law.values)
    assert np.abs(steps[ours] - steps[theirs]).max() <= 1


@pytest.mark.parametrize("law", [MU_LAW, A_LAW])
def test_a_value_becomes_a_code_whose_value_is_near(law: Law):
    decoded = law.values[np.frombuffer(law.encode(from_int16(EVERY_VALUE)), np.uint8)].astype(int)
    off = np.abs(decoded - EVERY_VALUE.astype(int))
    assert (off <= np.maximum(np.abs(EVERY_VALUE.astype(int)) / 16, 16)).all()


def test_codes_survive_decoding_and_encoding():
    assert A_LAW.encode(A_LAW.decode(EVERY_CODE)) == EVERY_CODE
    assert MU_LAW.encode(MU_LAW.decode(EVERY_CODE)) == EVERY_CODE.replace(b"\x7f", b"\xff")  # the two zeros of µ-law


@pytest.mark.parametrize("law", [MU_LAW, A_LAW])
def test_what_is_too_loud_is_clipped(law: Law):
    assert law.encode(np.array([3.0, -3.0], np.float32)) == law.encode(np.array([1.0, -1.0], np.float32))
