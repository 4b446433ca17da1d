"""From decoded audio to text: pieces of a recording through an engine, several at once, back in order with right times."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import cast

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.asr.cuts import cuts, join_texts
from web_demo.engines.base import AsrEngine, Segment, Transcript, TranslatingAsr, Word
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.voiced import with_voice
from web_demo.server.common.budgets import Turns

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
        self._turns = Turns(engine.capabilities.max_concurrency)

    async def pieces(
        self, audio: Audio, options: TranscriptionOptions, client: str
    ) -> AsyncGenerator[Transcript, None]:
        """Transcripts in order, their times counted from the start of `audio` (at SPEECH_RATE). Closing stops the work."""
        window = self._engine.capabilities.max_concurrency
        found = cuts(audio.samples, self._engine.max_segment_s)
        running: deque[asyncio.Task[Transcript]] = deque()
        try:
            while (span := await off_loop(next, found, None)) is not None:
                if len(running) >= window:
                    yield await running[0]
                    running.popleft()
                running.append(asyncio.create_task(self._piece(audio, span, options, client)))
            while running:
                yield await running[0]
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def transcribe(self, audio: Audio, options: TranscriptionOptions, client: str) -> Transcript:
        """The whole recording as one transcript; progress goes to the log."""
        parts: list[Transcript] = []
        async for part in self.pieces(audio, options, client):
            parts.append(part)
            if audio.seconds > 2 * self._engine.max_segment_s and part.segments:
                log.info("progress at_s=%.0f of_s=%.0f", part.segments[-1].end_s, audio.seconds)
        return join_transcripts(parts, options.language or self.default_language)

    @property
    def default_language(self) -> str:
        languages = self._engine.capabilities.languages
        return languages[0] if languages else ""

    async def one(self, audio: Audio, options: TranscriptionOptions, client: str) -> Transcript:
        """One utterance, straight to the engine."""
        async with self._turns.turn(client):
            with self._metrics.engine_seconds.time():
                transcript = await self._recognise(audio, options)
        self._metrics.audio_seconds.inc(audio.seconds)
        return transcript

    async def _recognise(self, audio: Audio, options: TranscriptionOptions) -> Transcript:
        if options.translate:
            return await cast(TranslatingAsr, self._engine).translate(audio, hotwords=options.hotwords)
        return await self._engine.transcribe(
            audio, language=options.language, hotwords=options.hotwords, itn=options.itn
        )

    async def _piece(
        self, audio: Audio, span: tuple[int, int], options: TranscriptionOptions, client: str
    ) -> Transcript:
        start, end = span
        samples = audio.samples[start:end]
        transcript = await self.one(Audio(samples, SPEECH_RATE), options, client)
        transcript = await off_loop(with_voice, transcript, samples)
        offset = start / SPEECH_RATE
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
