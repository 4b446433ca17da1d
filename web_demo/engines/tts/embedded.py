"""The engine that needs no weights: espeak-ng, in a process of its own (it is not thread-safe, and GPL)."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import numpy as np

from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines import advice
from web_demo.engines.base import Capabilities, SpeechRequest
from web_demo.engines.tts.child import spoken
from web_demo.engines.tts.espeak import CLASSIC_VOICES, MAX_SPEED, MIN_SPEED, SENTENCE_PAUSE_S, EspeakVoice
from web_demo.engines.tts.limits import check
from web_demo.errors import NotFound, SetupError
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

BACKEND = BackendSpec("web_demo.engines.tts.espeak:create_backend")
# Sentences on their way to the child, which speaks one at a time, some hundred times faster than real time.
CONCURRENCY = 8


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def speech_process(self) -> Callable[[BackendSpec], SpeechSource]: ...


class EmbeddedTts:
    name = "embedded"
    model = "espeak-ng"
    device = "cpu"
    sample_rate = WIRE_RATE

    def __init__(self, process: SpeechSource) -> None:
        self._process = process

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            voices=(*CLASSIC_VOICES, *_languages()),
            speeds=(MIN_SPEED, MAX_SPEED),
            timestamps="word",
            min_piece_chars=12,
            backend=BACKEND,
            max_concurrency=CONCURRENCY,
            better=advice.VOICE,
        )

    async def start(self) -> None:
        await self._process.start()
        async for _ in self.synthesize(SpeechRequest("Ready.", "")):  # the first sound takes longer than all others
            pass

    async def close(self) -> None:
        await self._process.close()

    def fault(self) -> str | None:
        """Why it cannot speak at this moment: the child died and is being started again."""
        return self._process.fault()

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        """Chunks of about 200 ms, and a natural pause at the end. Raises InvalidRequest, NotFound, EngineFailed."""
        self._check(request)
        if not has_words(plain(request.text)):
            return
        async with aclosing(spoken(self._process, request)) as chunks:
            async for samples in chunks:
                yield samples
        yield np.zeros(round(SENTENCE_PAUSE_S * WIRE_RATE), np.float32)

    def _check(self, request: SpeechRequest) -> None:
        check(request, self.name, self.capabilities)
        language = EspeakVoice.parse(request.voice).language
        if language and language not in _languages():
            raise NotFound(f"no voice {request.voice[:100]!r}; there are: {', '.join(self.capabilities.voices)}")


@functools.cache
def _languages() -> tuple[str, ...]:
    """The names of espeak-ng's voices, from its data folder: the library itself is loaded in the child only."""
    try:
        import espeakng_loader

        folder = Path(espeakng_loader.get_data_path()) / "lang"
    except ImportError as error:
        raise SetupError("the embedded voice needs espeak-ng: pip install -r requirements.txt") from error
    return tuple(sorted(path.name.lower() for path in folder.rglob("*") if path.is_file()))


def create(settings: Settings) -> EmbeddedTts:
    return EmbeddedTts(settings.speech_process(BACKEND))
