"""From decoded audio to text: pieces of a recording through an engine, several at once, back in order with right times."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from utils.threads import off_loop
from utils.turns import Turn, Turns
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.engines.asr.cuts import Piece, join_texts
from web_demo.engines.asr.cutting import Looks, cut_up
from web_demo.engines.asr.turns import in_turn, turns_of
from web_demo.engines.base import AsrEngine, Segment, StreamingAsr, Transcript, TranslatingAsr, Word
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.voiced import with_voice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TranscriptionOptions:
    """What a client may ask for. `language` is a code of the engine's, or None for its default. `translate`: into English, by an
    engine that declares it."""

    language: str | None = None
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    translate: bool = False


class Transcriber:
    """Shares the engine among clients in fair turns, piece by piece, so that a short recording waits for one piece of
    another client's long one and not for all of it. `client`: whose turn a piece takes."""

    def __init__(self, engine: AsrEngine, metrics: AsrMetrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._turns = turns_of(engine)
        self._looks = Looks()
        self._partial_turns = Turns(1)

    async def pieces(
        self, blocks: AsyncIterable[Samples], options: TranscriptionOptions, client: str
    ) -> AsyncGenerator[Transcript, None]:
        """Transcripts in order, their times counted from the start of the recording whose sound, at SPEECH_RATE, `blocks`
        brings: the first is made while the rest still comes. Closing stops the work."""
        can = self._engine.capabilities
        window = can.max_concurrency + can.background
        running: deque[asyncio.Task[Transcript]] = deque()
        try:
            async for cut in cut_up(blocks, self._engine.max_segment_s, self._looks.of(client)):
                for piece in cut:
                    if len(running) >= window:
                        yield await running[0]
                        running.popleft()
                    running.append(asyncio.create_task(self.piece(piece, options, client)))
                while running and running[0].done():
                    yield running.popleft().result()
            while running:
                yield await running[0]
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def transcribe(
        self, blocks: AsyncIterable[Samples], options: TranscriptionOptions, client: str
    ) -> Transcript:
        """The whole recording as one transcript; progress goes to the log."""
        parts: list[Transcript] = []
        async with aclosing(self.pieces(blocks, options, client)) as pieces:
            async for part in pieces:
                parts.append(part)
                if len(parts) > 2 and part.segments:
                    log.info("progress at_s=%.0f", part.segments[-1].end_s)
        return self.joined(parts, options)

    def joined(self, parts: Iterable[Transcript], options: TranscriptionOptions) -> Transcript:
        """What came of one recording."""
        known = self._engine.capabilities.languages
        return join_transcripts(parts, options.language or next(iter(known), ""))

    async def one(self, audio: Audio, options: TranscriptionOptions, client: str) -> Transcript:
        """One utterance, straight to the engine."""
        async with self._turns.turn(client) as turn:
            with self._metrics.engine_seconds.time():
                transcript = await self._recognise(audio, options, turn)
        self._metrics.audio_seconds.inc(audio.seconds)
        return transcript

    async def partial(self, utterance: str, audio: Audio, options: TranscriptionOptions, client: str) -> str:
        """The text so far of an utterance that goes on; `utterance`: its name among all. From engines that can, of what is new
        alone; from others, of all of it again."""
        can = self._engine.capabilities
        if not can.partials or options.language not in (None, *can.partials):
            return (await self.one(audio, options, client)).text
        async with self._partial_turns.turn(client):
            return await cast(StreamingAsr, self._engine).partial(utterance, audio)

    async def _recognise(self, audio: Audio, options: TranscriptionOptions, turn: Turn) -> Transcript:
        if options.translate:
            return await cast(TranslatingAsr, self._engine).translate(audio, hotwords=options.hotwords)
        transcribe = in_turn(self._engine, turn)
        return await transcribe(audio, language=options.language, hotwords=options.hotwords, itn=options.itn)

    async def piece(self, piece: Piece, options: TranscriptionOptions, client: str) -> Transcript:
        """A part of a recording, with the times of the whole."""
        transcript = await self.one(Audio(piece.samples, SPEECH_RATE), options, client)
        transcript = await off_loop(with_voice, transcript, piece.samples)
        offset = piece.start / SPEECH_RATE
        return dataclasses.replace(transcript, segments=tuple(shifted(s, offset) for s in transcript.segments))


def shifted(segment: Segment, by_s: float) -> Segment:
    words = segment.words and tuple(
        Word(w.text, round(w.start_s + by_s, 3), round(w.end_s + by_s, 3)) for w in segment.words
    )
    voiced = tuple((round(start + by_s, 3), round(end + by_s, 3)) for start, end in segment.voiced)
    return Segment(segment.text, round(segment.start_s + by_s, 3), round(segment.end_s + by_s, 3), words, voiced)


def join_transcripts(parts: Iterable[Transcript], language: str) -> Transcript:
    parts = list(parts)
    ignored = dict.fromkeys(word for part in parts for word in part.ignored_hotwords)
    return Transcript(
        join_texts(part.text for part in parts),
        next((part.language for part in parts if part.language), language),
        tuple(segment for part in parts for segment in part.segments),
        tuple(ignored),
    )
