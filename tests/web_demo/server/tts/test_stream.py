"""Text streamed into speech: the messages as pure functions, then conversations over a real socket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from aiohttp import WSMsgType, web

from tests.speech import FOLDER
from tests.web_demo.server.tts.fakes import ToneTts, serving, tone
from web_demo.audio.samples import WIRE_RATE
from web_demo.errors import InvalidRequest
from web_demo.server.common.service import LIFE
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.stream import session as stream
from web_demo.server.tts.stream.messages import Cancel, Close, Config, End, Flush, Text, parse
from web_demo.server.tts_server import create_app

PATH = "/api/synthesize/stream"
ROOT = Path(__file__).parents[4]
DATA_URL = "data:audio/wav;base64," + base64.b64encode((FOLDER / "cards_001.wav").read_bytes()).decode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"type": "text", "text": "Hi"}', Text("Hi")),
        ('{"type": "config", "voice": "x"}', Config({"voice": "x"})),
        ('{"type": "flush"}', Flush()),
        ('{"type": "end"}', End()),
        ('{"type": "cancel", "more": 1}', Cancel()),
        ('{"type": "close"}', Close()),
    ],
)
def test_messages_are_read(data: str, message: object) -> None:
    assert parse(data) == message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "a JSON object"),
        ("hello", "got 'hello'"),
        ("[" * 100_000, "a JSON object"),
        ("[]", "a JSON object"),
        ('{"type": "text"}', "text must be a string, got NoneType"),
        ('{"type": "text", "text": 5}', "got int"),
        ('{"type": "say"}', "config, text, flush, end, cancel, close; got 'say'"),
        ('{"type": ["end"]}', "type must be one of"),
        ("{}", "got None"),
    ],
)
def test_what_is_no_message_is_refused_in_words(data: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(data)
    assert says in str(refused.value)


class Talk:
    """A client: `say` sends, `until` takes messages to one of a type; `sound` is what was heard of each utterance."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.sound: dict[int, bytes] = {}
        self._utterance = 0

    async def say(self, *messages: str | dict[str, Any]) -> None:
        for message in messages:
            known = {"type": "text", "text": message} if isinstance(message, str) else message
            await self.socket.send_str(json.dumps(known))

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                message = await self.socket.receive()
                if message.type is WSMsgType.BINARY:
                    self.sound[self._utterance] = self.sound.get(self._utterance, b"") + message.data
                    continue
                assert message.type is WSMsgType.TEXT, message
                event = json.loads(message.data)
                self.events.append(event)
                if event["type"] == "sentence":
                    self._utterance = event["utterance"]
                if event["type"] == kind:
                    return dict(event)

    async def closed(self) -> int | None:
        async with asyncio.timeout(20):
            while (await self.socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
                pass
        return self.socket.close_code

    def pcm(self, utterance: int) -> np.ndarray:
        return np.frombuffer(self.sound[utterance], "<i2")

    @property
    def sentences(self) -> list[str]:
        return [event["text"] for event in self.events if event["type"] == "sentence"]


@asynccontextmanager
async def talking(
    engine: ToneTts | None = None, settings: TtsSettings | None = None
) -> AsyncIterator[tuple[Talk, ToneTts, aiohttp.ClientSession]]:
    engine = engine or ToneTts()
    async with serving(settings, engine) as client, client.ws_connect(PATH) as socket:
        talk = Talk(socket)
        assert await talk.until("ready") == {"type": "ready", "format": "pcm", "sample_rate": WIRE_RATE}
        yield talk, engine, client


FLUSH, END, CANCEL, CLOSE = ({"type": kind} for kind in ("flush", "end", "cancel", "close"))


async def test_a_sentence_is_spoken_while_the_next_is_still_being_written() -> None:
    async with talking() as (talk, _, _client):
        await talk.say("The first sen", "tence is here. The sec")
        began = await talk.until("sentence")
        assert began == {
            "type": "sentence",
            "utterance": 1,
            "index": 1,
            "text": "The first sentence is here.",
            "start": 0.0,
        }
        await talk.say("ond one is longer.", END)
        second = await talk.until("sentence")
        assert (second["text"], second["start"]) == ("The second one is longer.", 27 / 20)
        done = await talk.until("done")
    assert done == {"type": "done", "utterance": 1, "duration": (27 + 25) / 20}
    assert len(talk.pcm(1)) == len(tone(27)) + len(tone(25))


async def test_markdown_and_numbers_become_words_while_they_stream() -> None:
    async with talking() as (talk, engine, _):
        await talk.say("# Ti", "tle\n\nIt c", "osts **$", "5** to", "day. ", "Bye now, all of you!", END)
        await talk.until("done")
        await talk.say({"type": "config", "markdown": False}, "so **bold** it is for once", END)
        await talk.until("done")
    said = [request.text for request in engine.requests]
    assert " ".join(said[:-1]) == "Title. It costs five dollars today. Bye now, all of you!"
    assert "bold" in said[-1]


async def test_a_flush_speaks_what_is_there_and_the_utterance_goes_on() -> None:
    async with talking() as (talk, _, _client):
        await talk.say("One moment please", FLUSH)
        assert (await talk.until("sentence"))["text"] == "One moment please"
        await talk.say(" and here is the rest", END)
        done = await talk.until("done")
    assert done["utterance"] == 1
    assert talk.sentences == ["One moment please", "and here is the rest"]


async def test_several_utterances_come_one_after_the_other_each_a_file_of_its_own() -> None:
    async with talking() as (talk, _, _client):
        await talk.say({"type": "config", "format": "wav", "sample_rate": 16000, "voice": {"id": "中文男"}})
        assert await talk.until("ready") == {"type": "ready", "format": "wav", "sample_rate": 16000}
        await talk.say("This is the first.", END, "And this is the second.", END, END)
        assert [(await talk.until("done"))["utterance"] for _ in range(2)] == [1, 2]
    for number, characters in ((1, 18), (2, 23)):
        sound, rate = soundfile.read(io.BytesIO(talk.sound[number]))
        assert (rate, len(sound)) == (16_000, pytest.approx(len(tone(characters)) * 2 / 3, abs=2))


async def test_a_cancellation_stops_the_engine_and_silences_all_that_came_before() -> None:
    async with talking() as (talk, engine, _):
        await talk.say("This sentence must [wait] for ever. And it", END, "A second utterance.", END, "A third")
        async with asyncio.timeout(5):
            while not engine.live:  # noqa: ASYNC110 - the fake has no event for it
                await asyncio.sleep(0.01)
        await talk.say(CANCEL)
        assert await talk.until("cancelled") == {"type": "cancelled", "utterances": [1, 2, 3]}
        assert engine.live == 0
        assert talk.sound == {}
        await talk.say("Something else now.", END)
        assert (await talk.until("done"))["utterance"] == 4
        await talk.say(CANCEL)
        assert (await talk.until("cancelled"))["utterances"] == []
    assert talk.sentences == ["Something else now."]


async def test_a_recording_is_read_once_and_its_voice_is_kept_for_every_sentence() -> None:
    async with talking() as (talk, engine, client):
        await talk.say({"type": "config", "ref_audio": DATA_URL, "ref_text": "four of them", "speed": 1.5})
        await talk.until("ready")
        await talk.say("The first sentence of it. The second sentence of it.", END, "Another utterance.", END)
        await talk.until("done")
        await talk.until("done")
        metrics = await (await client.get("/metrics")).text()
        held = float(metrics.split("\nservice_bodies_bytes ")[1].split()[0])
        await talk.say({"type": "config"}, "The default voice again.", END)
        await talk.until("done")
    *cloned, named = engine.requests
    assert len(cloned) == 3
    assert len({id(request.prompt) for request in cloned}) == 1
    assert {request.speed for request in cloned} == {1.5}
    assert cloned[0].prompt is not None
    assert held == cloned[0].prompt.audio.samples.nbytes
    assert (named.prompt, named.voice, named.speed) == (None, "中文女", 1.0)


async def test_a_failure_ends_its_utterance_in_words_and_the_next_one_works() -> None:
    async with talking() as (talk, _, _client):
        await talk.say("This will [fail] at once. ", "This is never spoken, since it belongs to it. ")
        error = await talk.until("error")
        assert error == {"type": "error", "utterance": 1, "code": "engine_failed", "message": "told to fail"}
        await talk.say("Nor is this. ", FLUSH, END, "But this is.", END)
        assert (await talk.until("done"))["utterance"] == 2
    assert talk.sentences[-1] == "But this is."
    assert "Nor is this." not in talk.sentences


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({"type": "say"}, "invalid_request", "type must be one of"),
        ({"type": "config", "speed": 9}, "invalid_request", "speed must be a number from 0.25 to 4, got 9"),
        ({"type": "config", "voice": "nobody"}, "not_found", "there is no voice 'nobody'"),
        ({"type": "config", "format": "wma"}, "invalid_request", "wav, mp3, opus, flac, aac, pcm"),
        ({"type": "config", "format": "opus", "sample_rate": 44100}, "invalid_request", "sample_rate of opus must be"),
        ({"type": "config", "ref_audio": "%%", "ref_text": "x"}, "invalid_request", "not valid base64"),
        ({"type": "config", "speaker_embedding": [1]}, "invalid_request", "asks for a voice"),
    ],
)
async def test_what_is_wrong_is_told_and_changes_nothing(message: dict[str, Any], code: str, says: str) -> None:
    async with talking() as (talk, engine, _):
        await talk.say(message)
        error = await talk.until("error")
        assert error["code"] == code
        assert says in error["message"]
        await talk.socket.send_bytes(b"\x00")
        assert "binary" in (await talk.until("error"))["message"]
        await talk.say("Still the same here.", END)
        await talk.until("done")
    assert (engine.requests[0].voice, engine.requests[0].speed) == ("中文女", 1.0)


