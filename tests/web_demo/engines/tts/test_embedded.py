from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from web_demo.audio.samples import WIRE_RATE, Audio, Samples
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines.base import SpeechRequest, VoicePrompt
from web_demo.engines.tts.embedded import EmbeddedTts, create
from web_demo.errors import EngineFailed, InvalidRequest, NotFound


@dataclass
class Settings:
    speech_process: Any = Detokenizer


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedTts]:
    engine = create(Settings())
    await engine.start()
    yield engine
    await engine.close()


async def sound(engine: EmbeddedTts, text: str, voice: str = "英文女", speed: float = 1.0) -> Samples:
    return np.concatenate(
        [np.zeros(0, np.float32)] + [c async for c in engine.synthesize(SpeechRequest(text, voice, speed))]
    )


async def test_many_requests_at_once_get_their_own_sound(engine: EmbeddedTts) -> None:
    texts = ["One.", "This one is a good deal longer than the others are.", "你好，世界。"]
    alone = [len(await sound(engine, text)) for text in texts]
    together = [len(samples) for samples in await asyncio.gather(*(sound(engine, text) for text in texts * 4))]
    assert together == pytest.approx(alone * 4, abs=WIRE_RATE // 10)


async def test_speed_is_that_of_the_request(engine: EmbeddedTts) -> None:
    text = "The speed of this sentence differs."
    assert len(await sound(engine, text, speed=2.0)) < 0.75 * len(await sound(engine, text))


async def test_closing_the_iterator_frees_the_child_for_the_next(engine: EmbeddedTts) -> None:
    endless = engine.synthesize(SpeechRequest("On and on it goes. " * 5000, "en-us"))
    await anext(endless)
    await endless.aclose()
    assert len(await sound(engine, "Next, please.")) > WIRE_RATE // 4


async def test_what_it_cannot_do_is_refused_with_the_way_out(engine: EmbeddedTts) -> None:
    prompt = VoicePrompt(Audio(np.zeros(16_000, np.float32), 16_000), "hello")
    with pytest.raises(InvalidRequest, match="cosyvoice3"):
        await anext(engine.synthesize(SpeechRequest("hello", "", prompt=prompt)))
    with pytest.raises(InvalidRequest, match=r"from 0\.46 to 4"):
        await sound(engine, "hello", speed=0.1)
    with pytest.raises(NotFound, match=r"'nobody'.*中文女"):
        await sound(engine, "hello", "nobody")


async def test_every_voice_that_it_lists_is_one_that_speaks(engine: EmbeddedTts) -> None:
    assert engine.capabilities.voices[:2] == ("中文女", "中文男")
    silent = [voice for voice in engine.capabilities.voices if not len(await sound(engine, "taxi 2", voice))]
    assert silent == []


async def test_the_death_of_the_child_fails_the_request_and_the_next_one_is_served(engine: EmbeddedTts) -> None:
    talking = engine.synthesize(SpeechRequest("On and on it goes. " * 5000, "en-us"))
    await anext(talking)
    os.kill(engine._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(EngineFailed, match="stopped unexpectedly"):
        async for _ in talking:
            pass
    assert len(await sound(engine, "Back again.")) > WIRE_RATE // 4
    assert engine.fault() is None
