"""Whole turns of conversations through a recogniser: cut where they are longer than it takes, as many at once as it does."""

from __future__ import annotations

import asyncio

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.asr.cuts import cuts, join_texts
from web_demo.engines.base import AsrEngine


class TurnRecogniser:
    """Round an engine that somebody else may describe; started and closed here."""

    def __init__(self, engine: AsrEngine) -> None:
        self.engine = engine
        self._places = asyncio.Semaphore(engine.capabilities.max_concurrency)

    async def start(self) -> None:
        await self.engine.start()
        self._places = asyncio.Semaphore(self.engine.capabilities.max_concurrency)  # some know it only now

    async def close(self) -> None:
        await self.engine.close()

    async def words(self, audio: Audio) -> str:
        """The text of a turn, "" where nothing was said; a long one goes to the engine in pieces, side by side."""
        if audio.seconds <= self.engine.max_segment_s:
            return await self._piece(audio)
        sound = await off_loop(audio.at, SPEECH_RATE)
        spans = await off_loop(lambda: list(cuts(sound.samples, self.engine.max_segment_s)))
        pieces = [
            asyncio.create_task(self._piece(Audio(sound.samples[start:end], SPEECH_RATE)), name="recognise")
            for start, end in spans
        ]
        try:
            return join_texts([await piece for piece in pieces])
        finally:
            for piece in pieces:
                piece.cancel()
            await asyncio.gather(*pieces, return_exceptions=True)

    async def _piece(self, audio: Audio) -> str:
        async with self._places:
            return (await self.engine.transcribe(audio)).text
