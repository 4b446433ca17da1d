"""Texts and books to sound: the stages of `scripts/synthesize_archive.py`, made of what the TTS service is made of."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import prometheus_client

from utils.threads import off_loop
from web_demo.archive import stores
from web_demo.archive.books import Book, Chapter, blocks, read_book
from web_demo.archive.manifest import count_words
from web_demo.archive.sound_files import KINDS, Encoded, Mark, SoundFile, encode
from web_demo.archive.stages import Ended, Failed, Json, Part, Result, Split, Task, WorkerLost, Written, reason
from web_demo.archive.versions import engine_version
from web_demo.engines import registry
from web_demo.engines.base import TtsEngine
from web_demo.engines.choice import Choice
from web_demo.errors import InvalidRequest, NoSound, ServiceError, SetupError, TooLarge
from web_demo.server.tts.encode import join_samples
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.references import asked_voice
from web_demo.server.tts.requests import DEFAULT_VOICE, SynthesisRequest, from_api
from web_demo.server.tts.service import TtsService, choose_engine
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.speakers import SpeakerStore, normal
from web_demo.server.tts.speech import speech
from web_demo.text.scripts import has_words

TEXTS = frozenset((".txt", ".md", ".markdown", ".epub"))
MOST_TEXT_BYTES = 64 << 20
PART_CHARS = 900  # about a minute of speech
CHARS_PER_S = 15.0
BATCH_S = 120.0
RECOVERY_S = 60.0
_ROW_ONLY = ("id", "name", "title", "author")  # columns that are no fields of a request


@dataclass(frozen=True)
class About:
    """What a sound file tells of itself."""

    title: str = ""
    artist: str = ""


@dataclass(frozen=True)
class Passage:
    """What a part says, and where it belongs."""

    asked: SynthesisRequest
    chapter: int
    about: About


@dataclass(frozen=True)
class Spoken:
    chapter: int
    about: About
    sound: Encoded


@dataclass(frozen=True)
class Read:
    """What is known of a whole text: the titles of its chapters, and how many words it has."""

    titles: tuple[str, ...]
    words: int
    language: str


class Synthesis:
    """`fields`: those of a request to the service that all entries share (speaker_id, speed, language); rows say their own. Raises
    SetupError for an engine that cannot be, InvalidRequest for a format that there is not."""

    def __init__(self, settings: TtsSettings, kind: str = "m4b", fields: Json | None = None) -> None:
        if kind not in KINDS:
            raise InvalidRequest(f"formats are {', '.join(KINDS)}; got {kind}")
        # The engine that is chosen here is the one that runs everywhere.
        self.settings = dataclasses.replace(settings, engine=choose_engine(settings).name)
        self.kind = KINDS[kind]
        self.fields = fields or {}
        engine = self.engine()
        self.capabilities = engine.capabilities
        self.batch_s = BATCH_S
        self.is_remote = "://" in engine.device
        self.uses_gpu = engine.device in ("auto", "cuda") or engine.device.startswith("cuda:")
        self.made_by: Mapping[str, str] = {
            "engine": engine.name,
            "model": engine.model,
            "engine_version": engine_version("tts", engine.name),
        }

    def engine(self, device: str = "") -> TtsEngine:
        """A new one, not started."""
        settings = dataclasses.replace(self.settings, device=device) if device else self.settings
        engine: TtsEngine = registry.factory("tts", settings.engine)(settings)
        return engine

    @property
    def suffixes(self) -> Mapping[str, str]:
        return {"sound": self.kind.suffix}

    def splitter(self) -> Texts:
        return Texts(self)

    def worker(self, device: str) -> Speaker:
        return Speaker(self, device)

    def joiner(self, task: Task) -> SoundJoiner:
        return SoundJoiner(self)


class Texts:
    """Reads texts and books, puts them into words as a request to the service is, and cuts them into passages."""

    def __init__(self, plan: Synthesis) -> None:
        self._plan = plan
        self._speakers = SpeakerStore(plan.settings.speakers_dir)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def split(self, tasks: Iterable[Task]) -> AsyncGenerator[Split, None]:
        for task in tasks:
            for item in await off_loop(self._all, task):
                yield item

    def _all(self, task: Task) -> list[Split]:
        try:
            return list(self._items(task))
        except (ServiceError, SetupError, OSError, ImportError) as error:
            return [Failed(task.number, reason(error))]

    def _items(self, task: Task) -> Iterator[Split]:
        """Raises InvalidRequest for a text without words, and for fields that are wrong."""
        columns = task.entry.columns
        if columns:
            text = columns.get("text")
            if not isinstance(text, str):
                raise InvalidRequest("the row has no text")
            book = Book((Chapter("", text),), str(columns.get("title") or ""), str(columns.get("author") or ""))
        else:
            with stores.opened(task.entry.place) as (file, size):
                if size > MOST_TEXT_BYTES:
                    raise TooLarge(f"the text has {size >> 20} MiB; at most {MOST_TEXT_BYTES >> 20} are read")
                book = read_book(task.entry.place, file.read())
        about = About(book.title or task.stem.rpartition("/")[2], book.author)
        count, words, language = 0, 0, ""
        titles: list[str] = []
        for chapter in book.chapters:
            asked = self._asked(chapter, book, columns)
            if not asked:
                continue
            language = language or asked[0].language
            words += sum(count_words(piece) for one in asked for piece in one.pieces)
            for passage in _passages(asked):
                cost_s = sum(map(len, passage.pieces)) / CHARS_PER_S
                yield Part(task.number, count, cost_s, Passage(passage, len(titles), about))
                count += 1
            titles.append(chapter.title or (f"{len(titles) + 1}" if titles else about.title))
        if not count:
            raise InvalidRequest("the text holds nothing that can be spoken: no letter and no digit")
        yield Ended(task.number, count, Read(tuple(titles), words, language))

    def _asked(self, chapter: Chapter, book: Book, columns: Mapping[str, object]) -> list[SynthesisRequest]:
        """A chapter as requests to the service, those left out that have signs alone."""
        own = {name: value for name, value in columns.items() if name not in _ROW_ONLY and value not in (None, "")}
        language = {"language": book.language} if book.language else {}
        shared = dict(self._plan.fields)
        if any(asked_voice(own)):
            del shared["speaker_id"]
        fields = {"markdown": chapter.markdown, **language, **shared, **own}
        found = []
        for text in filter(has_words, blocks(chapter.text)):
            try:
                found.append(
                    from_api({**fields, "text": text}, self._plan.capabilities, len(text), said_in=self._said_in)
                )
            except InvalidRequest as error:
                if error.param != "text":
                    raise
        return found

    def _said_in(self, voice: str) -> str:
        return self._speakers.transcript(normal(voice))


def _passages(asked: Sequence[SynthesisRequest]) -> Iterator[SynthesisRequest]:
    """The pieces of a chapter in stretches of about PART_CHARS."""
    for one in asked:
        held: list[str] = []
        for piece in one.pieces:
            if held and sum(map(len, held)) + len(piece) > PART_CHARS:
                yield dataclasses.replace(one, pieces=tuple(held))
                held = []
            held.append(piece)
        yield dataclasses.replace(one, pieces=tuple(held))


class Speaker:
    """One engine, with the service's voices round it."""

    def __init__(self, plan: Synthesis, device: str) -> None:
        self._plan = plan
        self._engine = plan.engine(device)
        self._metrics = TtsMetrics(prometheus_client.CollectorRegistry())
        self._service = TtsService(plan.settings, self._engine, Choice(self._engine.name, "chosen"), self._metrics)

    async def start(self) -> None:
        await self._service.start_parts()

    async def close(self) -> None:
        await self._service.close()

    async def work(self, parts: Sequence[Part]) -> Sequence[Result | Failed]:
        made: list[Result | Failed] = []
        for part in parts:
            began = time.monotonic()
            spoken = await self._spoken(part)
            took_s = time.monotonic() - began
            made.append(spoken if isinstance(spoken, Failed) else Result(part.number, part.index, spoken, took_s))
        return made

    async def _spoken(self, part: Part) -> Spoken | Failed:
        passage: Passage = part.work
        for again in (True, False):
            try:
                sound = await self._sound(passage)
                return Spoken(passage.chapter, passage.about, sound)
            except NoSound:  # signs and smileys between sentences
                return Spoken(passage.chapter, passage.about, Encoded(self._engine.sample_rate, ()))
            except ServiceError as error:
                failed = Failed(part.number, error.message)
            if self._engine.fault() is None and not again:
                break
            await self._recovered()
        return failed

    async def _sound(self, passage: Passage) -> Encoded:
        requests = await self._service.engine_requests(passage.asked, streamed=False)
        turns = self._service.turns
        async with speech(self._engine, requests, turns=turns, client="", metrics=self._metrics) as stream:
            chunks = stream.chunks()
            async with aclosing(chunks):
                samples = join_samples([chunk async for chunk in chunks])
        return await off_loop(encode, self._plan.kind, samples, self._engine.sample_rate)

    async def _recovered(self) -> None:
        """Raises WorkerLost when the engine is at fault and stays so."""
        deadline = time.monotonic() + RECOVERY_S
        while (fault := self._engine.fault()) is not None:
            if time.monotonic() > deadline:
                raise WorkerLost(fault)
            await off_loop(time.sleep, 0.2)


