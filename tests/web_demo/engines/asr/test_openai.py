"""The openai engine in front of a real OpenAI-compatible server: this project's own service."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.speech import recording
from tests.web_demo.server.asr.helpers import ScriptedAsr, post, serving, speech
from web_demo.audio.samples import to_wav
from web_demo.engines.asr.openai import OpenAiAsr, create
from web_demo.errors import Busy, EngineFailed, SetupError, Unavailable
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
        with pytest.raises(EngineFailed, match="fr"):
            await remote.transcribe(recording("cards_001"), language="fr")


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
