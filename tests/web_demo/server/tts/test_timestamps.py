"""Times of words on the wire: of the engine, of a recogniser behind it, and refused where there are none."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import WSMsgType, web

from tests.speech import recording
from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.engines.base import SpeechRequest
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app
from web_demo.server.common.service import HEALTH
from web_demo.server.tts.settings import TtsSettings

EMBEDDED = TtsSettings(port=0, engine="embedded")
TEXT = "Hello there, it costs $5. Then we go home, all of us."
WORDS = ["Hello", "there", "it", "costs", "five", "dollars", "Then", "we", "go", "home", "all", "of", "us"]
SPOKEN = "Go forward ten meters."


class RecordedTts(ToneTts):
    """Says "go forward ten meters" in a human voice, whatever it is asked for."""

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        sound = recording("go_forward_ten_meters").at(WIRE_RATE).samples
        for start in range(0, len(sound), 4800):
            yield sound[start : start + 4800]


@asynccontextmanager
async def recogniser(engine: str = "embedded") -> AsyncIterator[str]:
    app = create_app(AsrSettings(port=0, engine=engine))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        while app[HEALTH].state()[0] == "loading":  # noqa: ASYNC110 - the health is derived, it has no event
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def check(words: list[dict[str, Any]], said: list[str], seconds: float) -> None:
    assert [word["word"] for word in words] == said
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= seconds


async def test_the_embedded_voice_tells_when_each_word_is_said() -> None:
    async with serving(EMBEDDED) as client:
        health = await (await client.get("/health")).json()
        body = {"text": TEXT, "speaker_id": "英文女", "timestamps": "word", "sample_rate": 16000}
        answer = await (await client.post("/api/synthesize", json=body)).json()
        plain = await (await client.post("/api/synthesize", json={**body, "timestamps": None})).json()
    assert health["timestamps"] == "word"
    check(answer["words"], WORDS, answer["duration"])
    assert not any("estimated" in word for word in answer["words"])
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(answer["audio"])))
    then = next(word for word in answer["words"] if word["word"] == "Then")
    before = sound[round((then["start"] - 0.1) * rate) : round((then["start"] - 0.02) * rate)]
    after = sound[round((then["start"] + 0.02) * rate) : round((then["start"] + 0.15) * rate)]
    assert np.abs(before).max() < 0.05 < np.abs(after).max()  # it comes after the pause between sentences
    assert "words" not in plain


@pytest.mark.parametrize("path", ["/api/synthesize", "/v1/audio/speech"])
async def test_events_have_the_times_after_the_sound_of_each_piece(path: str) -> None:
    field = "text" if path == "/api/synthesize" else "input"
    body = {field: TEXT, "voice": "英文女", "timestamps": "word", "stream_format": "sse"}
    async with serving(EMBEDDED) as client, client.post(path, json=body) as answer:
        events = [json.loads(line[6:]) for line in (await answer.text()).splitlines() if line.startswith("data: ")]
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert kinds.count("words") == 2
    assert kinds[0] == "delta"
    assert kinds[-1] == "done"
    assert kinds.index("words") < len(kinds) - 1 - kinds[::-1].index("delta")
    check([word for event in events for word in event.get("words", ())], WORDS, 60.0)


async def test_a_stream_of_text_has_them_too() -> None:
    async with serving(EMBEDDED) as client, client.ws_connect("/api/synthesize/stream") as socket:
        await socket.send_json({"type": "config", "voice": "英文女", "timestamps": "word"})
        await socket.send_json({"type": "text", "text": TEXT})
        await socket.send_json({"type": "close"})
        events = [json.loads(message.data) async for message in socket if message.type is WSMsgType.TEXT]
    found = [event for event in events if event["type"] == "words"]
    assert [(event["utterance"], event["index"]) for event in found] == [(1, 1), (1, 2)]
    check([word for event in found for word in event["words"]], WORDS, events[-1]["duration"])


async def test_a_recogniser_tells_them_where_the_engine_cannot() -> None:
    async with recogniser() as url, serving(TtsSettings(port=0, asr_url=url), RecordedTts()) as client:
        answer = await client.post("/api/synthesize", json={"text": SPOKEN, "timestamps": "word"})
        body = await answer.json()
        chinese = await client.post("/api/synthesize", json={"text": "你好，世界。", "timestamps": "word"})
        refused = (await chinese.json())["error"]["message"]
    assert answer.status == 200, body
    check(body["words"], ["Go", "forward", "ten", "meters"], body["duration"])
    assert not any("estimated" in word for word in body["words"])
    assert body["words"][2]["start"] == pytest.approx(1.2, abs=0.5)
    assert (chinese.status, "knows no 'zh'" in refused) == (400, True)


async def test_without_an_engine_and_a_recogniser_it_is_refused_in_words_before_the_work() -> None:
    engine = ToneTts()
    body = {"text": "hello there", "timestamps": "word"}
    async with serving(TtsSettings(port=0, asr_url="http://127.0.0.1:9"), engine) as client:
        health = await (await client.get("/health")).json()
        for path, more in (("/api/synthesize", {}), ("/v1/audio/speech", {"input": "hi", "stream_format": "sse"})):
            async with client.post(path, json={**body, **more}) as answer:
                message = (await answer.json())["error"]["message"]
                assert answer.status == 400
                assert "the tone engine has no times of words, and no recogniser answers" in message
        async with client.ws_connect("/api/synthesize/stream") as socket:
            await socket.send_json({"type": "config", "timestamps": "word"})
            await socket.receive()
            assert "no times of words" in json.loads((await socket.receive()).data)["message"]
    assert health["timestamps"] == "none"
    assert engine.requests == []


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/api/synthesize", {"text": "hi", "timestamps": "word", "stream": True}, {}),
        ("/api/synthesize", {"text": "hi", "timestamps": "word"}, {"Accept": "audio/wav"}),
        ("/v1/audio/speech", {"input": "hi", "timestamps": "word"}, {}),
        ("/api/synthesize", {"text": "hi", "timestamps": "phoneme"}, {}),
        ("/api/synthesize", {"text": "hi", "timestamps": True}, {}),
    ],
)
async def test_where_there_is_no_place_for_them_they_are_refused(
    path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client, client.post(path, json=body, headers=headers) as answer:
        assert answer.status == 400
        assert "timestamps" in (await answer.json())["error"]["message"]
    assert engine.requests == []
