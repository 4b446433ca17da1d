from __future__ import annotations

import asyncio
import base64
import io
import json
import wave

import aiohttp
import numpy as np
import openai
import pytest

from tests.web_demo.server.tts.fakes import ToneTts, decoded, samples_of, serving, tone
from web_demo.audio.samples import WIRE_RATE
from web_demo.server.tts.encode import CONTENT_TYPES
from web_demo.server.tts.settings import TtsSettings

EMBEDDED = TtsSettings(port=0, engine="embedded")


async def eventually(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.01)


async def test_an_engine_at_fault_makes_the_service_unhealthy_and_is_asked_no_more() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        engine.broken = "the model fell over"
        response = await client.get("/health")
        body = await response.json()
        assert (response.status, body["status"], body["reason"]) == (503, "unhealthy", "the model fell over")
        response = await client.post("/api/synthesize", json={"text": "hello"})
        body = await response.json()
    assert (response.status, body["error"]["code"]) == (503, "unavailable")
    assert "the model fell over" in body["error"]["message"]
    assert engine.requests == []


async def test_a_whole_answer_is_json_with_a_wav_of_the_stated_length() -> None:
    async with serving(EMBEDDED) as client:
        answer = await client.post("/api/synthesize", json={"text": "你好，我是语音助手。", "speaker_id": "中文女"})
        body = await answer.json()
    assert (answer.status, body["success"], body["sample_rate"]) == (200, True, 24000)
    with wave.open(io.BytesIO(base64.b64decode(body["audio"]))) as reader:
        assert reader.getnframes() / 24000 == pytest.approx(body["duration"], abs=0.001)
    assert 1.5 < body["duration"] < 4.0


@pytest.mark.parametrize(
    "ask", [{"json": {"text": "hello there", "stream": True}}, {"headers": {"Accept": "audio/wav"}}]
)
async def test_a_stream_is_a_wav_file_that_other_programs_read(ask) -> None:  # type: ignore[no-untyped-def]
    async with serving(EMBEDDED) as client:
        answer = await client.post("/api/synthesize", **({"json": {"text": "hello there"}} | ask))
        samples = samples_of(await answer.read())
    assert answer.headers["Content-Type"] == "audio/wav"
    assert 0.4 < len(samples) / WIRE_RATE < 2.0
    assert float(np.abs(samples).max()) > 0.1


async def test_streamed_and_whole_answers_are_the_same_sound_without_a_click() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        streamed = await client.post("/api/synthesize", json={"text": "a [pace]d text of some length", "stream": True})
        sound = samples_of(await streamed.read())
        whole = await (await client.post("/api/synthesize", json={"text": "a [pace]d text of some length"})).json()
    assert np.array_equal(sound, samples_of(base64.b64decode(whole["audio"])))
    # The largest step of a 300 Hz sine at 0.4: a lost, repeated or reordered chunk would make a larger one.
    assert np.abs(np.diff(sound)).max() < 0.4 * 2 * np.pi * 300 / WIRE_RATE * 1.02


async def test_embedded_speech_has_no_click_at_the_seams_of_its_sentences() -> None:
    text = "This is the first sentence of them. This is the second one. And here is the last."
    async with serving(EMBEDDED) as client:
        answer = await client.post("/api/synthesize", json={"text": text, "stream": True})
        steps = np.abs(np.diff(samples_of(await answer.read())))
    assert steps.max() < 0.6  # speech of espeak-ng itself reaches 0.45


async def test_the_first_bytes_leave_before_the_text_is_finished() -> None:
    engine = ToneTts()
    text = "The first sentence is here. The second one must [wait] for a sign."
    async with serving(engine=engine) as client:
        answer = await client.post("/api/synthesize", json={"text": text, "stream": True})
        head = await answer.content.readexactly(44 + 2000)
        assert head[:4] == b"RIFF"
        assert not engine.go.is_set()
        engine.go.set()
        rest = await answer.read()
    assert len(samples_of(head + rest)) == len(tone(len(text) - 1))  # the space between them is not spoken


async def test_a_client_that_goes_away_stops_the_engine() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        answer = await client.post("/api/synthesize", json={"text": "[pace] on and on " * 200, "stream": True})
        await answer.content.readexactly(1000)
        answer.close()
        await eventually(lambda: engine.live == 0)
        made = engine.chunks
        await asyncio.sleep(0.05)
        assert engine.chunks == made < 400  # of 800
        metrics = await (await client.get("/metrics")).text()
    assert 'tts_requests_total{outcome="gone"} 1.0' in metrics


async def test_a_client_that_hangs_up_before_a_whole_answer_stops_the_engine_too() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        with pytest.raises(TimeoutError):
            await client.post(
                "/api/synthesize", json={"text": "[pace] on and on " * 200}, timeout=aiohttp.ClientTimeout(total=0.1)
            )
        await eventually(lambda: engine.live == 0)
        assert engine.chunks < 400


async def test_an_early_failure_has_its_own_status_and_a_late_one_breaks_the_transfer() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        early = await client.post("/api/synthesize", json={"text": "this will [fail] with a wave"})
        assert early.status == 500
        assert (await early.json())["error"] == {"code": "engine_failed", "message": "told to fail"}
        text = "All is well with this sentence. [wait] [fail] in the second."
        late = await client.post("/api/synthesize", json={"text": text, "stream": True})
        assert late.status == 200
        engine.go.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await late.read()
        await eventually(lambda: engine.live == 0)


