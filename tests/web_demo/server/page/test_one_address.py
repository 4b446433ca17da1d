"""All three services at the address of one, over real sockets: with the unmodified openai package, and WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import openai
import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from tests.talk import Server, serving, until
from tests.web_demo.server.asr.helpers import GO, ScriptedAsr, go
from tests.web_demo.server.tts.fakes import ToneTts
from web_demo.audio.samples import to_int16
from web_demo.engines.base import TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app as create_asr
from web_demo.server.common import hangup
from web_demo.server.common.api.routes import Route, add_routes
from web_demo.server.common.service import HEALTH, LIFE
from web_demo.server.page import sockets
from web_demo.server.page.forward import FORWARDER, MAX_PER_CLIENT
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app as create_tts

KEY = "k-1"
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Stack:
    server: Server
    http: aiohttp.ClientSession
    asr: ScriptedAsr
    asr_app: web.Application

    def url(self, path: str) -> str:
        return self.server.url(path)

    def sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url("/v1"), api_key=KEY, max_retries=0)


@asynccontextmanager
async def stack(*, with_tts: bool = True) -> AsyncIterator[Stack]:
    """S2S, ASR and TTS, which share a key."""
    asr = ScriptedAsr()
    asr_app = create_asr(AsrSettings(port=0, api_key=KEY), asr)
    async with AsyncExitStack() as running:
        url = NOWHERE
        first = await running.enter_async_context(TestClient(TestServer(asr_app, host="127.0.0.1")))
        if with_tts:
            tts_app = create_tts(TtsSettings(port=0, api_key=KEY), ToneTts())
            second = await running.enter_async_context(TestClient(TestServer(tts_app, host="127.0.0.1")))
            url = str(second.make_url("/"))
            await until(lambda: tts_app[HEALTH].state()[0] == "healthy")
        settings = S2sSettings(port=0, api_key=KEY, asr_url=str(first.make_url("/")), tts_url=url)
        engine = ScriptedS2s(lambda _: [TextDelta("ok")])
        engine.model = "talk"
        server = await running.enter_async_context(serving(create_app(settings, engine)))
        http = await running.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}))
        await until(lambda: asr_app[HEALTH].state()[0] == "healthy")
        yield Stack(server, http, asr, asr_app)


async def test_the_openai_package_needs_one_address_for_all() -> None:
    async with stack() as it, it.sdk() as remote:
        heard = await remote.audio.transcriptions.create(model="whisper-1", file=GO)
        spoken = await remote.audio.speech.create(
            model="tts-1", voice="alloy", input="Good morning!", response_format="wav"
        )
        models = [card.id async for card in remote.models.list()]
        assert (await remote.models.retrieve("sine")).owned_by == "tone"
        async with remote.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="Hello.", response_format="pcm"
        ) as response:
            assert len(await response.read()) > 10_000
        with pytest.raises(openai.BadRequestError) as refusal:
            await remote.audio.speech.create(model="tts-1", voice="alloy", input="Hello.", speed=9)
    assert heard.text == "28 tenths"
    assert spoken.content[:4] == b"RIFF"
    assert models == ["talk", "script", "sine"]
    assert "speed" in refusal.value.message


async def test_without_the_key_nothing_is_passed_on() -> None:
    async with stack() as it, aiohttp.ClientSession() as http:
        for path in ("/v1/models", "/v1/audio/voices", "/api/speakers", "/api/transcribe/stream"):
            async with http.get(it.url(path)) as response:
                assert response.status == 401, path
        for path in ("/v1/audio/transcriptions", "/v1/audio/speech"):
            async with http.post(it.url(path), json={}) as response:
                assert response.status == 401, path


async def test_the_lists_are_of_what_answers() -> None:
    async with stack(with_tts=False) as it:
        async with it.http.get(it.url("/v1/audio/voices/")) as response:
            assert await response.json() == {"voices": []}
        async with it.http.get(it.url("/v1/models")) as response:
            assert [card["id"] for card in (await response.json())["data"]] == ["talk", "script"]
        async with it.http.post(it.url("/v1/audio/speech"), json={"input": "x"}) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (503, "server_error")


async def test_a_query_and_what_headers_tell_go_along() -> None:
    async with stack() as it:
        async with it.http.post(it.url("/api/synthesize?explain=1"), json={"text": "It costs $2."}) as response:
            assert (await response.json())["pieces"] == ["It costs two dollars."]
        async with it.http.post(it.url("/v1/audio/speech"), json={"input": "hi", "response_format": "pcm"}) as response:
            assert response.headers["X-Sample-Rate"] == "24000"


# --- WebSockets ---


async def test_live_captions_come_through() -> None:
    async with stack() as it, it.http.ws_connect(it.url("/api/transcribe/stream?rate=16000&language=en")) as socket:
        await socket.send_bytes(to_int16(go().samples).tobytes())
        await socket.send_str('{"type": "end"}')
        said = [json.loads(message.data) async for message in socket if message.type is WSMsgType.TEXT]
        assert socket.close_code == WSCloseCode.OK
        await until(lambda: it.server.app[FORWARDER].taken == 0)
    assert [message["type"] for message in said if message["type"] != "partial"] == ["final", "done"]
    assert it.asr.asked[-1]["language"] == "en"


async def test_realtime_is_a_conversation_here_and_a_transcription_of_the_other_service() -> None:
    async with stack() as it, it.sdk() as remote:
        async with remote.realtime.connect(model="any") as conversation:
            assert (await conversation.recv()).type == "session.created"
            await until(lambda: it.server.service.sessions)
        async with remote.realtime.connect(model="any", extra_query={"intent": "transcription"}) as transcription:
            created = await transcription.recv()
            assert created.type == "session.created"
            assert created.session.type == "transcription"
            assert it.asr_app[LIFE]._in_flight == 1
        browser = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(it.url("/v1/realtime?intent=transcription"), protocols=browser) as socket,
        ):
            assert socket.protocol == "realtime"
            assert (await socket.receive_json())["session"]["type"] == "transcription"
        async with (
            aiohttp.ClientSession(headers={"OpenAI-Beta": "realtime=v1", "api-key": KEY}) as http,
            http.ws_connect(it.url("/v1/realtime?intent=transcription")) as socket,
        ):
            assert (await socket.receive_json())["type"] == "transcription_session.created"


async def test_the_words_of_a_refused_handshake_come_through() -> None:
    async with stack() as it:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        async with it.http.get(it.url("/api/transcribe/stream?rate=1"), headers=upgrade) as response:
            assert response.status == 400
            assert "rate must be 8000 to 48000" in (await response.json())["error"]["message"]
        async with it.http.get(it.url("/api/transcribe/stream")) as response:
            assert (response.status, "WebSocket" in await response.text()) == (400, True)


async def test_a_socket_to_a_service_that_is_down_is_refused_with_what_to_do() -> None:
    async with stack() as it:
        it.server.app[FORWARDER].targets["asr"] = NOWHERE
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await it.http.ws_connect(it.url("/api/transcribe/stream"))
        assert refused.value.status == 503
        assert it.server.app[FORWARDER].taken == 0


async def test_a_client_that_goes_away_ends_the_socket_behind_it() -> None:
    async with stack() as it:
        live = await it.http.ws_connect(it.url("/api/transcribe/stream"))
        await until(lambda: it.asr_app[LIFE]._in_flight == 1)
        assert live._response is not None
        live._response.close()  # no closing handshake
        await until(lambda: it.asr_app[LIFE]._in_flight == 0)
        await until(lambda: it.server.app[FORWARDER].taken == 0)


async def test_a_service_that_shuts_down_tells_the_client_why() -> None:
    async with stack() as it, it.http.ws_connect(it.url("/api/transcribe/stream")) as socket:
        it.asr_app[LIFE].draining.set()
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == WSCloseCode.GOING_AWAY


async def test_the_end_of_this_service_ends_the_sockets_through_it() -> None:
    async with stack() as it, it.http.ws_connect(it.url("/api/transcribe/stream")) as socket:
        it.server.app[LIFE].draining.set()
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == WSCloseCode.GOING_AWAY
        await until(lambda: it.asr_app[LIFE]._in_flight == 0)


@asynccontextmanager
async def in_place_of_asr(it: Stack, handler: Handler) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_get("/api/transcribe/stream", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        it.server.app[FORWARDER].targets["asr"] = str(server.make_url("/")).rstrip("/")
        yield


async def test_code_reason_and_subprotocol_come_through_both_ways() -> None:
    closed: list[tuple[int | None, object]] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("realtime",))
        await socket.prepare(request)
        message = await socket.receive()
        if message.type is WSMsgType.TEXT:
            await socket.close(code=4321, message="为什么".encode())
        else:
            closed.append((message.data, message.extra))
        return socket

    async with stack() as it, in_place_of_asr(it, handle):
        url, protocols = it.url("/api/transcribe/stream"), ("openai-beta.x", "realtime")
        async with it.http.ws_connect(url, protocols=protocols) as socket:
            assert socket.protocol == "realtime"
            await socket.send_str("close, please")
            message = await socket.receive()
            assert (message.data, message.extra) == (4321, "为什么")
        async with it.http.ws_connect(url, protocols=protocols) as socket:
            await socket.close(code=4000, message=b"enough")
        await until(lambda: closed == [(4000, "enough")])


async def test_a_listener_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hangup, "WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(sockets, "CLOSE_S", 0.3)
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            with suppress(ConnectionError):
                while not socket.closed:
                    await socket.send_bytes(bytes(1 << 16))
        finally:
            ended.set()
        return socket

    async with stack() as it, in_place_of_asr(it, endless):
        reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port, limit=1 << 10)
        writer.write(
            b"GET /api/transcribe/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-API-Key: k-1\r\n\r\n"
        )
        assert b" 101 " in await reader.readline()
        await until(lambda: it.server.app[FORWARDER].taken == 0)
        await asyncio.wait_for(ended.wait(), 20)
        writer.close()


async def test_a_message_over_the_bound_ends_the_socket_and_no_other() -> None:
    async with stack() as it, it.http.ws_connect(it.url("/api/transcribe/stream")) as other:
        async with it.http.ws_connect(it.url("/api/transcribe/stream")) as socket:
            await socket.send_bytes(bytes((1 << 20) + 1))
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == WSCloseCode.MESSAGE_TOO_BIG
        await other.send_str('{"type": "end"}')
        assert (await other.receive_json())["type"] == "done"


async def test_sockets_of_one_client_leave_others_their_ways_through() -> None:
    async with stack() as it:
        places = it.server.app[FORWARDER].places["asr"]
        with places.admit("127.0.0.1", MAX_PER_CLIENT), pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await it.http.ws_connect(it.url("/api/transcribe/stream"))
        assert refused.value.status == 429
        headers = {"X-Forwarded-For": "203.0.113.7"}
        with places.admit("127.0.0.1", MAX_PER_CLIENT):
            async with it.http.ws_connect(it.url("/api/transcribe/stream"), headers=headers) as socket:
                await socket.send_str('{"type": "end"}')
                assert (await socket.receive_json())["type"] == "done"


async def test_requests_to_one_address_are_told_apart_by_their_query() -> None:
    """As those to /v1/realtime are: a transcription is another service's."""

    def saying(text: str, **only: str) -> Route:
        async def handle(_: web.Request) -> web.Response:
            return web.Response(text=text)

        return Route("GET", "/v1/which", handle, "Which.", only=only)

    async with stack() as it:
        app = create_app(S2sSettings(port=0), ScriptedS2s(lambda _: [TextDelta("ok")]))
        add_routes(app, [saying("conversation"), saying("transcription", intent="transcription")])
        async with serving(app, ready=False) as server:
            for query, expected in (
                ("", "conversation"),
                ("?intent=transcription", "transcription"),
                ("?intent=x", "conversation"),
            ):
                async with it.http.get(server.url(f"/v1/which{query}")) as response:
                    assert await response.text() == expected