class SoundJoiner:
    """One file of all parts, with a chapter where each begins."""

    def __init__(self, plan: Synthesis) -> None:
        self._plan = plan
        self._file: SoundFile | None = None
        self._starts: dict[int, int] = {}  # chapter -> where it begins, in samples

    def add(self, value: Spoken) -> None:
        if self._file is None:
            told = {"title": value.about.title, "artist": value.about.artist}
            self._file = SoundFile(self._plan.kind, value.sound.rate, told)
        self._starts.setdefault(value.chapter, self._file.samples)
        self._file.add(value.sound)
        self._rate = value.sound.rate

    def end(self, facts: Read, took_s: float) -> Written:
        file = self._file
        if file is None or not file.samples:
            raise NoSound("the voice gave no sound for this text")
        file.end([Mark(facts.titles[chapter], start) for chapter, start in self._starts.items()])
        seconds = file.samples / self._rate
        columns = {
            "seconds": round(seconds, 3),
            "words": facts.words,
            "real_time_factor": round(took_s / seconds, 4),
            "language": facts.language or None,
        }
        return Written({"sound": file.content}, columns)

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()


def voice_fields(voice: str, speed: float, language: str) -> Json:
    """Fields of a request, as a command line says them."""
    fields: Json = {"speaker_id": voice or DEFAULT_VOICE, "speed": speed}
    return fields | ({"language": language} if language else {})
