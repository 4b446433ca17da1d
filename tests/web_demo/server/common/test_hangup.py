"""Clients that hang up, over real sockets, on every service and at every moment: the work behind them stops, and they are
counted as what they are."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from tests.talk import until
from tests.web_demo.server.asr.helpers import GO, ScriptedAsr
from tests.web_demo.server.tts.fakes import ToneTts
from web_demo.engines.base import TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server import asr_server, server, tts_server
from web_demo.server.asr import service as asr_service
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.forms import BODIES, BODY_COST
from web_demo.server.common.service import HEALTH
from web_demo.server.page.forward import FORWARDER
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.tts import service as tts_service
from web_demo.server.tts.settings import TtsSettings


@dataclass(frozen=True)
class Running:
    app: web.Application
    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as http, http.get(self.url("/metrics")) as response:
            return await response.text()

    async def send(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        await writer.drain()
        return reader, writer

    async def assert_one_hangup(self) -> None:
        """And no error, whoever's."""
        async with asyncio.timeout(20):
            while "service_hangups_total 1.0" not in (text := await self.metrics()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert "service_errors_total{" not in text


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[Running]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)  # as the program runs it
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await until(lambda: HEALTH not in app or app[HEALTH].state()[0] == "healthy")
        yield Running(app, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def asr(engine: ScriptedAsr) -> web.Application:
    return asr_server.create_app(AsrSettings(port=0), engine)


def tts(engine: ToneTts) -> web.Application:
    return tts_server.create_app(TtsSettings(port=0), engine)


def s2s(target: str) -> web.Application:
    return server.create_app(
        S2sSettings(port=0, asr_url=target, tts_url=target), ScriptedS2s(lambda _: [TextDelta("ok")])
    )


def post(path: str, body: bytes, content_type: str, *, length: int | None = None) -> bytes:
    """A whole request, or the beginning of a longer one."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    ).encode() + body


def form(path: str, field: str, content: bytes, *more: tuple[str, str], length: int | None = None) -> bytes:
    """`length`: of the body that is announced; only the beginning of it comes."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode() for name, text in more]
    parts.append(f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="a"\r\n\r\n'.encode() + content)
    body = b"".join(parts) + (b"\r\n--b--\r\n" if length is None else b"")
    return post(path, body, "multipart/form-data; boundary=b", length=length)


def speak(**body: object) -> bytes:
    return post("/api/synthesize", json.dumps(body).encode(), "application/json")


async def leave(served: Running, request: bytes, when: Callable[[], object]) -> None:
    _, writer = await served.send(request)
    await until(when)
    writer.transport.abort()


# --- Everywhere ---


@pytest.mark.parametrize(
    ("app", "path"),
    [
        (lambda: s2s("http://127.0.0.1:1"), "/api/chat"),
        (lambda: s2s("http://127.0.0.1:1"), "/v1/realtime"),
        (lambda: asr(ScriptedAsr()), "/v1/realtime"),
        (lambda: tts(ToneTts()), "/api/synthesize/stream"),
    ],
    ids=["chat", "realtime", "hearing", "speaking"],
)
async def test_before_a_websocket_is_opened(
    app: Callable[[], web.Application], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is there, and its sender is not: many times, since now and then the answer is quicker than the news."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    async with running(app()) as served:
        for _ in range(20):
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", served.port))
                await asyncio.sleep(0.01)  # the service takes the connection
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
                await loop.sock_sendall(client, request)
        async with asyncio.timeout(20):
            while "service_hangups_total 0.0" in (text := await served.metrics()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert "service_errors_total{" not in text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# --- ASR ---


async def test_in_an_upload_to_the_recogniser() -> None:
    app = asr(ScriptedAsr())
    async with running(app) as served:
        await leave(
            served, form("/api/transcribe", "audio", b"RIFF", length=10_000), lambda: app[BODIES].taken == BODY_COST
        )
        await served.assert_one_hangup()
        assert app[BODIES].taken == 0


@pytest.mark.parametrize(("path", "field"), [("/api/transcribe", "audio"), ("/v1/audio/transcriptions", "file")])
async def test_in_the_recogniser_s_queue(path: str, field: str) -> None:
    engine = ScriptedAsr(concurrency=1)
    engine.hold()
    app = asr(engine)
    described = app[asr_service.SERVICE].describe
    async with running(app) as served:
        reader, writer = await served.send(form(path, field, GO.read_bytes()))
        await until(lambda: engine.running == 1)
        await leave(served, form(path, field, GO.read_bytes()), lambda: described()["requests"] == 2)
        await served.assert_one_hangup()
        assert described()["requests"] == 1
        engine.go_on.set()
        assert b"28 tenths" in await reader.readuntil(b"}")
        writer.close()
    assert len(engine.asked) == 1


@pytest.mark.parametrize("more", [(), (("stream", "true"),)])
async def test_while_the_recogniser_works(more: tuple[tuple[str, str], ...]) -> None:
    engine = ScriptedAsr()
    engine.hold()
    async with running(asr(engine)) as served:
        await leave(
            served, form("/v1/audio/transcriptions", "file", GO.read_bytes(), *more), lambda: engine.running == 1
        )
        await served.assert_one_hangup()
    assert (engine.running, engine.cancelled) == (0, 1)


# --- TTS ---


@pytest.mark.parametrize(
    "half",
    [
        post("/api/synthesize", b'{"text": "he', "application/json", length=1000),
        post("/v1/audio/speech", b'{"input": "he', "application/json", length=1000),
        form("/api/synthesize", "prompt_wav", b"RIFF", length=10_000),
    ],
)
async def test_in_an_upload_to_the_voice(half: bytes, caplog: pytest.LogCaptureFixture) -> None:
    app = tts(ToneTts())
    with caplog.at_level(logging.INFO):
        async with running(app) as served:
            await leave(served, half, lambda: True)
            await served.assert_one_hangup()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_in_the_voice_s_queue() -> None:
    engine = ToneTts(max_concurrency=1)
    app = tts(engine)
    places = app[tts_service.SERVICE].places
    async with running(app) as served:
        _, first = await served.send(speak(text="please [wait] for it"))
        await until(lambda: engine.live == 1)
        await leave(served, speak(text="me too"), lambda: places.taken == 2)
        await served.assert_one_hangup()
        assert (places.taken, len(engine.requests)) == (1, 1)
        engine.go.set()
        assert 'tts_requests_total{outcome="gone"} 1.0' in await served.metrics()
        await until(lambda: places.taken == 0)
        first.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_voice_makes_its_first_sound(stream: bool) -> None:
    engine = ToneTts()
    async with running(tts(engine)) as served:
        await leave(served, speak(text="[wait]ing", stream=stream), lambda: engine.live == 1)
        await served.assert_one_hangup()  # though no sound came at which it could have been noticed
        assert engine.live == 0
        assert 'tts_requests_total{outcome="gone"} 1.0' in await served.metrics()


async def test_while_the_voice_waits_for_its_second_sentence() -> None:
    engine = ToneTts()
    async with running(tts(engine)) as served:
        text = "The first sentence is here. The second one must [wait] for a sign."
        await leave(served, speak(text=text, stream=True), lambda: len(engine.requests) == 2)
        await served.assert_one_hangup()
        assert engine.live == 0


async def test_a_failure_half_way_is_no_hangup() -> None:
    engine = ToneTts()
    async with running(tts(engine)) as served, aiohttp.ClientSession() as http:
        body = {"text": "All is well with this sentence. [fail] in the second.", "stream": True}
        with pytest.raises(aiohttp.ClientError):
            async with http.post(served.url("/api/synthesize"), json=body) as response:
                await response.read()
        text = await served.metrics()
    assert "service_hangups_total 0.0" in text
    assert 'service_errors_total{code="engine_failed"} 1.0' in text
    assert 'tts_requests_total{outcome="engine_failed"} 1.0' in text


# --- the page's way to both ---


@asynccontextmanager
async def behind(handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """The address of a service that answers with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    async with running(app) as target:
        yield target.url("")


async def test_in_an_upload_through_the_page(caplog: pytest.LogCaptureFixture) -> None:
    async def read(request: web.Request) -> web.Response:
        came.set()
        try:
            await request.read()
        except ConnectionError:
            broken.set()
            raise
        return web.Response()

    came, broken = asyncio.Event(), asyncio.Event()
    with caplog.at_level(logging.INFO):
        async with behind(read) as target, running(s2s(target)) as served:
            await leave(served, form("/api/transcribe", "audio", b"RIFF", length=10_000), came.is_set)
            await served.assert_one_hangup()
            await asyncio.wait_for(broken.wait(), 20)
            assert served.app[FORWARDER].taken == 0
    assert "does not answer" not in caplog.text


async def test_while_the_service_behind_the_page_thinks() -> None:
    engine = ScriptedAsr()
    engine.hold()
    async with running(asr(engine)) as recogniser, running(s2s(recogniser.url(""))) as served:
        await leave(served, form("/api/transcribe", "audio", GO.read_bytes()), lambda: engine.running == 1)
        await served.assert_one_hangup()
        await recogniser.assert_one_hangup()
        assert (engine.running, engine.cancelled) == (0, 1)


async def test_during_an_answer_through_the_page() -> None:
    engine = ToneTts()
    async with running(tts(engine)) as voice, running(s2s(voice.url(""))) as served:
        text = "The first sentence is here. The second one must [wait] for a sign."
        await leave(served, speak(text=text, stream=True), lambda: len(engine.requests) == 2)
        await served.assert_one_hangup()
        await voice.assert_one_hangup()
        assert engine.live == 0


async def test_an_answer_that_its_service_breaks_off_is_broken_off_for_the_client_too() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"RIFF")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with behind(half) as target, running(s2s(target)) as served, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            async with http.post(served.url("/api/synthesize"), json={}) as response:
                await response.read()
        text = await served.metrics()
    assert 'service_errors_total{code="unavailable"} 1.0' in text
    assert "service_hangups_total 0.0" in text
