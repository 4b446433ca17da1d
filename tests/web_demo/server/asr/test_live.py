"""Live captions over a real WebSocket."""

import asyncio
import itertools
import json

import aiohttp
import numpy as np
import pytest

from tests.web_demo.server.asr.helpers import ScriptedAsr, eventually, go, health, serving, speech
from web_demo.audio.ogg import write_page
from web_demo.audio.opus import OpusWriter
from web_demo.audio.samples import Audio, to_int16
from web_demo.errors import EngineFailed
from web_demo.server.asr import hearing
from web_demo.server.common.service import LIFE

HUGE_RATE = {"rate": "00001600099999999999999999999"}
URL = "/api/transcribe/stream"


def pcm(audio: Audio) -> bytes:
    return to_int16(audio.samples).tobytes()


async def caption(client, messages: list[bytes], **query: str) -> list[dict]:
    """All that the service says about a stream, to its end."""
    async with client.ws_connect(URL, params=query) as socket:
        for message in messages:
            await socket.send_bytes(message)
        await socket.send_json({"type": "end"})
        return [json.loads(message.data) async for message in socket]


def slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def test_two_sentences_become_two_finals_at_their_places_and_then_done():
    async with serving() as client:
        said = await caption(client, slices(pcm(speech(2, 2.0)), 1280), language="en")
    finals = [message for message in said if message["type"] == "final"]
    assert [round(message["start"]) for message in finals] == pytest.approx([0, 5], abs=1)
    assert all(message["end"] - message["start"] > 1 for message in finals)
    assert said[-1] == {"type": "done", "duration": pytest.approx(9.57, abs=0.01)}


async def test_partials_come_while_somebody_speaks_and_before_their_final():
    async with serving() as client:
        said = await caption(client, slices(pcm(go()), 6400))
    kinds = [message["type"] for message in said]
    assert "partial" in kinds
    assert kinds.index("partial") < kinds.index("final")
    assert kinds[-2:] == ["final", "done"]


async def test_speech_without_a_pause_is_cut_at_the_engines_limit():
    engine = ScriptedAsr(max_segment_s=2.0)
    async with serving(engine) as client:
        said = await caption(client, slices(pcm(speech(3, 0.0)), 6400))
    assert all(asked["seconds"] <= 2.05 for asked in engine.asked)
    finals = [m for m in said if m["type"] == "final"]
    assert len(finals) >= 4
    assert all(a["end"] <= b["start"] + 0.001 for a, b in itertools.pairwise(finals))


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_other_rates_are_converted(rate):
    async with serving() as client:
        said = await caption(client, slices(pcm(go().at(rate)), 8000), rate=str(rate))
    assert [m["type"] for m in said][-2:] == ["final", "done"]
    assert said[-1]["duration"] == pytest.approx(2.786, abs=0.05)


async def test_ogg_opus_slices_of_any_size_are_heard():
    writer = OpusWriter(24_000)
    sound = go().at(24_000).samples
    data = writer.header + b"".join(page.data for page in (*writer.write(sound), *writer.flush()))
    async with serving() as client:
        said = await caption(client, slices(data, 333), format="opus")
    assert [m["type"] for m in said][-2:] == ["final", "done"]
    assert not [m for m in said if m["type"] == "error"]


async def test_silence_has_no_captions():
    async with serving() as client:
        said = await caption(client, [bytes(32_000)] * 5)
    assert said == [{"type": "done", "duration": 5.0}]


@pytest.mark.parametrize(
    ("query", "message", "reason"),
    [
        ({}, b"odd", "even number of bytes"),
        ({"format": "opus"}, b"no ogg page at all, whatever it is" * 10, "Ogg"),
        ({}, "hello", '{"type": "end"}'),
        ({}, '{"type": "stop"}', '{"type": "end"}'),
    ],
)
async def test_a_wrong_message_gets_an_error_and_the_stream_lives_on(query, message, reason):
    async with serving() as client, client.ws_connect(URL, params=query) as socket:
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
        answer = await socket.receive_json()
        assert answer["type"] == "error"
        assert reason in answer["message"]
        await socket.send_json({"type": "end"})
        assert (await socket.receive_json())["type"] == "done"


@pytest.mark.parametrize(
    "query", [{"format": "mp3"}, {"rate": "1"}, {"rate": "ten"}, HUGE_RATE, {"language": "klingon"}]
)
async def test_a_wrong_query_is_refused_before_the_upgrade(query):
    async with serving() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(URL, params=query)
    assert refused.value.status == 400