async def test_a_config_within_an_utterance_is_refused() -> None:
    async with talking() as (talk, _, _client):
        await talk.say("Half of a", {"type": "config", "speed": 2})
        assert "between utterances" in (await talk.until("error"))["message"]
        await talk.say(" sentence.", END)
        await talk.until("done")
    assert talk.sentences == ["Half of a sentence."]


async def test_an_utterance_has_a_cap_and_so_have_those_that_wait() -> None:
    settings = TtsSettings(port=0, max_text_chars=100)
    async with talking(settings=settings) as (talk, engine, _):
        await talk.say("word " * 15, "word " * 15, "word", END)
        error = await talk.until("error")
        assert (error["utterance"], error["code"]) == (1, "too_large")
        assert "at most 100" in error["message"]
        await talk.say(*["This must [wait] a while.", END] * (stream.MAX_WAITING + 2))
        error = await talk.until("error")
        assert (error["utterance"], error["code"]) == (stream.MAX_WAITING + 3, "busy")
        engine.go.set()
        for number in range(2, stream.MAX_WAITING + 3):
            assert (await talk.until("done"))["utterance"] == number


async def test_text_without_words_is_done_without_a_sound() -> None:
    async with talking() as (talk, engine, _):
        await talk.say("😀 ", "...", END)
        assert await talk.until("done") == {"type": "done", "utterance": 1, "duration": 0.0}
    assert engine.requests == []


