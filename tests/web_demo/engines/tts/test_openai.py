"""Against our own service, which has the same interface, and against servers that answer something else."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web

from tests.web_demo.server.tts.fakes import ToneTts, serving, tone
from web_demo.audio.samples import Samples, from_wav, silence
from web_demo.engines.base import SpeechRequest, VoicePrompt
from web_demo.engines.tts.openai import OpenAiTts, create
from web_demo.errors import Busy, EngineFailed, InvalidRequest, NotFound, SetupError, Unavailable
from web_demo.server.tts.settings import TtsSettings


async def sound(engine: OpenAiTts, request: SpeechRequest) -> Samples:
    return np.concatenate([chunk async for chunk in engine.synthesize(request)])


@asynccontextmanager
async def answering(
    status: int, body: bytes = b"{}", seen: list[dict[str, object]] | None = None
) -> AsyncIterator[str]:
    async def speech(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(await request.json())
        return web.Response(status=status, body=body, content_type="application/json")

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_speech_of_another_server_comes_through_sample_by_sample() -> None:
    remote = ToneTts()
    async with serving(engine=remote) as client:
        engine = OpenAiTts(f"{client._base_url}v1")
        await engine.start()
        assert engine.model == "sine"
        heard = await sound(engine, SpeechRequest("twenty characters ok", "中文男", speed=1.5))
        await engine.close()
    assert np.abs(heard - tone(20)).max() < 1e-4
    assert (remote.requests[0].voice, remote.requests[0].speed) == ("中文男", 1.5)


async def test_closing_the_iterator_ends_the_work_of_the_other_server() -> None:
    import asyncio

    remote = ToneTts()
    async with serving(engine=remote) as client:
        engine = OpenAiTts(f"{client._base_url}v1", "sine")
        speech = engine.synthesize(SpeechRequest("[pace] on and on " * 200, "中文女"))
        await anext(speech)
        await speech.aclose()
        async with asyncio.timeout(5):
            while remote.live:  # noqa: ASYNC110 - the fake has no event for it
                await asyncio.sleep(0.01)
        await engine.close()
    assert remote.chunks < 400  # of 800


async def test_a_recording_and_a_mapped_voice_are_sent_as_vllm_omni_takes_them() -> None:
    seen: list[dict[str, object]] = []
    async with answering(200, np.zeros(10, "<i2").tobytes(), seen) as url:
        engine = OpenAiTts(url, "m", voice="vivian")
        await sound(engine, SpeechRequest("hello", "中文女", prompt=VoicePrompt(silence(1, 24_000), "what it says")))
        await sound(engine, SpeechRequest("hello", "ryan", speed=2.0, instruction="cheerfully"))
        await engine.close()
    first, second = seen
    assert (first["voice"], first["ref_text"]) == ("vivian", "what it says")
    assert (first["stream"], first["stream_format"]) == (True, "audio")
    assert from_wav(base64.b64decode(str(first["ref_audio"]).partition(",")[2])).seconds == 1.0
    assert (second["voice"], second["speed"], second["instructions"]) == ("ryan", 2.0, "cheerfully")
    assert second.keys().isdisjoint(("stream", "stream_format"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (404, NotFound),
        (422, InvalidRequest),
        (429, Busy),
        (401, EngineFailed),
        (503, EngineFailed),
    ],
)
async def test_errors_of_the_other_server_keep_their_kind(status: int, error: type[Exception]) -> None:
    async with answering(status, b'{"error": {"message": "because"}}') as url:
        engine = OpenAiTts(url, "m")
        with pytest.raises(error):
            await sound(engine, SpeechRequest("hello", "x"))
        await engine.close()


async def test_a_server_that_is_not_there_is_named_at_start_and_later() -> None:
    engine = OpenAiTts("http://127.0.0.1:9/v1", "m")
    with pytest.raises(SetupError, match=r"127.0.0.1:9.*--base-url"):
        await engine.start()
    with pytest.raises(Unavailable):
        await sound(engine, SpeechRequest("hello", "x"))
    await engine.close()


def test_it_needs_a_base_url() -> None:
    with pytest.raises(SetupError, match="--base-url"):
        create(TtsSettings(port=0, engine="openai"))


async def test_a_server_without_models_needs_a_name() -> None:
    async with answering(200) as url:
        with pytest.raises(SetupError, match="--remote-model"):
            await OpenAiTts(url).start()
