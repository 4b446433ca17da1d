from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from tests.web_demo.server.tts.fakes import ToneTts
from utils.turns import Turns
from web_demo.engines.base import SpeechRequest
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.speech import AHEAD_S, speech

TEN_SECONDS = "x" * 200


def pieces(count: int) -> list[SpeechRequest]:
    return [SpeechRequest(TEN_SECONDS, "中文女") for _ in range(count)]


async def settle() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


async def test_a_client_that_takes_nothing_stops_the_making_and_holds_no_slot() -> None:
    engine, turns = ToneTts(max_concurrency=1), Turns(1)
    metrics = TtsMetrics(CollectorRegistry())
    async with speech(engine, pieces(20), turns=turns, client="slow", metrics=metrics) as stream:
        await settle()
        assert len(engine.requests) * 10.0 <= AHEAD_S + 10.0  # at most one piece more
        assert engine.live == 0
        async with asyncio.timeout(1), turns.turn("quick"):
            pass
        chunks = stream.chunks()
        await anext(chunks)
        await settle()
        assert len(engine.requests) > 3  # it goes on as soon as there is room
        await chunks.aclose()


async def test_all_of_the_sound_arrives_however_slowly_it_is_taken() -> None:
    metrics = TtsMetrics(CollectorRegistry())
    taken = 0
    async with speech(ToneTts(), pieces(9), turns=Turns(1), client="slow", metrics=metrics) as stream:
        async for chunk in stream.chunks():
            taken += len(chunk)
            await settle()
    assert taken == 9 * 10 * stream.rate


async def test_leaving_the_block_ends_the_engine_s_work_at_once() -> None:
    engine = ToneTts()
    metrics = TtsMetrics(CollectorRegistry())
    turns = Turns(1)
    request = [SpeechRequest("[wait]", "中文女")]
    async with speech(engine, request, turns=turns, client="a", metrics=metrics):
        await settle()
        assert engine.live == 1
    assert engine.live == 0
    async with asyncio.timeout(1), turns.turn("b"):
        pass