async def test_a_short_text_of_one_client_is_done_while_a_long_one_goes_on() -> None:
    engine = ToneTts(max_concurrency=1)
    async with serving(engine=engine) as client:
        long = asyncio.create_task(client.post("/api/synthesize", json={"text": "[pace] a long sentence. " * 100}))
        await eventually(lambda: engine.chunks > 5)
        short = await client.post("/api/synthesize", json={"text": "a short one"})
        assert short.status == 200
        assert not long.done()
        long.cancel()


async def test_beyond_the_queue_a_request_gets_429_and_a_time_to_come_back() -> None:
    engine = ToneTts()
    async with serving(TtsSettings(port=0, max_requests=2), engine) as client:
        first = asyncio.create_task(client.post("/api/synthesize", json={"text": "please [wait] for it"}))
        await eventually(lambda: engine.live == 1)
        refused = await client.post("/api/synthesize", json={"text": "me too"})
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert (await refused.json())["error"]["code"] == "busy"
        engine.go.set()
        assert (await first).status == 200
        assert (await client.post("/api/synthesize", json={"text": "now me"})).status == 200


async def test_one_client_does_not_take_the_places_of_all() -> None:
    engine = ToneTts()
    async with serving(TtsSettings(port=0, max_requests=2), engine) as client:
        body, other = (
            {"text": "please [wait] for it"},
            {"X-Forwarded-For": "203.0.113.7"},
        )  # as the page's forwarder says
        first = asyncio.create_task(client.post("/api/synthesize", json=body))
        await eventually(lambda: engine.live == 1)
        refused = await client.post("/api/synthesize", json=body)
        assert (refused.status, "yours" in (await refused.json())["error"]["message"]) == (429, True)
        second = asyncio.create_task(client.post("/api/synthesize", json=body, headers=other))
        await eventually(lambda: engine.live == 2)
        engine.go.set()
        assert [(await task).status for task in (first, second)] == [200, 200]


async def test_a_full_service_does_not_read_what_it_refuses() -> None:
    engine, body = ToneTts(), b'{"text": "the beginning of a long one"}'
    async with serving(TtsSettings(port=0, max_requests=1), engine) as client:
        first = asyncio.create_task(client.post("/api/synthesize", json={"text": "please [wait] for it"}))
        await eventually(lambda: engine.live == 1)
        assert client._base_url is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)
        writer.write(
            b"POST /api/synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body[:20]
        )
        assert b" 429 " in await asyncio.wait_for(reader.readline(), 20)
        writer.write(body[20:])  # for which aiohttp would linger
        writer.close()
        engine.go.set()
        assert (await first).status == 200
        metrics = await (await client.get("/metrics")).text()
    assert 'tts_requests_total{outcome="busy"} 1.0' in metrics


async def test_sixteen_clients_at_once_all_get_their_speech() -> None:
    async with serving(EMBEDDED) as client:

        async def ask(number: int) -> int:
            answer = await client.post("/api/synthesize", json={"text": f"This is number {number}.", "stream": True})
            return len(samples_of(await answer.read()))

        lengths = await asyncio.gather(*(ask(number) for number in range(16)))
    assert min(lengths) > WIRE_RATE // 2


async def test_health_names_the_engine_and_the_model() -> None:
    async with serving(EMBEDDED) as client:
        answer = await client.get("/health")
        body = await answer.json()
    assert answer.status == 200
    assert (body["status"], body["engine"], body["model"], body["vllm_enabled"]) == (
        "healthy",
        "embedded",
        "espeak-ng",
        False,
    )


# --- OpenAI's clients -------------------------------------------------------------------------------------------------


def openai_client(client: aiohttp.ClientSession) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=str(client._base_url) + "v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("kind", CONTENT_TYPES)
async def test_the_openai_client_gets_every_format(kind: str) -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client, openai_client(client) as ai:
        answer = await ai.audio.speech.create(
            model="tts-1",
            voice="alloy",
            input="hello from the client",
            response_format=kind,
            speed=1.5,  # type: ignore[arg-type]
        )
    assert answer.response.headers["Content-Type"] == CONTENT_TYPES[kind]
    expected = tone(len("hello from the client"))
    assert len(decoded(kind, answer.content)) == pytest.approx(len(expected), abs=3000)
    assert (engine.requests[0].voice, engine.requests[0].speed) == ("中文女", 1.5)


async def test_the_openai_client_streams_speech_of_the_embedded_engine() -> None:
    async with serving(EMBEDDED) as client, openai_client(client) as ai:
        parts = []
        async with ai.audio.speech.with_streaming_response.create(
            model="tts-1", voice="onyx", input="Good morning. How are you today?", response_format="pcm"
        ) as answer:
            async for part in answer.iter_bytes():
                parts.append(part)
        models = await ai.models.list()
    assert 1.0 < len(b"".join(parts)) / 2 / WIRE_RATE < 5.0
    assert models.data[0].id == "espeak-ng"


async def test_server_sent_events_hold_the_same_bytes() -> None:
    body = {"model": "m", "voice": "alloy", "input": "hello", "response_format": "pcm"}
    async with serving(engine=ToneTts()) as client:
        plain = await (await client.post("/v1/audio/speech", json=body)).read()
        answer = await client.post("/v1/audio/speech", json=body | {"stream_format": "sse"})
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = (await answer.text()).split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta")
    assert sound == plain
    assert events[-1]["type"] == "speech.audio.done"


async def test_an_openai_client_reads_our_errors() -> None:
    async with serving(EMBEDDED) as client, openai_client(client) as ai:
        with pytest.raises(openai.NotFoundError, match="there is no voice 'nobody'"):
            await ai.audio.speech.create(model="m", voice="nobody", input="hello")