async def test_close_speaks_what_came_first() -> None:
    async with talking() as (talk, _, _client):
        await talk.say("The last words of all", CLOSE)
        assert (await talk.until("done"))["duration"] == 21 / 20
        assert await talk.closed() == 1000


async def test_a_client_that_leaves_stops_the_engine_and_gives_its_place_back() -> None:
    engine = ToneTts()
    settings = TtsSettings(port=0, max_streams=2)
    async with serving(settings, engine) as client:
        async with client.ws_connect(PATH) as socket:
            await socket.send_str(json.dumps({"type": "text", "text": "This one must [wait] here. And so on"}))
            async with asyncio.timeout(5):
                while not engine.live:  # noqa: ASYNC110 - the fake has no event for it
                    await asyncio.sleep(0.01)
            async with client.get(PATH, headers=UPGRADE) as full:  # half of the streams are one client's
                assert full.status == 429
                assert "streams of text" in (await full.json())["error"]["message"]
        async with asyncio.timeout(5):
            while engine.live or (await (await client.get("/health")).json())["streams"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_service_that_shuts_down_speaks_what_came_and_says_goodbye() -> None:
    engine = ToneTts()
    app = create_app(TtsSettings(port=0), engine)
    runner = web.AppRunner(app, lingering_time=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        async with aiohttp.ClientSession() as client, client.ws_connect(url) as socket:
            talk = Talk(socket)
            await talk.until("ready")
            await talk.say("This one must [wait] here. And here is the rest of it")
            async with asyncio.timeout(5):
                while not engine.live:  # noqa: ASYNC110 - the fake has no event for it
                    await asyncio.sleep(0.01)
            app[LIFE].draining.set()
            await asyncio.sleep(0.05)
            await talk.say(" and more")
            assert "closing" in (await talk.until("error"))["message"]
            engine.go.set()
            await talk.until("done")
            assert await talk.closed() == 1001
        assert talk.sentences[-1] == "And here is the rest of it"
    finally:
        await runner.cleanup()


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer secret", "Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer secret", "Host": "evil.example"}, 403),
    ],
)
async def test_keys_names_and_origins_are_asked_for_as_everywhere(headers: dict[str, str], status: int) -> None:
    async with serving(TtsSettings(port=0, api_key="secret"), ToneTts()) as client:
        async with client.get(PATH, headers={**UPGRADE, **headers}) as answer:
            assert answer.status == status
        async with client.ws_connect(f"{PATH}?api_key=secret") as socket:
            assert json.loads((await socket.receive()).data)["type"] == "ready"


