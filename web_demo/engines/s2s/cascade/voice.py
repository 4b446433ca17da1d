"""A text-to-speech engine as what a conversation speaks with, in place of the detokenizer child."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from utils.channel import Channel
from web_demo.audio.samples import WIRE_RATE, Resampler, Samples
from web_demo.detokenizer.backend import Mark
from web_demo.detokenizer.messages import Ready
from web_demo.engines.base import SpeechRequest, TtsEngine
from web_demo.errors import EngineFailed

MAX_TURNS = 10_000  # those beyond the engine's concurrency wait for a place, a sentence at a time
CHUNKS_AHEAD = 8  # of sound that may wait to be taken


class EngineVoice:
    """A SpeechSource. Sentences of different turns are spoken side by side, as many as the engine declares, first come,
    first served."""

    def __init__(self, engine: TtsEngine) -> None:
        self.engine = engine
        self._places = asyncio.Semaphore(engine.capabilities.max_concurrency)
        self._started = False

    @property
    def ready(self) -> Ready:
        return Ready(self.engine.name, WIRE_RATE, (), MAX_TURNS)

    @property
    def max_turns(self) -> int:
        return MAX_TURNS if self._started else 0

    async def start(self) -> None:
        await self.engine.start()
        self._places = asyncio.Semaphore(self.engine.capabilities.max_concurrency)  # some know it only now
        self._started = True

    async def close(self) -> None:
        await self.engine.close()

    def fault(self) -> str | None:
        return self.engine.fault()

    async def open(self, turn_id: str, voice: str = "") -> EngineSpeech:
        return EngineSpeech(self.engine, self._places, voice)


class EngineSpeech:
    """The sound of one turn. The engine works in a task of its own, so that `close` ends it at once."""

    def __init__(self, engine: TtsEngine, places: asyncio.Semaphore, voice: str) -> None:
        self._engine = engine
        self._places = places
        self._voice = voice
        self._speaking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EngineSpeech:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        if self._speaking is not None:
            await asyncio.gather(self._speaking, return_exceptions=True)

    def close(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()

    async def say(
        self,
        *,
        text: str = "",
        codes: tuple[int, ...] = (),
        voice: str = "",
        last: bool = False,
        deadline: float = 0.0,
        speed: float = 1.0,
        marks: list[Mark] | None = None,
    ) -> AsyncIterator[Samples]:
        if codes:
            raise EngineFailed(f"the voice {self._engine.name} speaks text, and was given speech codes")
        if not text:
            return
        made: Channel[Samples] = Channel(CHUNKS_AHEAD)
        speaking = asyncio.create_task(
            self._speak(SpeechRequest(text, voice or self._voice, speed, marks=marks), made), name="voice"
        )
        self._speaking = speaking
        try:
            async for samples in made:
                yield samples
            await speaking
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _speak(self, request: SpeechRequest, made: Channel[Samples]) -> None:
        try:
            async with self._places, aclosing(self._engine.synthesize(request)) as chunks:
                async for chunk in _at_wire_rate(chunks, self._engine.sample_rate):
                    await made.put(chunk)
        finally:
            await made.close()


async def _at_wire_rate(chunks: AsyncGenerator[Samples, None], rate: int) -> AsyncIterator[Samples]:
    resampler = Resampler(rate, WIRE_RATE)
    async for chunk in chunks:
        if len(out := resampler.push(chunk)):
            yield out
    if len(rest := resampler.rest()):
        yield rest
