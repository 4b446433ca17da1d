"""Who is let in, by which key, and how a connection ends."""

import asyncio
import json

import aiohttp
import pytest

from tests.talk import LONG, s2s, say, serving, tone, until
from tests.web_demo.server.common.realtime.checked import checked
from tests.web_demo.server.wires.realtime.client import connected
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.wires import connection

KEY = "secret"
PAGE = "https://page.example"
IN_SUBPROTOCOL = {"protocols": ("realtime", f"openai-insecure-api-key.{KEY}"), "headers": {"Origin": PAGE}}


def service(engine=None, **settings):
    return s2s(engine or ScriptedS2s(say("hi")), **settings)


@pytest.mark.parametrize(
    "options",
    [{"headers": {"Authorization": f"Bearer {KEY}"}}, {"headers": {"api-key": KEY}}, IN_SUBPROTOCOL],
    ids=["bearer", "api-key", "subprotocol"],
)
async def test_the_key_may_come_in_three_ways_and_a_page_is_answered_with_its_subprotocol(options):
    async with serving(service(api_key=KEY, allowed_origins=(PAGE,))) as server, connected(server, **options) as client:
        await client.wait("session.created")
        assert client.socket.protocol == ("realtime" if "protocols" in options else None)
        await client.ask("hi")
        assert (await client.done())["status"] == "completed"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, 401),
        ({"headers": {"api-key": "wrong"}}, 401),
        ({"protocols": ("realtime", "openai-insecure-api-key.wrong")}, 401),
        ({**IN_SUBPROTOCOL, "headers": {"Origin": "https://stranger.example"}}, 403),
    ],
)
async def test_others_are_turned_away(options, status):
    async with serving(service(api_key=KEY, allowed_origins=(PAGE,))) as server:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(server, **options):
                pass
        assert refused.value.status == status


async def refused(server, query: str = "?model=any") -> tuple[dict, int | None]:
    async with aiohttp.ClientSession() as http, http.ws_connect(server.url("/v1/realtime") + query) as socket:
        event = checked(json.loads(await socket.receive_str()))
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        return event["error"], socket.close_code


async def test_a_full_service_refuses_with_an_error_and_closes_with_1013():
    async with serving(service(max_sessions=1)) as server, connected(server) as client:
        await client.wait("session.created")
        error, code = await refused(server)
        assert (error["type"], code) == ("server_error", 1013)
        assert "in use" in error["message"]


async def test_transcription_is_for_the_other_service():
    async with serving(service()) as server:
        error, code = await refused(server, "?intent=transcription")
        assert (error["code"], code) == ("unsupported_intent", 1008)
        await until(lambda: not server.service.sessions)


async def test_a_client_that_hangs_up_in_an_answer_leaves_nothing():
    engine = ScriptedS2s(say(LONG, LONG))
    async with serving(service(engine)) as server:
        async with connected(server) as client:
            await client.append(tone(0.4))
            await client.ask("hi")
            await client.wait("response.output_audio.delta")
        await until(lambda: not server.service.sessions)
        assert engine.live == 0


async def test_a_silent_connection_is_kept_alive_without_a_message(monkeypatch):
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.1)
    async with serving(service()) as server, connected(server) as client:
        await client.wait("session.created")
        await asyncio.sleep(0.5)
        assert client.types() == ["session.created"]
        await client.ask("hi")
        await client.done()


async def test_two_clients_hear_their_own_answers():
    def script(turn):
        return say(f"answer to {turn.text}")(turn)

    async with serving(service(ScriptedS2s(script))) as server, connected(server) as one, connected(server) as two:
        await one.ask("one")
        await two.ask("two")
        for client, name in ((one, "one"), (two, "two")):
            (item,) = (await client.done())["output"]
            assert item["content"][0]["transcript"] == f"answer to {name} "