async def test_a_slow_reader_holds_no_turn_of_the_engine() -> None:
    """What is made waits for it, up to a bound; another client is served meanwhile."""
    engine = ToneTts(max_concurrency=1)
    async with talking(engine, TtsSettings(port=0, max_text_chars=100_000)) as (talk, _, client):
        await talk.say({"type": "config", "sample_rate": 48_000})  # so that the system's buffers hold less of it
        for _ in range(90):
            await talk.say("a sentence of about ten seconds " * 6 + "ends. ")
        await talk.say(END)
        async with asyncio.timeout(20):
            made = -1
            while made != engine.chunks or engine.live:  # until it stands still
                made = engine.chunks
                await asyncio.sleep(0.2)
        assert made * 0.2 < 400  # of 890 s: the system's buffers hold a hundred or so
        answer = await client.post("/api/synthesize", json={"text": "quickly spoken"})
        assert answer.status == 200


async def test_the_end_of_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "IDLE_S", 0.05)
    async with talking() as (talk, _, _client):
        assert await talk.closed() == 1000


async def test_text_that_comes_no_more_is_spoken_and_holds_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "IDLE_S", 0.1)
    async with talking() as (talk, _, _client):
        await talk.say("Half of a sentence")
        assert (await talk.until("done"))["duration"] == 18 / 20
        assert await talk.closed() == 1000


async def test_a_declared_minimum_joins_short_sentences() -> None:
    engine = ToneTts()
    engine.capabilities = replace(engine.capabilities, min_piece_chars=12)
    async with talking(engine) as (talk, _, _client):
        await talk.say("No. No! Never again, please. ", END)
        await talk.until("done")
    assert talk.sentences == ["No. No! Never again, please."]


async def test_the_small_client_speaks_what_is_piped_into_it(tmp_path: Path) -> None:
    saved = tmp_path / "answer.wav"
    async with serving(TtsSettings(port=0, api_key="secret"), ToneTts()) as client:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "scripts" / "examples" / "speak_stream.py"),
            f"--url=ws://127.0.0.1:{client._base_url.port}{PATH}",  # type: ignore[union-attr]
            "--api-key=secret",
            f"--save={saved}",
            stdin=asyncio.subprocess.PIPE,
        )
        await process.communicate("What a model writes, in 2 sentences. 你好，世界，再见。\n".encode())
    assert process.returncode == 0
    sound, rate = soundfile.read(saved)
    assert (rate, len(sound)) == (WIRE_RATE, len(tone(38)) + len(tone(9)))


async def test_no_message_that_a_stranger_can_make_ends_a_stream() -> None:
    chance = random.Random(1)
    kinds = ["text", "text", "config", "flush", "end", "cancel", "say", 5, None]
    fields = ["text", "voice", "speed", "format", "sample_rate", "timestamps", "language", "ref_audio", "ref_text"]
    values = ["\ud800", "a\ud83d", "\ude00b. ", "\x00", "Hi. There", "再见。", 1, None, True, [], {}, 1e400, "x" * 300]
    async with talking() as (talk, engine, _):
        for _ in range(150):
            message = {"type": chance.choice(kinds)}
            message |= {chance.choice(fields): chance.choice(values) for _ in range(chance.randrange(3))}
            await talk.socket.send_str(chance.choice([json.dumps(message)] * 9 + ["{", "[]", "\x00"]))
        await talk.say(CANCEL, {"type": "config"})
        await talk.until("cancelled")
        await talk.until("ready")
        await talk.say("Half of a \ud83d", "\ude00 sentence.", END)
        await talk.until("done")
    assert talk.sentences[-1] == "Half of a sentence."
    assert engine.live == 0
