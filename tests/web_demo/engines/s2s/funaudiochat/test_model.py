"""The speech model in a process of its own, as on a GPU; here on the CPU."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="requirements-models.txt")

from tests.talk import until
from tests.web_demo.engines.s2s.funaudiochat.test_engine import CHECKPOINT, LIMITS, TONE, answer, running, sound, turn
from web_demo.engines.base import Sampling
from web_demo.engines.s2s.funaudiochat.engine import FunAudioChatS2s
from web_demo.engines.s2s.funaudiochat.model import ModelProcess, ModelSpec, ModelThread, speech_model
from web_demo.errors import Busy, InvalidRequest, SetupError, Unavailable
from web_demo.models.funaudiochat.engine.scheduler import Limits

pytestmark = pytest.mark.models


@asynccontextmanager
async def apart(**changes: int) -> AsyncIterator[tuple[FunAudioChatS2s, ModelProcess]]:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE)
    engine._speech_model = model = ModelProcess(ModelSpec(CHECKPOINT, "cpu", limits=Limits(**(vars(LIMITS) | changes))))
    await engine.start()
    try:
        yield engine, model
    finally:
        await engine.close()


def test_a_gpu_has_it_in_a_process() -> None:
    assert isinstance(speech_model(ModelSpec(CHECKPOINT, "cuda:1")), ModelProcess)
    assert isinstance(speech_model(ModelSpec(CHECKPOINT, "cpu")), ModelThread)


async def test_answers_and_refusals_are_those_of_the_thread() -> None:
    async with running() as engine:
        alone = await answer(engine, turn(1))
    async with apart(slots=1, max_waiting=1) as (engine, model):
        assert engine.capabilities.max_concurrency == 1
        assert await answer(engine, turn(1)) == alone
        with pytest.raises(InvalidRequest, match="shorten the history or the audio"):
            await answer(engine, turn(2, audio=sound(2, 150.0)))
        results = await asyncio.gather(*(answer(engine, turn(seed)) for seed in range(6)), return_exceptions=True)
        assert any(isinstance(result, Busy) for result in results)
        assert all(isinstance(result, Busy | list) for result in results)
        async with aclosing(engine.respond(turn(7, sampling=Sampling(seed=1)))) as steps:
            assert await anext(steps)
        assert await answer(engine, turn(8))  # the one slot is free again
        assert engine.fault() is None
        assert not model._listeners
    assert model.pid is None


@pytest.mark.long
async def test_when_it_dies_its_turns_are_told_and_another_takes_its_place() -> None:
    async with apart(max_new_tokens=500) as (engine, model):
        steps = engine.respond(turn(1))
        await anext(steps)
        assert model.pid is not None
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="being restarted"):
            async for _ in steps:
                pass
        assert "restarting" in str(engine.fault())
        with pytest.raises(Unavailable, match="restarting"):
            await answer(engine, turn(2))
        await until(lambda: engine.fault() is None, 60)
        assert await answer(engine, turn(3))


async def test_it_waits_for_the_detokenizer_and_leaves_no_process_when_its_start_is_broken_off() -> None:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE)
    engine._speech_model = model = ModelProcess(ModelSpec(CHECKPOINT, "cpu", limits=LIMITS))
    await engine.preload()
    await until(children)
    assert model.pid is None
    await engine.close()
    await until(lambda: not children())


def children() -> list[int]:
    return [int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.long
async def test_what_cannot_start_says_why() -> None:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE)
    engine._speech_model = ModelProcess(ModelSpec(CHECKPOINT, "cuda:7", limits=LIMITS))
    with pytest.raises(SetupError, match="the speech model cannot start: SetupError"):
        await engine.start()
    await engine.close()
