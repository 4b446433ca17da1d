"""How many sessions a recogniser is good for, with one that takes a known time, and with the embedded one."""

from __future__ import annotations

import asyncio

import pytest

from tests.talk import s2s, serving
from web_demo.engines.asr.embedded import EmbeddedAsr
from web_demo.engines.base import Capabilities, Transcript
from web_demo.engines.s2s.cascade.capacity import LEAST, SOON_S, TURN_S, measured_sessions, voiced_sound
from web_demo.errors import EngineFailed, SetupError


class Slow(EmbeddedAsr):
    """`places` turns at once, each in `turn_s` seconds."""

    def __init__(self, name: str, places: int, turn_s: float) -> None:
        self.model, self._taken, self._turn_s = name, asyncio.Semaphore(places), turn_s
        self._can = Capabilities(max_concurrency=places)

    @property
    def capabilities(self) -> Capabilities:
        return self._can

    async def transcribe(self, audio, **options) -> Transcript:
        async with self._taken:
            await asyncio.sleep(self._turn_s)
        return Transcript("", "en")


async def test_more_places_and_faster_ones_take_more_sessions():
    one, two = await measured_sessions(Slow("one", 1, 0.1)), await measured_sessions(Slow("two", 2, 0.1))
    assert LEAST < one <= SOON_S / 0.1
    assert one < two <= 2 * SOON_S / 0.1


async def test_a_slow_machine_still_serves_a_few():
    assert await measured_sessions(Slow("slow", 1, 1.0)) == LEAST


async def test_a_recogniser_that_fails_does_not_start():
    class Failing(Slow):
        async def transcribe(self, audio, **options):
            raise EngineFailed("no model")

    with pytest.raises(SetupError, match="cannot recognise speech: no model"):
        await measured_sessions(Failing("failing", 1, 0.0))


def test_the_sound_is_a_turn_that_is_neither_silent_nor_clipped():
    sound = voiced_sound()
    assert sound.seconds == pytest.approx(TURN_S)
    assert 0.1 < abs(sound.samples).max() < 1.0


async def test_the_service_says_what_it_measured():
    async with serving(s2s()) as server:
        assert LEAST <= server.service.describe()["max_sessions"] <= 64
