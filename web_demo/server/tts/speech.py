"""One answer: the pieces of a text through the engine, in fair turns, as one stream of sound. No HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np

from utils.turns import Turns
from web_demo.audio.samples import AUDIBLE, Samples, is_audible
from web_demo.engines.base import SpeechRequest, TtsEngine
from web_demo.errors import NoSound
from web_demo.server.tts.encode import join_samples
from web_demo.server.tts.metrics import TtsMetrics

log = logging.getLogger(__name__)

AHEAD_S = 20.0  # sound made before the client took it: beyond that, the next piece of text waits


@dataclass(frozen=True)
class Piece:
    """The sound of `request` begins, `start_s` after the beginning of all of it."""

    request: SpeechRequest
    start_s: float


@dataclass(frozen=True, eq=False)
class Said:
    """All sound of `request` has come; its voice was heard from `start_s` to `end_s` of all of it, and `samples` is the sound from
    the piece's beginning on, `begins_s`."""

    request: SpeechRequest
    begins_s: float
    start_s: float
    end_s: float
    samples: Samples


Item = Samples | Piece | Said


class SpeechStream:
    """The sound of some requests, one after the other; made by `speech`, which runs it.

    A turn is held while the engine makes a piece, never while a slow client takes it: what is made waits
    here, at most AHEAD_S and one piece.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._made: deque[Item] = deque()
        self._waiting_s = 0.0
        self._length = 0  # samples, of all that was made
        self._ended = False
        self.error: Exception | None = None  # what ended it early
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def chunks(self) -> AsyncGenerator[Samples, None]:
        """All that was made since the last time, as soon as there is some. Raises what the engine raised."""
        async for item in self.items():
            if not isinstance(item, Piece | Said):
                yield item

    async def items(self) -> AsyncGenerator[Item, None]:
        """As `chunks`, with the pieces between: each before its first sound, and where times were asked for, after its last."""
        while True:
            if self._made:
                item = self._take()
                self._room.set()
                yield item
            elif self.error is not None:
                raise self.error
            elif self._ended:
                return
            else:
                self._more.clear()
                await self._more.wait()

    def _take(self) -> Item:
        """A piece, or all sound up to the next one."""
        if isinstance(first := self._made.popleft(), Piece | Said):
            return first
        parts = [first]
        while self._made and not isinstance(self._made[0], Piece | Said):
            parts.append(cast(Samples, self._made.popleft()))
        joined = join_samples(parts)
        self._waiting_s -= len(joined) / self.rate
        return joined

    def begin(self, request: SpeechRequest) -> None:
        self._made.append(Piece(request, self._length / self.rate))
        self._more.set()

    def end_piece(self, request: SpeechRequest, samples: Samples) -> None:
        """`samples`: all that was put since its beginning."""
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        begins = self._length - len(samples)
        start, end = (begins + int(audible[at]) for at in (0, -1))
        self._made.append(Said(request, begins / self.rate, start / self.rate, (end + 1) / self.rate, samples))
        self._more.set()

    def put(self, samples: Samples) -> None:
        self._made.append(samples)
        self._length += len(samples)
        self._waiting_s += len(samples) / self.rate
        if self._waiting_s > AHEAD_S:
            self._room.clear()
        self._more.set()

    async def room(self) -> None:
        await self._room.wait()

    def end(self, error: Exception | None = None) -> None:
        self._ended, self.error = True, error
        self._more.set()


@asynccontextmanager
async def speech(
    engine: TtsEngine,
    requests: Iterable[SpeechRequest] | AsyncIterable[SpeechRequest],
    *,
    turns: Turns,
    client: str,
    metrics: TtsMetrics,
    timed: bool = False,
) -> AsyncIterator[SpeechStream]:
    """The stream of `requests`, which may come by and by. Leaving the block ends the work at once. All of them without a sound are
    NoSound; no request at all is the end. `timed`: the stream has each piece once more when it was said."""
    stream = SpeechStream(engine.sample_rate)

    async def produce() -> None:
        sounded, voice = False, None
        try:
            async for request in _each(requests):
                voice = request.voice or engine.model
                await stream.room()
                asked = time.monotonic()
                async with turns.turn(client):
                    metrics.queued.observe(time.monotonic() - asked)
                    sounded |= await _speak(engine, request, stream, metrics, timed=timed)
            if voice is not None and not sounded:
                raise NoSound(f"the voice {voice} of the {engine.name} engine gave no sound for this text")
        except Exception as error:  # noqa: BLE001 - not swallowed: the reader of the stream raises it
            stream.end(error)
        else:
            stream.end()

    producer = asyncio.create_task(produce(), name="speech")
    try:
        yield stream
    finally:
        producer.cancel()
        await asyncio.gather(producer, return_exceptions=True)


async def _each(requests: Iterable[SpeechRequest] | AsyncIterable[SpeechRequest]) -> AsyncIterator[SpeechRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


async def _speak(
    engine: TtsEngine, request: SpeechRequest, stream: SpeechStream, metrics: TtsMetrics, *, timed: bool
) -> bool:
    """Whether there was sound. What comes before it waits: an answer of silence alone never begins."""
    chunks = engine.synthesize(request)
    silence: list[Samples] = []
    kept: list[Samples] = []
    sounded = begun = False
    try:
        async for samples in chunks:
            sounded = sounded or is_audible(samples)
            if not sounded:
                silence.append(samples)
                continue
            if not begun:
                begun = True
                stream.begin(request)
            for part in (*silence, samples):
                stream.put(part)
                metrics.audio_out.inc(len(part) / stream.rate)
                if timed:
                    kept.append(part)
            silence.clear()
        if timed and sounded:
            stream.end_piece(request, join_samples(kept))
        if not sounded:
            metrics.silent.inc()
            log.warning(
                "the voice %s gave no sound for %d characters", request.voice or engine.model, len(request.text)
            )
        return sounded
    finally:
        await chunks.aclose()  # now, not when the garbage collector comes: closing is what stops the engine
