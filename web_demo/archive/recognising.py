"""Recordings to text: the stages of `scripts/transcribe_archive.py`, made of what the ASR service is made of."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

import numpy as np
import prometheus_client

from utils.threads import off_loop
from web_demo.archive import stores
from web_demo.archive.manifest import count_words
from web_demo.archive.stages import Ended, Failed, Part, Result, Split, Task, WorkerLost, Written, reason
from web_demo.archive.versions import engine_version
from web_demo.audio.samples import SPEECH_RATE, from_int16, to_int16
from web_demo.engines import registry
from web_demo.engines.asr import hotwords, languages
from web_demo.engines.asr.cuts import Piece
from web_demo.engines.asr.cutting import cut_up
from web_demo.engines.base import AsrEngine, Transcript
from web_demo.engines.choice import choose
from web_demo.errors import Busy, InvalidRequest, ServiceError, SetupError, Unavailable
from web_demo.media.decoders import Decoders, Decoding
from web_demo.server.asr.formats import language_label, srt, transcribe_json, vtt, warning
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr.transcriber import Transcriber, TranscriptionOptions, join_transcripts
from web_demo.server.common.answers import json_bytes

FORMATS: Mapping[str, str] = {"json": ".json", "srt": ".srt", "vtt": ".vtt", "txt": ".txt"}
LEAST_BATCH_S, MOST_BATCH_S = 30.0, 300.0
RECOVERY_S = 60.0  # an engine may start a part of itself again


@dataclass(frozen=True, eq=False)
class Stretch:
    """The sound of a part, from `start_s` of its recording on; 16 bits a sample, as decoders give it."""

    start_s: float
    pcm: bytes
    options: TranscriptionOptions


@dataclass(frozen=True)
class Heard:
    """What is known of a whole recording."""

    seconds: float
    warnings: tuple[str, ...]
    asked: str  # the language, as it was named


class Recognition:
    """Raises SetupError for an engine that cannot be, InvalidRequest for a language or a format that it does not know."""

    def __init__(
        self,
        settings: AsrSettings,
        formats: Sequence[str] = ("json",),
        *,
        language: str = "",
        words: str = "",
        batch_s: float = 0.0,
    ) -> None:
        unknown = [name for name in formats if name not in FORMATS]
        if unknown or not formats:
            raise InvalidRequest(f"formats are {', '.join(FORMATS)}; got {', '.join(unknown) or 'none'}")
        if not 0 <= batch_s < math.inf:
            raise InvalidRequest(f"a batch has a number of seconds, 0 for as many as suit the engine; got {batch_s}")
        # The engine that is chosen here is the one that runs everywhere.
        self.settings = dataclasses.replace(settings, engine=choose("asr", settings).name)
        engine = self.engine()
        can = engine.capabilities
        self.capabilities = can
        self.formats = tuple(dict.fromkeys(formats))
        self.language, self.words = language, words
        self.max_segment_s = engine.max_segment_s
        self.batch_s = batch_s or min(max(engine.max_segment_s * can.max_concurrency, LEAST_BATCH_S), MOST_BATCH_S)
        self.is_remote = "://" in engine.device
        self.uses_gpu = engine.device in ("auto", "cuda") or engine.device.startswith("cuda:")
        self.made_by: Mapping[str, str] = {
            "engine": engine.name,
            "model": engine.model,
            "engine_version": engine_version("asr", engine.name),
        }
        self.options("", "")

    def engine(self, device: str = "") -> AsrEngine:
        """A new one, not started."""
        settings = dataclasses.replace(self.settings, device=device) if device else self.settings
        engine: AsrEngine = registry.factory("asr", settings.engine)(settings)
        return engine

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {name: FORMATS[name] for name in self.formats}

    def options(self, language: str, words: str) -> TranscriptionOptions:
        """As a request to the service has them; "" takes the run's. Raises InvalidRequest."""
        language, words = language or self.language, words or self.words
        named = language.strip().lower() not in ("", "auto")
        return TranscriptionOptions(
            languages.resolve(language, self.capabilities.languages) if named else None, tuple(hotwords.parse(words))
        )

    def splitter(self) -> Recordings:
        return Recordings(self)

    def worker(self, device: str) -> Recogniser:
        return Recogniser(self, device)

    def joiner(self, task: Task) -> TranscriptJoiner:
        return TranscriptJoiner(self)


