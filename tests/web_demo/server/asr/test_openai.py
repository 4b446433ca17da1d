"""The OpenAI-compatible face, through the unmodified openai package and over raw HTTP."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import openai
import pytest

from tests.web_demo.server.asr.helpers import GO, ScriptedAsr, eventually, form, go, serving, speech
from web_demo.audio.samples import Audio, to_wav


def sdk(client) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="none", max_retries=0)


async def test_the_openai_package_transcribes():
    engine = ScriptedAsr()
    async with serving(engine) as client, sdk(client) as remote:
        answer = await remote.audio.transcriptions.create(model="script", file=GO, language="en", prompt="ten, meters")
    assert answer.text == "28 tenths"
    assert engine.asked[0]["language"] == "en"
    assert engine.asked[0]["hotwords"] == ("ten", "meters")


async def asked_for(engine: ScriptedAsr, **fields: str | list[str]) -> dict:
    """What the engine was asked with these fields of a form."""
    data = form(GO.read_bytes(), field="file")
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            data.add_field(name.replace("_all", "[]"), value)
    async with serving(engine) as client:
        response = await client.post("/v1/audio/transcriptions", data=data)
        assert response.status == 200, await response.text()
    return engine.asked[-1]


LONG_PROMPT = (
    "This is a talk about Kubernetes, Docker and their friends, with " + "very " * 20 + "long clauses. <|zh|>, Bye."
)


async def test_a_prompt_is_free_text_of_which_an_engine_gets_what_it_can_use():
    hints = (await asked_for(ScriptedAsr(), prompt=LONG_PROMPT, keywords_all=["Fun-Audio", "通义、百聆"]))["hotwords"]
    assert hints == (
        "Fun-Audio",
        "通义",
        "百聆",
        "This is a talk about Kubernetes",
        "Docker and their friends",
        "Bye",
    )


async def test_an_engine_like_whisper_gets_the_prompt_unchanged():
    engine = ScriptedAsr()
    engine.capabilities = replace(engine.capabilities, prompts=True)
    assert (await asked_for(engine, prompt=LONG_PROMPT))["hotwords"] == (LONG_PROMPT,)


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"language": "zh-CN"}, "zh"),
        ({"language": "en_GB"}, "en"),
        ({"languages_all": ["de", "en-US"]}, "en"),
        ({"language": "zh-Hans-CN", "languages_all": ["en"]}, "zh"),
    ],
)
async def test_languages_are_any_tags_of_theirs(fields, language):
    assert (await asked_for(ScriptedAsr(), **fields))["language"] == language


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


async def test_subtitles_of_a_paused_recording_begin_when_each_phrase_is_said():
    """The engine knows neither words nor times: the voice in the recording tells them."""
    engine = ScriptedAsr(max_segment_s=30.0)
    engine.text = "First one. Then another."
    recording = np.concatenate((go().samples, np.zeros(8 * 16_000, np.float32), go().samples))
    async with serving(engine) as client:
        data = form(to_wav(Audio(recording, 16_000)), field="file", response_format="srt")
        response = await client.post("/v1/audio/transcriptions", data=data)
        starts = re.findall(r"(\d\d:\d\d:\d\d),\d+ --> .*\n(.*)", await response.text())
    assert starts == [("00:00:00", "First one."), ("00:00:11", "Then another.")]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"response_format": "pdf"}, "json, text, verbose_json, srt, vtt"),
        ({"timestamp_granularities[]": "word"}, "response_format=verbose_json"),
        ({"response_format": "verbose_json", "timestamp_granularities[]": "word"}, "no word times"),
        ({"language": "xx"}, "not available"),
        ({"languages[]": "xx"}, "not available"),
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
