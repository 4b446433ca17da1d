"""Whole turns of conversations through a recogniser: cut where they are longer than it takes, fair to the clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import cast

from utils.threads import off_loop
from utils.turns import Turn, Turns
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.asr.cuts import Piece, join_texts
from web_demo.engines.asr.cutting import Looks, cut_up, in_blocks
from web_demo.engines.base import AsrEngine, Transcript, WorkerAsr


def turns_of(engine: AsrEngine) -> Turns:
    """As many as the engine does now."""
    can = engine.capabilities
    return Turns(can.max_concurrency, can.background)


def in_turn(engine: AsrEngine, turn: Turn) -> Callable[..., Awaitable[Transcript]]:
    """`engine.transcribe`, for work that is done in `turn`."""
    if engine.capabilities.workers:
        return partial(cast(WorkerAsr, engine).transcribe, turn=turn)
    return engine.transcribe


class TurnRecogniser:
    """Round an engine that somebody else may describe; started and closed here."""

    def __init__(self, engine: AsrEngine) -> None:
        self.engine = engine
        self._turns = turns_of(engine)
        self._looks = Looks()

    async def start(self) -> None:
        await self.engine.start()
        self._turns = turns_of(self.engine)  # some know it only now

    async def close(self) -> None:
        await self.engine.close()

    async def words(self, audio: Audio, client: str = "", language: str | None = None) -> str:
        """The text of a turn, "" where nothing was said; one that is longer than the recogniser takes goes to it in pieces, as many
        side by side as it does at once: the rest waits here, so that other conversations of the same client get in between."""
        if audio.seconds <= self.engine.max_segment_s:
            return await self._piece(audio, client, language)
        sound = await off_loop(audio.at, SPEECH_RATE)
        side_by_side = asyncio.Semaphore(self.engine.capabilities.max_concurrency)

        async def recognise(piece: Piece) -> str:
            async with side_by_side:
                return await self._piece(Audio(piece.samples, SPEECH_RATE), client, language)

        running: list[asyncio.Task[str]] = []
        blocks = in_blocks(sound.samples)
        try:
            async with aclosing(cut_up(blocks, self.engine.max_segment_s, self._looks.of(client))) as cut:
                async for pieces in cut:
                    running += [asyncio.create_task(recognise(piece), name="recognise") for piece in pieces]
            return join_texts([await task for task in running])
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _piece(self, audio: Audio, client: str, language: str | None) -> str:
        async with self._turns.turn(client) as turn:
            return (await in_turn(self.engine, turn)(audio, language=language)).text
