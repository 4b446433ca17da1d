"""The OpenAI-compatible face, through the unmodified openai package and over raw HTTP."""

import base64
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import openai
import pytest
from openai.types.audio import TranscriptionVerbose, TranslationVerbose

from tests.web_demo.server.asr.helpers import GO, ScriptedAsr, eventually, form, go, serving, speech
from web_demo.audio.samples import Audio, to_wav
from web_demo.server.common.forms import BODIES


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


async def test_what_is_used_is_told_by_duration():
    async with serving() as client, sdk(client) as remote:
        answer = await remote.audio.transcriptions.create(model="script", file=GO)
    assert (answer.usage.type, answer.usage.seconds) == ("duration", pytest.approx(2.786))


async def test_verbose_json_has_every_field_of_the_packages_types():
    async with serving(ScriptedAsr(timestamps="word")) as client:
        fields = {"response_format": "verbose_json", "timestamp_granularities[]": "segment"}
        response = await client.post("/v1/audio/transcriptions", data=form(GO.read_bytes(), field="file", **fields))
        answer = TranscriptionVerbose.model_validate_json(await response.text(), strict=True)
    assert answer.usage.seconds == answer.duration == pytest.approx(2.786)
    (segment,) = answer.segments
    assert segment.no_speech_prob < 0.6  # programs leave out segments beyond these
    assert segment.avg_logprob > -1.0
    assert segment.compression_ratio < 2.4


@pytest.mark.parametrize(
    ("fields", "reason", "param"),
    [
        ({"response_format": "pdf"}, "json, text, verbose_json, srt, vtt", "response_format"),
        ({"timestamp_granularities[]": "word"}, "response_format=verbose_json", "timestamp_granularities"),
        (
            {"response_format": "verbose_json", "timestamp_granularities[]": "word"},
            "no word times",
            "timestamp_granularities",
        ),
        ({"language": "xx"}, "not available", "language"),
        ({"languages[]": "xx"}, "not available", "language"),
        ({"stream": "yes", "response_format": "srt"}, "cannot be streamed", "stream"),
        ({"stream": "1", "response_format": "vtt"}, "cannot be streamed", "stream"),
        ({"stream": "maybe"}, "true or false", "stream"),
    ],
)
async def test_wrong_options_become_the_sdks_own_errors(fields, reason, param):
    async with serving() as client:
        response = await client.post("/v1/audio/transcriptions", data=form(GO.read_bytes(), field="file", **fields))
        assert response.status == 400
        error = json.loads(await response.text())["error"]
        assert reason in error["message"]
        assert (error["param"], error["type"]) == (param, "invalid_request_error")


async def test_the_languages_there_are_are_listed_in_the_language_of_who_asks():
    async with serving() as client:
        for path, field in (("/v1/audio/transcriptions", "file"), ("/api/transcribe", "audio")):
            for spoken, listed in (
                ("zh-CN,zh;q=0.9,en;q=0.8", "zh (中文), en (英文)"),
                ("en", "zh (Chinese), en (English)"),
            ):
                data = form(GO.read_bytes(), field=field, language="fr")
                response = await client.post(path, data=data, headers={"Accept-Language": spoken})
                assert response.status == 400
                assert listed.encode() in await response.read()


async def test_what_is_no_sound_is_what_users_of_the_package_catch():
    async with serving() as client, sdk(client) as remote:
        with pytest.raises(openai.BadRequestError) as refusal:
            await remote.audio.transcriptions.create(model="script", file=("a.wav", b"no sound at all" * 9))
        with pytest.raises(openai.BadRequestError):
            await remote.post(
                "/audio/transcriptions", body={}, cast_to=object, options={"headers": {"Content-Type": "text/plain"}}
            )
        assert (await client.post("/api/transcribe", data=form(b"no sound at all" * 9))).status == 415
    assert (refusal.value.code, refusal.value.type) == ("unsupported_media", "invalid_request_error")


# --- JSON ---


SPOKEN = base64.b64encode(GO.read_bytes()).decode()


