"""Recognition on a CPU by sherpa-onnx: SenseVoice, Fun-ASR-Nano or the streaming Paraformer, whichever lies in the folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.threads import off_loop
from utils.turns import Turn
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.audio.vad import has_speech
from web_demo.children.pool import WorkerPool
from web_demo.children.quiet import keep_library_quiet
from web_demo.engines.asr.hotwords import sanitised
from web_demo.engines.asr.sherpa.messages import GROWING, More, Piece, Recognised
from web_demo.engines.asr.sherpa.models import Found, FunAsrNano, Model, Paraformer, find
from web_demo.engines.asr.sherpa.words import words_of
from web_demo.engines.base import Capabilities, Segment, Transcript
from web_demo.engines.onnx_models import DOWNLOAD, missing_package, processes_and_threads
from web_demo.errors import InvalidRequest, SetupError
from web_demo.text.language import language_of

LEAST_S = 0.1  # of sound: with less no recogniser has a frame


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def model_path(self) -> Path | None: ...


def unavailable(settings: Settings) -> str | None:
    """Why it cannot run here, or None. Looks, does not load."""
    try:
        found = find(settings.model_path)
    except SetupError as error:
        return str(error)
    if found is None:
        return f"no recogniser of sherpa-onnx at {settings.model_path} ({DOWNLOAD})"
    return missing_package()


def create(settings: Settings) -> SherpaAsr:
    """Raises SetupError with what is missing and how to get it."""
    if (reason := unavailable(settings)) is not None:
        raise SetupError(f"the sherpa engine cannot start: {reason}")
    found = find(settings.model_path)
    assert found is not None, "it was found a moment ago"
    return SherpaAsr(found, *processes_and_threads())


class SherpaAsr:
    """Cancelling `transcribe` frees the caller at once, the worker when it is through with the piece."""

    name = "sherpa"
    device = "cpu"

    def __init__(self, found: Found, processes: int, threads: int) -> None:
        """`partials` of `found` have a process of their own, which remembers what it has heard."""
        self._model = found.model
        self.model = found.model.folder.name
        self.max_segment_s = found.model.longest_s
        self._pool = WorkerPool("sherpa ASR", partial(_build, found.model, threads), processes)
        self._growing = (
            WorkerPool("sherpa partials", partial(_build_growing, found.partials, threads), 1)
            if found.partials is not None
            else None
        )
        self._sent: OrderedDict[str, int] = OrderedDict()  # samples of utterances that go on, which their process has

    @property
    def capabilities(self) -> Capabilities:
        """`max_concurrency` counts the workers that live."""
        return Capabilities(
            languages=self._model.languages,
            hotwords=self._model.hotwords,
            itn=self._model.itn,
            timestamps="word" if self._model.times == "word" else "segment",
            partials=Paraformer.languages if self._growing is not None else (),
            max_concurrency=max(1, self._pool.capacity),
            workers=True,
            lost=self._pool.lost() or (self._growing.lost() if self._growing else ""),
        )

    async def start(self) -> None:
        try:
            await self._pool.start()
            if self._growing is not None:
                await self._growing.start()
        except SetupError as error:
            await self.close()
            raise SetupError(
                f"{self._model.folder} could not be loaded ({error}; the log has what sherpa-onnx says). Is it whole? "
                f"{DOWNLOAD} --check"
            ) from error

    async def close(self) -> None:
        await self._pool.close()
        if self._growing is not None:
            await self._growing.close()

    def fault(self) -> str | None:
        return self._pool.fault()

    async def transcribe(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        hotwords: Sequence[str] = (),
        itn: bool = True,
        turn: Turn | None = None,
    ) -> Transcript:
        """See WorkerAsr; nothing of it is in the background, as another copy of a model takes hundreds of MB."""
        model = self._model
        if language is not None and language not in model.languages:
            raise InvalidRequest(f"{self.model} knows {', '.join(model.languages)}; got {language!r}", param="language")
        samples = await off_loop(_speech, audio)
        used = self._usable(hotwords, audio.seconds)
        ignored = tuple(word for word in hotwords if word not in used)
        if samples is None:
            return Transcript("", language or model.languages[0], ignored_hotwords=ignored)
        piece = Piece(samples, language or "", itn, tuple(sanitised(word) for word in used))
        recognised = await self._pool.run(piece, turn=turn)
        seconds = round(audio.seconds, 3)
        words = words_of(recognised.tokens, recognised.times, seconds) if model.times == "word" else None
        segments = (Segment(recognised.text, 0.0, seconds, words),) if recognised.text else ()
        return Transcript(recognised.text, language or self._spoken(recognised), segments, ignored)

    def _usable(self, hotwords: Sequence[str], seconds: float) -> list[str]:
        if not isinstance(self._model, FunAsrNano):
            return []
        return self._model.fitting((word for word in hotwords if sanitised(word)), seconds)

    def _spoken(self, recognised: Recognised) -> str:
        """The language as the recogniser says, else as its text looks."""
        known = self._model.languages
        candidates = (recognised.language, language_of(recognised.text), known[0])
        return next(language for language in candidates if language in known)

    async def partial(self, utterance: str, audio: Audio) -> str:
        """See StreamingAsr."""
        if self._growing is None:
            raise InvalidRequest(f"{self.model} has no partial texts")
        samples = await off_loop(_at_speech_rate, audio)
        text = None
        sent = self._sent.get(utterance, 0)
        if 0 < sent <= len(samples):
            text = await self._growing.run(More(utterance, sent, samples[sent:]))
        if text is None:  # it begins, or its process was started again, or had to forget it
            text = await self._growing.run(More(utterance, 0, samples))
        self._sent[utterance] = len(samples)
        self._sent.move_to_end(utterance)
        while len(self._sent) > GROWING:
            self._sent.popitem(last=False)
        return text or ""


def _build(model: Model, threads: int) -> Callable[[Piece], Recognised]:
    """In the worker: the library comes into no other process."""
    from web_demo.engines.asr.sherpa.worker import build

    built = build(model, threads)
    keep_library_quiet()
    return built


def _build_growing(model: Paraformer, threads: int) -> Callable[[More], str | None]:
    from web_demo.engines.asr.sherpa.worker import build_growing

    built = build_growing(model, threads)
    keep_library_quiet()
    return built


def _at_speech_rate(audio: Audio) -> Samples:
    return audio.at(SPEECH_RATE).samples


def _speech(audio: Audio) -> Samples | None:
    """At SPEECH_RATE; None for silence."""
    samples = audio.at(SPEECH_RATE).samples
    if not has_speech(samples):
        return None
    missing = round(LEAST_S * SPEECH_RATE) - len(samples)
    return np.concatenate((samples, np.zeros(missing, np.float32))) if missing > 0 else samples
