"""Recordings cut while they come: the search for silences costs time, which one recording does not take from all others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Protocol, TypeVar

import numpy as np

from utils.threads import behind, off_loop
from utils.turns import Turns
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.engines.asr.cuts import Cutter, Piece

T = TypeVar("T")

LOOK_S = 2.0  # of sound that is looked at in one go: some milliseconds of work


class Look(Protocol):
    """Does one look's work off the event loop."""

    def __call__(self, work: Callable[..., T], /, *args: Samples) -> Awaitable[T]: ...


class Looks:
    """Looks of many recordings, in turns that go round the clients, one at a time: in two threads they are no faster (250 and
    260 seconds of sound a second), and would take another core away from recognisers."""

    def __init__(self) -> None:
        self._turns = Turns(1)

    def of(self, client: str) -> Look:
        async def look(work: Callable[..., T], /, *args: Samples) -> T:
            async with self._turns.turn(client):
                return await behind(work, *args)

        return look


async def cut_up(
    blocks: AsyncIterable[Samples], max_s: float, look: Look = off_loop
) -> AsyncGenerator[list[Piece], None]:
    """A recording in pieces of at most `max_s`, as they are found."""
    cutter = Cutter(max_s)
    waiting: list[Samples] = []
    samples = 0
    async for block in blocks:
        waiting.append(block)
        samples += len(block)
        if samples >= LOOK_S * SPEECH_RATE:
            yield await look(cutter.feed, np.concatenate(waiting))
            waiting, samples = [], 0
    if waiting:
        yield await look(cutter.feed, np.concatenate(waiting))
    yield await look(cutter.end)


async def in_blocks(samples: Samples) -> AsyncGenerator[Samples, None]:
    """A whole recording, as it would come."""
    size = round(LOOK_S * SPEECH_RATE)
    for start in range(0, len(samples), size):
        yield samples[start : start + size]