@pytest.mark.parametrize(
    "sent", [{"data": SPOKEN, "format": "wav"}, {"data": f"data:audio/wav;base64,{SPOKEN}"}, SPOKEN]
)
async def test_a_recording_may_come_in_json(sent):
    engine = ScriptedAsr()
    async with serving(engine) as client:
        body = {
            "model": "any",
            "input_audio": sent,
            "language": "zh-CN",
            "keywords": ["Fun", "Audio"],
            "temperature": 0,
            "prompt": None,
            "response_format": "verbose_json",
            "timestamp_granularities": ["segment"],
            "stream": False,
            "metadata": {"of": "others"},
        }
        response = await client.post("/v1/audio/transcriptions", json=body)
        answer = await response.json()
    assert (response.status, answer["text"]) == (200, "28 tenths")
    assert (engine.asked[0]["language"], engine.asked[0]["hotwords"]) == ("zh", ("Fun", "Audio"))


async def test_json_streams_as_a_form_does():
    async with serving() as client:
        response = await client.post("/v1/audio/transcriptions", json={"input_audio": SPOKEN, "stream": True})
        assert response.content_type == "text/event-stream"
        assert "transcript.text.done" in await response.text()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "input_audio"),
        ({"input_audio": None}, "input_audio"),
        ({"input_audio": 3}, "base64"),
        ({"input_audio": {"data": 3}}, "base64"),
        ({"input_audio": {"data": "!"}}, "not valid base64"),
        ({"input_audio": "data:audio/wav,abc"}, "data: URL"),
        ({"input_audio": "é"}, "not valid base64"),
        ({"input_audio": ""}, ""),
        ({"input_audio": {"data": SPOKEN}, "language": {"a": 1}}, "not available"),
        ([], "object"),
    ],
)
async def test_json_that_holds_no_recording_is_a_bad_request(body, reason):
    async with serving() as client:
        response = await client.post("/v1/audio/transcriptions", json=body)
        assert response.status == 400, await response.text()
        assert reason in (await response.json())["error"]["message"]
        assert client.app[BODIES].taken == 0


async def test_json_is_charged_more_than_its_bytes_before_it_is_decoded():
    async with serving() as client:
        bodies = client.app[BODIES]
        most = []

        async def slowly():
            yield b'{"input_audio": "' + b"A" * (2 << 20)
            await eventually(look, True)
            yield b'"}'

        async def look() -> bool:
            most.append(bodies.taken)
            return bodies.taken >= 8 * (2 << 20)

        response = await client.post(
            "/v1/audio/transcriptions", data=slowly(), headers={"Content-Type": "application/json"}
        )
        assert response.status == 400  # it is no recording
        large = {"Content-Type": "application/json", "Content-Length": str(35 << 20), "Connection": "close"}
        refused = await client.post("/v1/audio/transcriptions", data=b"{", headers=large)
        assert refused.status == 413
        assert bodies.taken == 0


# --- translation ---


async def test_an_engine_that_translates_does_so_for_the_package():
    engine = ScriptedAsr(translation=True)
    async with serving(engine) as client, sdk(client) as remote:
        answer = await remote.audio.translations.create(model="any", file=GO, prompt="Fun, Audio")
        verbose = await client.post(
            "/v1/audio/translations", data=form(GO.read_bytes(), field="file", response_format="verbose_json")
        )
        told = TranslationVerbose.model_validate_json(await verbose.text(), strict=True)
        srt = await client.post(
            "/v1/audio/translations", data=form(GO.read_bytes(), field="file", response_format="srt")
        )
        assert "in English: 28 tenths" in await srt.text()
    assert answer.text == "in English: 28 tenths"
    assert engine.asked[0]["hotwords"] == ("Fun", "Audio")
    assert (told.text, told.language) == ("in English: 28 tenths", "english")


async def test_an_engine_that_does_not_translate_says_which_does():
    async with serving() as client, sdk(client) as remote:
        with pytest.raises(openai.BadRequestError, match="--engine openai"):
            await remote.audio.translations.create(model="any", file=GO)


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
