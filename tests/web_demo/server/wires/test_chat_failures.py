"""What fails behind a conversation, how it ends, who may begin one."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time

import aiohttp
import pytest

from tests.talk import LONG, loud_s, opus_pages, s2s, say, serving, talking, tone, until
from web_demo.engines.base import (
    TextDelta,
    TurnRequest,
)
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common.service import LIFE
from web_demo.server.protocal import Action, AudioData, Control, Handshake, Ping, encode
from web_demo.server.wires import connection


async def test_a_killed_detokenizer_fails_the_waiting_turns_and_the_next_ones_work():
    sentences = ["x" * 30] * 4  # sound that was made before the death is still played: let it be little
    engine = ScriptedS2s(lambda turn: say(*sentences if turn.turn_id.endswith(".1") else ["back again"])(turn))
    async with serving(s2s(engine)) as server, talking(server) as one, talking(server) as two:
        for talker in (one, two):
            await talker.ask()
        for talker in (one, two):
            await talker.audio()
        os.kill(server.service.detokenizer.pid, signal.SIGKILL)
        for talker in (one, two):
            assert "stopped unexpectedly" in await talker.error()
            await talker.start()
            await talker.ask()
        for talker in (one, two):
            await talker.final()
            assert talker.texts()[-1] == "\n[Final: back again ]"
        assert (await server.metrics())["s2s_detokenizer_restarts_total"] == 1
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            assert response.status == 200


async def test_a_detokenizer_that_lost_its_device_is_restarted_and_the_next_turn_works():
    engine = ScriptedS2s(lambda turn: say("[lose]" if len(engine.turns) == 1 else "back again")(turn))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        pid = server.service.detokenizer.pid
        await talker.ask()
        assert "speech synthesis failed: its GPU failed; it is being restarted" in await talker.error()
        await until(lambda: server.service.detokenizer.pid not in (pid, None))
        await talker.start()
        await talker.ask()
        await talker.final()
        assert talker.texts()[-1] == "\n[Final: back again ]"
        assert (await server.metrics())["s2s_detokenizer_restarts_total"] == 1


async def test_an_engine_at_fault_makes_the_service_unhealthy_and_is_asked_no_more():
    engine = ScriptedS2s(say("fine"))
    async with serving(s2s(engine)) as server:
        engine.broken = "the model fell over"
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            body = await response.json()
        assert (response.status, body["status"], body["reason"]) == (503, "unhealthy", "the model fell over")
        async with talking(server) as talker:
            assert "the service is unhealthy: the model fell over" in await talker.error()
    assert engine.turns == []


async def test_shutting_down_lets_the_answer_finish_and_hangs_up_with_going_away():
    engine = ScriptedS2s(say("an answer of some length"))
    async with serving(s2s(engine)) as server, talking(server) as busy, talking(server) as idle:
        await idle.wait_for(lambda m: isinstance(m, Handshake))
        await busy.ask()
        await busy.audio()
        assert await server.app[LIFE].drain(20.0)
        assert busy.texts()[-1].startswith("\n[Final: ")
        assert busy.socket.close_code == idle.socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


async def test_health_tells_engine_and_sessions():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        await talker.wait_for(lambda m: isinstance(m, Handshake))
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            body = await response.json()
        assert (body["status"], body["engine"], body["sessions"], body["device"]) == ("healthy", "scripted", 1, "cpu")


async def test_a_key_is_asked_for_and_taken_from_the_address():
    async with serving(s2s(ScriptedS2s(say("ok")), api_key="s3cret")) as server:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(server.url("/api/chat"))
            assert refused.value.status == 401
        async with talking(
            server, "?api_key=s3cret&text_temperature=0.7&text_topk=25&pad_mult=0&audio_seed=1"
        ) as talker:
            await talker.ask()
            await talker.final()


async def test_a_page_of_another_origin_cannot_connect_unless_allowed():
    foreign = {"Origin": "https://localhost:5443"}
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(server.url("/api/chat"), headers=foreign)
        assert refused.value.status == 403
    allowed = s2s(ScriptedS2s(say("ok")), allowed_origins=("https://localhost:5443",))
    async with serving(allowed) as server, talking(server, headers=foreign) as talker:
        await talker.wait_for(lambda m: isinstance(m, Handshake))


async def test_a_client_that_takes_nothing_holds_the_engine_back_and_is_hung_up_on_in_the_end(monkeypatch):
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.2)
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 1.0)
    made = []

    def flood(turn: TurnRequest):
        for number in range(1000):
            made.append(number)
            yield TextDelta("x" * 1_000_000)

    engine = ScriptedS2s(flood)
    async with serving(s2s(engine)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22
        )
        writer.write(f"GET /api/chat HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{upgrade}==\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        frames = [AudioData(b"".join(opus_pages(tone(0.4)))), Control(Action.END_TURN)]
        writer.writelines(masked(encode(frame)) for frame in frames)
        await until(lambda: engine.live == 1)
        await until(lambda: engine.live == 0)
        await until(lambda: not server.service.sessions)
        assert len(made) < 50  # of a gigabyte
        writer.close()


class Relay:
    """Passes bytes on between one client and a server, until `go` is cleared: from then on there is no word and no end."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.go = asyncio.Event()
        self.go.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, to_there]
        self._passing += [asyncio.create_task(self._pass(*way)) for way in ((reader, to_there), (there, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self.go.wait()
            writer.write(data)


@pytest.mark.parametrize("answering", [False, True])
async def test_a_peer_that_vanishes_without_a_word_frees_its_session(monkeypatch, answering):
    monkeypatch.setattr(connection, "HEARTBEAT_S", 0.4)
    engine = ScriptedS2s(say(*[LONG] * 20))
    async with serving(s2s(engine)) as server, Relay(server.port) as relay, aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"http://127.0.0.1:{relay.port}/api/chat")
        assert (await socket.receive_bytes())[0] == 0
        if answering:
            for page in opus_pages(tone(0.4)):
                await socket.send_bytes(encode(AudioData(page)))
            await socket.send_bytes(encode(Control(Action.END_TURN)))
            while (await socket.receive_bytes())[0] != 1:
                continue
        relay.go.clear()
        await until(lambda: not server.service.sessions)
        await until(lambda: engine.live == 0)


async def test_a_clock_that_jumps_by_days_changes_nothing_in_a_conversation(monkeypatch):
    """The wall clock, at each look: everything that is paced or waited for goes by the monotonic one."""
    jumps = itertools.cycle((86_400.0, -86_400.0, 0.0, 1e9))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.1)
    async with serving(s2s(ScriptedS2s(say("one. " * 4, "two. " * 4)))) as server, talking(server) as talker:
        for _ in range(2):
            position = len(talker.log)
            await talker.start()
            await talker.ask()
            await talker.final(position)
            assert loud_s(talker.sound(position)) == pytest.approx(2.0, abs=0.2)
            assert not talker.errors(position)
        await talker.wait_for(lambda message: isinstance(message, Ping), len(talker.log))


def masked(payload: bytes) -> bytes:
    """A binary WebSocket frame as a client sends it, with the mask that changes nothing."""
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