async def test_more_streams_than_allowed_get_429_until_one_leaves():
    async with serving(max_live=1) as client:
        async with client.ws_connect(URL) as socket:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(URL)
            assert refused.value.status == 429
            await socket.close()
        await eventually(lambda: health(client, "live_streams"), 0)
        assert (await caption(client, [bytes(3200)]))[-1]["type"] == "done"


async def test_a_client_that_leaves_stops_its_recognition():
    engine = ScriptedAsr()
    engine.hold()
    async with serving(engine) as client:
        socket = await client.ws_connect(URL)
        for message in slices(pcm(speech(1, 1.0)), 6400):
            await socket.send_bytes(message)
        await asyncio.wait_for(engine.entered.wait(), 20)
        await socket.close()
        await eventually(engine.in_use, 0)
    assert engine.cancelled == 1


async def test_a_slow_engine_loses_no_final():
    engine = ScriptedAsr(max_segment_s=2.0)
    engine.hold()
    async with serving(engine) as client:
        captions = asyncio.create_task(caption(client, slices(pcm(speech(6, 1.0)), 6400)))
        await engine.entered.wait()
        engine.go_on.set()
        said = await captions
    finals = [m for m in said if m["type"] == "final"]
    spoken = sum(m["end"] - m["start"] for m in finals)
    assert spoken > 6 * 2.0
    assert np.all(np.diff([m["start"] for m in finals]) > 0)


async def test_a_service_that_shuts_down_says_goodbye_to_its_streams():
    async with serving() as client, client.ws_connect(URL) as socket:
        client.app[LIFE].draining.set()
        message = await socket.receive()
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


async def test_an_utterance_that_the_engine_cannot_do_is_an_error_and_the_next_one_is_heard():
    engine = ScriptedAsr()
    engine.error = EngineFailed("no luck")
    async with serving(engine) as client:
        said = await caption(client, slices(pcm(speech(1, 1.0)), 6400))
        assert {"type": "error", "code": "engine_failed", "message": "no luck"} in said
        engine.error = None
        said = await caption(client, slices(pcm(speech(1, 1.0)), 6400))
        assert [m["type"] for m in said][-2:] == ["final", "done"]


async def test_a_defect_in_the_engine_closes_the_stream_with_a_code():
    engine = ScriptedAsr()
    engine.error = RuntimeError("a defect")
    async with serving(engine) as client, client.ws_connect(URL) as socket:
        await socket.send_bytes(pcm(speech(1, 1.0)))
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert socket.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR


async def test_hours_of_opus_in_one_message_are_refused_before_they_are_decoded_and_speech_is_still_heard():
    bomb = write_page([b"\x1b\x02"] * 255, granule=0, serial=1, sequence=0) * 300
    writer = OpusWriter(24_000)
    sound = go().at(24_000).samples
    speech_pages = writer.header + b"".join(page.data for page in (*writer.write(sound), *writer.flush()))
    async with serving() as client:
        said = await caption(client, [bomb, speech_pages], format="opus")
    assert [m["type"] for m in said if m["type"] != "partial"] == ["error", "final", "done"]
    assert "at most 20 s" in said[0]["message"]
    assert said[-1]["duration"] < 4.0


async def test_what_is_good_of_a_message_with_a_bad_packet_is_heard_and_not_kept_for_ever():
    writer = OpusWriter(24_000)
    bad = write_page([b""], granule=0, serial=1, sequence=0)
    messages = [page.data + bad for page in writer.write(go().at(24_000).samples)]
    async with serving() as client:
        said = await caption(client, messages, format="opus")
    assert len([m for m in said if m["type"] == "error"]) == len(messages)
    assert said[-2]["type"] == "final"
    assert said[-1]["duration"] == pytest.approx(2.786, abs=0.05)


async def test_sound_that_comes_too_fast_is_read_more_slowly_and_heard_whole(monkeypatch):
    monkeypatch.setattr(hearing, "AHEAD_S", 0.5)
    monkeypatch.setattr(hearing, "RATE", 40.0)
    async with serving() as client:
        said = await caption(client, slices(pcm(speech(2, 2.0)), 6400))
    assert len([m for m in said if m["type"] == "final"]) == 2
    assert said[-1]["duration"] == pytest.approx(9.57, abs=0.01)
