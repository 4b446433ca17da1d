"""The OpenAI-compatible face, through the unmodified openai package and over raw HTTP."""

import itertools
import json

import openai
import pytest

from tests.web_demo.server.asr.helpers import GO, ScriptedAsr, eventually, form, serving, speech
from web_demo.audio.samples import to_wav


def sdk(client) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="none", max_retries=0)


async def test_the_openai_package_transcribes():
    engine = ScriptedAsr()
    async with serving(engine) as client, sdk(client) as remote:
        answer = await remote.audio.transcriptions.create(model="script", file=GO, language="en", prompt="ten, meters")
    assert answer.text == "28 tenths"
    assert engine.asked[0]["language"] == "en"
    assert engine.asked[0]["hotwords"] == ("ten", "meters")


async def test_the_openai_package_lists_the_model():
    async with serving() as client, sdk(client) as remote:
        assert [model.id async for model in remote.models.list()] == ["script"]
        assert (await remote.models.retrieve("script")).id == "script"
        with pytest.raises(openai.NotFoundError, match="there is 'script'"):
            await remote.models.retrieve("whisper-1")


async def test_the_openai_package_reads_verbose_json():
    async with serving() as client, sdk(client) as remote:
        answer = await remote.audio.transcriptions.create(
            model="script", file=GO, response_format="verbose_json", timestamp_granularities=["segment"]
        )
    assert answer.duration == pytest.approx(2.786)
    assert [(s.start, s.end, s.text) for s in answer.segments] == [(0.0, 2.786, "28 tenths")]
    assert answer.words is None


async def test_the_openai_package_streams_pieces_as_they_are_ready():
    async with serving(ScriptedAsr(max_segment_s=5.0)) as client, sdk(client) as remote:
        stream = await remote.audio.transcriptions.create(
            model="script", file=("a.wav", to_wav(speech(3, 6.0))), stream=True
        )
        events = [event async for event in stream]
    *parts, done = events
    segments = [part for part in parts if part.type == "transcript.text.segment"]
    assert len(segments) == 3
    assert all(first.end < second.start for first, second in itertools.pairwise(segments))
    deltas = [part for part in parts if part.type != "transcript.text.segment"]
    assert [event.type for event in deltas] == ["transcript.text.delta"] * 3
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("text", "28 tenths\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:02,786\n28 tenths\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:02.786\n28 tenths\n"),
    ],
)
async def test_plain_formats(shape, expected):
    async with serving() as client:
        response = await client.post(
            "/v1/audio/transcriptions", data=form(GO.read_bytes(), field="file", response_format=shape)
        )
        assert await response.text() == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"response_format": "pdf"}, "json, text, verbose_json, srt, vtt"),
        ({"timestamp_granularities[]": "word"}, "response_format=verbose_json"),
        ({"response_format": "verbose_json", "timestamp_granularities[]": "word"}, "no word times"),
        ({"language": "xx"}, "not available"),
    ],
)
async def test_wrong_options_become_the_sdks_own_errors(fields, reason):
    async with serving() as client:
        response = await client.post("/v1/audio/transcriptions", data=form(GO.read_bytes(), field="file", **fields))
        assert response.status == 400
        assert reason in json.loads(await response.text())["error"]["message"]


async def test_an_unknown_language_is_a_bad_request_for_the_sdk():
    async with serving() as client, sdk(client) as remote:
        with pytest.raises(openai.BadRequestError, match="not available"):
            await remote.audio.transcriptions.create(model="script", file=GO, language="tlh")


async def test_a_stream_that_nobody_reads_any_more_stops_the_engine():
    engine = ScriptedAsr()
    engine.hold()
    async with serving(engine) as client:
        data = form(GO.read_bytes(), field="file", stream="true")
        response = await client.post("/v1/audio/transcriptions", data=data)
        await engine.entered.wait()
        response.close()
        await eventually(engine.in_use, 0)
    assert engine.cancelled == 1
