"""Every format is decoded again, by a library that had no part in making it where there is one (see `decoded`)."""

from __future__ import annotations

import base64
import io
import wave

import av
import numpy as np
import pytest
import soundfile

from tests.web_demo.server.tts.fakes import ToneTts, decoded, serving, tone
from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.errors import InvalidRequest
from web_demo.server.tts.encode import CONTENT_TYPES, WITH_LENGTH, check_rate, encoder

TONE = (0.4 * np.sin(2 * np.pi * 500 / WIRE_RATE * np.arange(2 * WIRE_RATE))).astype(np.float32)


def streamed(kind: str, samples: Samples, piece: int) -> bytes:
    codec = encoder(kind, WIRE_RATE)
    parts = [codec.encode(samples[start : start + piece]) for start in range(0, len(samples), piece)]
    return b"".join(parts) + codec.finish()


def whole(kind: str, samples: Samples, rate: int = WIRE_RATE) -> bytes:
    codec = encoder(kind, rate, source_rate=WIRE_RATE, whole=True)
    return (
        b"".join(codec.encode(samples[start : start + 777]) for start in range(0, len(samples), 777)) + codec.finish()
    )


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
    with wave.open(io.BytesIO(whole("wav", TONE))) as reader:
        assert (reader.getnframes(), reader.getframerate(), reader.getnchannels()) == (len(TONE), WIRE_RATE, 1)


@pytest.mark.parametrize("kind", WITH_LENGTH)
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_whole_file_has_its_length_for_every_reader(kind: str, rate: int) -> None:
    data = whole(kind, TONE, rate)
    sound, found = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (len(sound), found) == (2 * rate, rate)
    with av.open(io.BytesIO(data)) as file:
        assert float(file.streams.audio[0].duration * file.streams.audio[0].time_base) == 2.0
        assert sum(frame.samples for frame in file.decode(audio=0)) == 2 * rate
    if rate == WIRE_RATE:
        assert np.abs(sound - TONE).max() < 1e-4


def test_a_whole_file_of_no_sound_is_one() -> None:
    assert soundfile.read(io.BytesIO(whole("wav", TONE[:0])))[0].shape == (0,)


@pytest.mark.parametrize("kind", CONTENT_TYPES)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_rate_that_the_format_has_is_that_of_the_file_without_a_seam(kind: str, rate: int) -> None:
    check_rate(kind, rate)
    codec = encoder(kind, rate, source_rate=WIRE_RATE)
    data = b"".join(codec.encode(TONE[start : start + 777]) for start in range(0, len(TONE), 777)) + codec.finish()
    if kind == "pcm":
        sound = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    else:
        with av.open(io.BytesIO(data)) as file:
            found = file.streams.audio[0].rate
            sound = np.concatenate(
                [frame.to_ndarray().astype(np.float32).reshape(-1) for frame in file.decode(audio=0)]
            )
        assert found == (48_000 if kind == "opus" else rate)  # Opus is always decoded at 48 kHz
        rate = found
    sound = sound / np.abs(sound[rate // 2 : rate]).max()
    middle = sound[rate // 4 : 2 * rate - rate // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    peak = round(500 * len(middle) / rate)
    assert np.argmax(spectrum) == pytest.approx(peak, abs=1)
    spectrum[peak - 5 : peak + 6] = 0
    assert spectrum.max() < 0.02 * np.hanning(len(middle)).sum() / 2  # clicks at seams would be louder


@pytest.mark.parametrize(
    ("kind", "rate"), [("opus", 44_100), ("mp3", 96_000), ("aac", 7_999), ("wav", 7_999), ("flac", 48_001), ("pcm", 0)]
)
def test_a_rate_that_the_format_has_not_is_refused_with_those_that_it_has(kind: str, rate: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"sample_rate of {kind} must be 8000.*48000 \(Hz\), got {rate}"):
        check_rate(kind, rate)


WIRE_FILES = [
    ("/v1/audio/speech", {"input": "hello there", "response_format": "wav"}),
    ("/v1/audio/speech", {"input": "hello there", "response_format": "flac"}),
    ("/v1/audio/speech", {"input": "hello there", "response_format": "flac", "sample_rate": 16000}),
    ("/v1/audio/speech", {"input": "hello there", "response_format": "wav", "sample_rate": "48000", "stream": False}),
]


@pytest.mark.parametrize(("path", "body"), WIRE_FILES)
async def test_files_that_nobody_asked_to_stream_are_whole_on_the_wire(path: str, body: dict[str, object]) -> None:
    async with serving(engine=ToneTts()) as client, client.post(path, json=body) as answer:
        data = await answer.read()
        rate = int(str(body.get("sample_rate", WIRE_RATE)))
        assert (answer.status, answer.headers["X-Sample-Rate"]) == (200, str(rate))
        assert answer.headers["Content-Length"] == str(len(data))
    sound, found = soundfile.read(io.BytesIO(data))
    assert (len(sound), found) == (len(tone(len("hello there"))) * rate / WIRE_RATE, rate)
    if body["response_format"] == "wav":
        with wave.open(io.BytesIO(data)) as reader:
            assert (reader.getnframes(), reader.getframerate()) == (len(sound), rate)


@pytest.mark.parametrize("asked", [{"stream": True}, {"stream_format": "audio"}])
async def test_a_file_that_is_asked_to_stream_begins_before_it_is_made(asked: dict[str, object]) -> None:
    engine = ToneTts()
    body = {"input": "The first of two. Then [wait] for it.", "response_format": "wav", "sample_rate": 16000, **asked}
    async with serving(engine=engine) as client, client.post("/v1/audio/speech", json=body) as answer:
        head = await answer.content.readexactly(2000)
        engine.go.set()
        sound, rate = soundfile.read(io.BytesIO(head + await answer.read()))
    assert rate == 16_000
    assert len(sound) == pytest.approx(len(tone(36)) * 2 / 3, abs=2)


async def test_the_json_object_has_the_rate_and_the_length_that_were_asked() -> None:
    asked = {"text": "hello there", "sample_rate": 8000}
    async with serving(engine=ToneTts()) as client, client.post("/api/synthesize", json=asked) as answer:
        body = await answer.json()
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(body["audio"])))
    assert (rate, body["sample_rate"], body["duration"], len(sound)) == (8000, 8000, 0.55, 4400)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/api/synthesize", {"text": "hi", "sample_rate": 1}, "sample_rate of wav must be 8000 to 48000 (Hz), got 1"),
        ("/api/synthesize", {"text": "hi", "sample_rate": "fast"}, "a whole number of Hz such as 16000, got 'fast'"),
        ("/api/synthesize", {"text": "hi", "sample_rate": True}, "got True"),
        ("/api/synthesize", {"text": "hi", "sample_rate": 16000.5}, "got 16000.5"),
        ("/api/synthesize", {"text": "hi", "sample_rate": 10**30}, "a whole number of Hz"),
        (
            "/v1/audio/speech",
            {"input": "hi", "response_format": "opus", "sample_rate": 44100},
            "sample_rate of opus must be 8000, 12000, 16000, 24000, 48000 (Hz), got 44100",
        ),
    ],
)
async def test_a_rate_that_cannot_be_is_refused_in_words(path: str, body: dict[str, object], says: str) -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client, client.post(path, json=body) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]["message"]
    assert engine.requests == []