class Recordings:
    """Reads recordings, decodes them in cages, cuts them at silences."""

    def __init__(self, plan: Recognition) -> None:
        self._plan = plan
        self._decoders = Decoders()

    async def start(self) -> None:
        await self._decoders.start()

    async def close(self) -> None:
        await self._decoders.close()

    async def split(self, tasks: Iterable[Task]) -> AsyncGenerator[Split, None]:
        for task in tasks:
            async with aclosing(self._parts(task)) as parts:
                async for item in parts:
                    yield item

    async def _parts(self, task: Task) -> AsyncGenerator[Split, None]:
        """When its decoder was lost, a recording is read once more from its beginning: its parts get the same numbers."""
        for again in (True, False):
            try:
                async with aclosing(self._read(task)) as items:
                    async for item in items:
                        yield item
                return
            except Unavailable as error:
                if not again:
                    yield Failed(task.number, error.message)
            except (ServiceError, SetupError, OSError, ImportError) as error:
                yield Failed(task.number, reason(error))
                return

    async def _read(self, task: Task) -> AsyncGenerator[Part | Ended, None]:
        columns, count = task.entry.columns, 0
        asked = _text(columns.get("language"))
        options = self._plan.options(asked, _text(columns.get("hotwords")))
        async with self._sound(task.entry.place) as sound, aclosing(self._cut(sound)) as cut:
            async for pieces in cut:
                for piece in pieces:
                    yield _part(task.number, count, piece, options)
                    count += 1
        heard = Heard(sound.seconds, (*sound.warnings, *sound.remarks), asked or self._plan.language)
        yield Ended(task.number, count, heard)

    @asynccontextmanager
    async def _sound(self, place: str) -> AsyncIterator[Decoding]:
        async with AsyncExitStack() as closing:
            file, size = await off_loop(closing.enter_context, stores.opened(place))
            while True:
                decoding = self._decoders.decoding(file, size, max_s=self._plan.settings.max_audio_s)
                try:
                    sound = await closing.enter_async_context(decoding)
                    break
                except Busy:  # large files of this process take all the memory for decoding: here, who waits has time
                    continue
            yield sound

    def _cut(self, sound: Decoding) -> AsyncGenerator[list[Piece], None]:
        return cut_up(sound.blocks(), self._plan.max_segment_s)


def _part(number: int, index: int, piece: Piece, options: TranscriptionOptions) -> Part:
    stretch = Stretch(piece.start / SPEECH_RATE, to_int16(piece.samples).tobytes(), options)
    return Part(number, index, len(piece.samples) / SPEECH_RATE, stretch)


class Recogniser:
    """One engine."""

    def __init__(self, plan: Recognition, device: str) -> None:
        self._engine = plan.engine(device)
        self._metrics = AsrMetrics(prometheus_client.CollectorRegistry())

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    async def work(self, parts: Sequence[Part]) -> Sequence[Result | Failed]:
        began = time.monotonic()
        transcriber = Transcriber(self._engine, self._metrics)  # as many at once as the engine does now
        made = await asyncio.gather(*(self._transcript(transcriber, part) for part in parts))
        took_s = time.monotonic() - began
        cost_s = sum(part.cost_s for part in parts) or 1.0
        return [
            one if isinstance(one, Failed) else Result(part.number, part.index, one, took_s * part.cost_s / cost_s)
            for part, one in zip(parts, made, strict=True)
        ]

    async def _transcript(self, transcriber: Transcriber, part: Part) -> Transcript | Failed:
        stretch: Stretch = part.work
        piece = Piece(round(stretch.start_s * SPEECH_RATE), from_int16(np.frombuffer(stretch.pcm, np.int16)))
        for again in (True, False):
            try:
                return await transcriber.piece(piece, stretch.options, "")
            except ServiceError as error:
                failed = Failed(part.number, error.message)
            if self._engine.fault() is None and not again:
                break
            await self._recovered()
        return failed

    async def _recovered(self) -> None:
        """Raises WorkerLost when the engine is at fault and stays so."""
        deadline = time.monotonic() + RECOVERY_S
        while (fault := self._engine.fault()) is not None:
            if time.monotonic() > deadline:
                raise WorkerLost(fault)
            await asyncio.sleep(0.2)


class TranscriptJoiner:
    def __init__(self, plan: Recognition) -> None:
        self._plan = plan
        self._parts: list[Transcript] = []

    def add(self, value: Transcript) -> None:
        self._parts.append(value)

    def abandon(self) -> None:
        self._parts.clear()

    def end(self, facts: Heard, took_s: float) -> Written:
        plan = self._plan
        default = next(iter(plan.capabilities.languages), "")
        named = plan.options(facts.asked, "").language
        transcript = join_transcripts(self._parts, named or default)
        label = language_label(facts.asked, transcript.language)
        said = warning(facts.warnings, facts.seconds, transcript.text)
        content = {
            "json": lambda: json_bytes(transcribe_json(transcript, label, facts.seconds, said)),
            "srt": lambda: srt(transcript).encode("utf-8", "backslashreplace"),
            "vtt": lambda: vtt(transcript).encode("utf-8", "backslashreplace"),
            "txt": lambda: f"{transcript.text}\n".encode("utf-8", "backslashreplace"),
        }
        columns = {
            "seconds": round(facts.seconds, 3),
            "words": count_words(transcript.text),
            "real_time_factor": round(took_s / facts.seconds, 4) if facts.seconds else None,
            "language": transcript.language,
            "warning": said or None,
        }
        return Written({name: content[name]() for name in plan.formats}, columns)


def _text(value: object) -> str:
    """A column of a manifest."""
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)
