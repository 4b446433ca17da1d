"""The openai engine in front of a real OpenAI-compatible server: this project's own service."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from tests.speech import recording
from tests.web_demo.server.asr.helpers import ScriptedAsr, post, serving, speech
from web_demo.audio.samples import to_wav
from web_demo.engines.asr.openai import OpenAiAsr, create
from web_demo.errors import Busy, InvalidRequest, SetupError, Unavailable
from web_demo.server.asr.settings import AsrSettings


@asynccontextmanager
async def behind(engine: ScriptedAsr, **settings):
    async with serving(engine, **settings) as client:
        remote = OpenAiAsr(str(client.make_url("/v1")), "script", "")
        await remote.start()
        yield remote
        await remote.close()


async def test_a_recording_goes_there_and_its_text_comes_back():
    engine = ScriptedAsr()
    async with behind(engine) as remote:
        transcript = await remote.transcribe(recording("go_forward_ten_meters"), language="en", hotwords=["ten", "x"])
    assert transcript.text == "28 tenths"
    assert transcript.segments[0].end_s == 2.786
    assert engine.asked[0]["language"] == "en"
    assert engine.asked[0]["hotwords"] == ("ten", "x")


@asynccontextmanager
async def answering(
    answer: dict | None, *, takes: tuple[str, ...] = ("word", "segment", "none"), translate: Handler | None = None
):
    """The engine before a server that gives `answer` to each recording; forms it does not take get 400."""
    asked: list[str] = []

    async def transcribe(request: web.Request) -> web.Response:
        form = await request.post()
        words = "word" in form.getall("timestamp_granularities[]", [])
        asked.append("word" if words else "segment" if form.get("response_format") == "verbose_json" else "none")
        if asked[-1] not in takes:
            return web.json_response({"error": {"message": "response_format is not supported"}}, status=400)
        return web.json_response(answer if asked[-1] != "none" else {"text": answer["text"]})

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "w", "object": "model"}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/audio/transcriptions", transcribe)
    if translate is not None:
        app.router.add_post("/v1/audio/translations", translate)
    async with TestServer(app) as server:
        remote = OpenAiAsr(str(server.make_url("/v1")), "w", "")
        await remote.start()
        yield remote, asked
        await remote.close()


ANSWER = {"text": "Hello, world. Good day.", "language": "english", "duration": "2.7"}
SEGMENTS = [{"start": 0.1, "end": "1.2", "text": " Hello, world."}, {"start": 1.3, "end": 9.0, "text": " Good day."}]
WORDS = [
    {"word": word, "start": start, "end": start + 0.3}
    for word, start in (("Hello", 0.1), ("world", 0.8), ("Good", 1.3), ("day", 1.7))
]


async def test_times_of_words_are_the_server_s():
    async with answering(ANSWER | {"segments": SEGMENTS, "words": WORDS}) as (remote, asked):
        assert remote.capabilities.timestamps == "word"
        transcript = await remote.transcribe(recording("go_forward_ten_meters"))
    assert asked == ["word", "word"]
    assert (transcript.text, transcript.language) == ("Hello, world. Good day.", "en")
    first, second = transcript.segments
    assert (first.text, first.start_s, first.end_s) == ("Hello, world.", 0.1, 1.2)
    assert [word.text for word in first.words] == ["Hello", "world"]
    assert [(word.text, word.start_s) for word in second.words] == [("Good", 1.3), ("day", 1.7)]
    assert second.end_s == 2.786  # a recording has no words after its end


async def test_a_server_without_times_of_words_is_asked_for_segments():
    async with answering(ANSWER | {"segments": SEGMENTS}, takes=("segment",)) as (remote, asked):
        transcript = await remote.transcribe(recording("go_forward_ten_meters"))
        assert remote.capabilities.timestamps == "segment"
    assert asked == ["word", "segment"]
    assert [(s.text, s.words) for s in transcript.segments] == [("Hello, world.", None), ("Good day.", None)]


async def test_a_server_of_text_alone_is_asked_for_more_only_once():
    async with answering(ANSWER, takes=("none",)) as (remote, asked):
        for _ in range(2):
            transcript = await remote.transcribe(recording("go_forward_ten_meters"))
    assert asked == ["word", "segment", "none", "none"]
    assert [(s.text, s.start_s, s.end_s) for s in transcript.segments] == [("Hello, world. Good day.", 0.0, 2.786)]


@pytest.mark.parametrize(
    "times",
    [
        {"segments": [{"start": "soon", "end": 2, "text": "Hello, world. Good day."}]},
        {"segments": [{"text": "Hello, world. Good day."}]},
        {"segments": SEGMENTS[:1]},
        {"segments": 3},
    ],
)
async def test_times_that_make_no_sense_are_left_out(times):
    async with answering(ANSWER | times) as (remote, _):
        transcript = await remote.transcribe(recording("go_forward_ten_meters"))
    assert [(s.text, s.end_s) for s in transcript.segments] == [("Hello, world. Good day.", 2.786)]


async def test_long_audio_reaches_it_in_pieces_of_at_most_30_seconds():
    engine = ScriptedAsr(max_segment_s=60.0)
    async with behind(engine) as remote, serving(OpenAiAsr(remote.device, "script", "")) as client:
        status, body = await post(client, to_wav(speech(10, 2.0)))
    assert status == 200
    assert len(engine.asked) >= 2
    assert max(asked["seconds"] for asked in engine.asked) <= 30.0
    assert body["segments"][-1]["end"] > 40


async def test_a_model_that_the_server_lacks_is_named_at_start():
    async with serving() as client:
        remote = OpenAiAsr(str(client.make_url("/v1")), "whisper", "")
        with pytest.raises(SetupError, match="no model 'whisper'; it has: script"):
            await remote.start()
        await remote.close()


async def test_no_server_is_a_setup_error_and_later_unavailable():
    remote = OpenAiAsr("http://127.0.0.1:9/v1", "m", "")
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:9"):
        await remote.start()
    with pytest.raises(Unavailable):
        await remote.transcribe(recording("cards_001"))
    await remote.close()


async def test_what_the_server_refuses_is_passed_on_with_its_reason():
    async with behind(ScriptedAsr()) as remote:
        with pytest.raises(InvalidRequest, match="fr") as refusal:
            await remote.transcribe(recording("cards_001"), language="fr")
    assert refusal.value.param == "language"


async def test_speech_is_translated_by_a_server_that_can():
    asked = []

    async def translate(request: web.Request) -> web.Response:
        asked.append(dict(await request.post()))
        return web.json_response(ANSWER | {"segments": SEGMENTS})

    async with answering(ANSWER | {"segments": SEGMENTS}, translate=translate) as (remote, _):
        transcript = await remote.translate(recording("go_forward_ten_meters"), hotwords=["Fun", "Audio"])
    assert (transcript.text, transcript.language) == (ANSWER["text"], "en")
    assert [segment.text for segment in transcript.segments] == ["Hello, world.", "Good day."]
    assert (asked[0]["prompt"], asked[0]["model"], "language" in asked[0]) == ("Fun, Audio", "w", False)


async def test_a_server_that_does_not_translate_is_told_of():
    async with answering(ANSWER) as (remote, _):
        with pytest.raises(InvalidRequest, match="does not translate"):
            await remote.translate(recording("go_forward_ten_meters"))


async def test_a_busy_server_makes_this_one_busy():
    engine = ScriptedAsr(concurrency=1)
    async with behind(engine, max_queue=0) as remote:
        engine.hold()
        first = asyncio.create_task(remote.transcribe(recording("cards_001")))
        await engine.entered.wait()
        with pytest.raises(Busy):
            await remote.transcribe(recording("cards_001"))
        engine.go_on.set()
        assert (await first).text


def test_it_needs_a_base_url():
    with pytest.raises(SetupError, match="--base-url"):
        create(AsrSettings(port=0))
