"""How fast a stream is read, by a clock that is told the time."""

import asyncio

import numpy as np
import pytest

from web_demo.audio.pcm import Coding, PcmReader
from web_demo.audio.samples import SPEECH_RATE
from web_demo.server.asr.hearing import AHEAD_S, RATE, SLICE_S, Hearing


class Clock:
    """Sleeping makes it later."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Socket:
    closed = False


@pytest.mark.parametrize(
    ("charged_s", "wait_s"), [(AHEAD_S, 0.0), (AHEAD_S + 8, 8 / RATE), (3 * AHEAD_S, 2 * AHEAD_S / RATE)]
)
async def test_what_came_too_early_is_waited_for_whole(monkeypatch, charged_s: float, wait_s: float):
    clock = Clock(monkeypatch)
    hearing = Hearing(lambda: clock.now)
    hearing.charge(charged_s)
    await hearing.wait(Socket())  # type: ignore[arg-type]
    assert clock.now == pytest.approx(wait_s)


async def test_a_connection_that_ended_is_not_waited_for(monkeypatch):
    clock = Clock(monkeypatch)
    hearing, socket = Hearing(lambda: clock.now), Socket()
    hearing.charge(10 * AHEAD_S)
    socket.closed = True
    await hearing.wait(socket)  # type: ignore[arg-type]
    assert clock.now == 0.0


async def test_sound_is_heard_in_slices():
    class Ear:
        def __init__(self) -> None:
            self.heard: list[int] = []

        def feed(self, samples: np.ndarray) -> list:
            self.heard.append(len(samples))
            return []

    hearing, ear, reader = Hearing(), Ear(), PcmReader(Coding.PCM16, SPEECH_RATE)
    reader.push(bytes(2 * round(2.2 * SLICE_S * SPEECH_RATE)))
    assert [noticed async for noticed in hearing.listen(reader, ear)] == []
    assert ear.heard == [8000, 8000, 1600]
    assert hearing.received_s == pytest.approx(1.1)
