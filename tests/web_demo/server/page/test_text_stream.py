"""The way through for streams of text: the page's port in front of a real TTS service, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.talk import s2s, until
from tests.talk import serving as serving_s2s
from tests.web_demo.server.tts.fakes import ToneTts, serving, tone
from web_demo.engines.base import TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common.service import LIFE
from web_demo.server.page.forward import FORWARDER
from web_demo.server.tts.settings import TtsSettings

PATH = "/api/synthesize/stream"
passing_app: dict[int, web.Application] = {}  # the one that is passing on, for what no client can do to it


@asynccontextmanager
async def passing(api_key: str = "", max_streams: int = 4) -> AsyncIterator[tuple[aiohttp.ClientSession, ToneTts, str]]:
    """A client, the engine behind two services, and the stream's address in front."""
    engine = ToneTts()
    settings = TtsSettings(port=0, api_key=api_key, max_streams=max_streams)
    async with serving(settings, engine) as inner:
        app = passing_app[0] = s2s(
            ScriptedS2s(lambda _: [TextDelta("ok")]), tts_url=str(inner._base_url), api_key=api_key
        )
        async with serving_s2s(app) as server, aiohttp.ClientSession() as client:
            yield client, engine, server.url(PATH)
            await until(lambda: app[FORWARDER].taken == 0)


async def test_text_goes_in_and_sound_comes_out_through_the_page_s_port() -> None:
    async with passing(api_key="secret") as (client, _, url), client.ws_connect(f"{url}?api_key=secret") as socket:
        await socket.send_str(json.dumps({"type": "text", "text": "Through two services."}))
        await socket.send_str(json.dumps({"type": "close"}))
        sound, kinds = b"", []
        async with asyncio.timeout(20):
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    sound += message.data
                else:
                    kinds.append(json.loads(message.data)["type"])
        assert kinds == ["ready", "sentence", "done"]
        assert len(sound) == 2 * len(tone(21))
        assert socket.close_code == 1000


async def test_a_client_that_leaves_ends_the_work_behind() -> None:
    async with passing() as (client, engine, url):
        async with client.ws_connect(url) as socket:
            await socket.send_str(json.dumps({"type": "text", "text": "This must [wait] for ever. And so on"}))
            await until(lambda: engine.live)
        await until(lambda: not engine.live)


async def test_a_refusal_of_the_service_is_one_of_the_page_too() -> None:
    async with passing(max_streams=1) as (client, _, url), client.ws_connect(url):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(url)
        assert refused.value.status == 429


async def test_the_end_of_the_page_s_service_is_told_to_both_sides() -> None:
    async with passing() as (client, engine, url), client.ws_connect(url) as socket:
        await socket.send_str(json.dumps({"type": "text", "text": "This must [wait] for ever. And so on"}))
        await until(lambda: engine.live)
        passing_app[0][LIFE].draining.set()
        async with asyncio.timeout(10):
            async for _ in socket:
                pass
        assert socket.close_code == 1001
        await until(lambda: not engine.live)


async def test_what_asks_for_no_websocket_is_told_so() -> None:
    async with passing() as (client, _, url), client.get(url) as answer:
        assert answer.status == 400
        assert "is a WebSocket" in (await answer.json())["error"]["message"]


async def test_a_service_that_is_not_there_is_said_so() -> None:
    app = s2s(ScriptedS2s(lambda _: []), tts_url="http://127.0.0.1:9")
    async with serving_s2s(app) as server, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(server.url(PATH))
        assert refused.value.status == 503
