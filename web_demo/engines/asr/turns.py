"""Whole turns of conversations through a recogniser: cut where they are longer than it takes, fair to the clients."""

from __future__ import annotations

import asyncio

from utils.threads import off_loop
from utils.turns import Turns
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.asr.cuts import cuts, join_texts
from web_demo.engines.base import AsrEngine


class TurnRecogniser:
    """Round an engine that somebody else may describe; started and closed here."""

    def __init__(self, engine: AsrEngine) -> None:
        self.engine = engine
        self._turns = Turns(engine.capabilities.max_concurrency)

    async def start(self) -> None:
        await self.engine.start()
        self._turns = Turns(self.engine.capabilities.max_concurrency)  # some know it only now

    async def close(self) -> None:
        await self.engine.close()

    async def words(self, audio: Audio, client: str = "", language: str | None = None) -> str:
        """The text of a turn, "" where nothing was said; one that is longer than the recogniser takes goes to it in pieces, as many
        side by side as it does at once: the rest waits here, so that other conversations of the same client get in between."""
        if audio.seconds <= self.engine.max_segment_s:
            return await self._piece(audio, client, language)
        sound = await off_loop(audio.at, SPEECH_RATE)
        spans = await off_loop(lambda: list(cuts(sound.samples, self.engine.max_segment_s)))
        side_by_side = asyncio.Semaphore(self.engine.capabilities.max_concurrency)

        async def recognise(start: int, end: int) -> str:
            async with side_by_side:
                return await self._piece(Audio(sound.samples[start:end], SPEECH_RATE), client, language)

        pieces = [asyncio.create_task(recognise(*span), name="recognise") for span in spans]
        try:
            return join_texts([await piece for piece in pieces])
        finally:
            for piece in pieces:
                piece.cancel()
            await asyncio.gather(*pieces, return_exceptions=True)

    async def _piece(self, audio: Audio, client: str, language: str | None) -> str:
        async with self._turns.turn(client):
            return (await self.engine.transcribe(audio, language=language)).text
