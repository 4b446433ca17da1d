"""Voices on a CPU by sherpa-onnx: Matcha zh-en or Kokoro multi-lang, whichever lies in the folder, in a child process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import Capabilities, SpeechRequest
from web_demo.engines.onnx_models import DOWNLOAD, missing_package, processes_and_threads
from web_demo.engines.tts.child import spoken
from web_demo.engines.tts.limits import check
from web_demo.engines.tts.sherpa.models import Model, find
from web_demo.errors import NotFound, SetupError
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

CAPABILITIES = Capabilities(  # of all its models
    languages=("zh", "en"),
    speeds=(0.5, 2.0),
    min_piece_chars=6,
    max_piece_chars=100,
    max_concurrency=8,  # sentences on their way to the child, which speaks one at a time
)


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def model_path(self) -> Path | None: ...
    @property
    def speech_process(self) -> Callable[[BackendSpec], SpeechSource]: ...


def unavailable(settings: Settings) -> str | None:
    """Why it cannot run here, or None. Looks, does not load."""
    try:
        found = find(settings.model_path)
    except SetupError as error:
        return str(error)
    if found is None:
        return f"no voice of sherpa-onnx at {settings.model_path} ({DOWNLOAD})"
    return missing_package()


def create(settings: Settings) -> SherpaTts:
    """Raises SetupError with what is missing and how to get it."""
    if (reason := unavailable(settings)) is not None:
        raise SetupError(f"the sherpa engine cannot start: {reason}")
    found = find(settings.model_path)
    assert found is not None, "it was found a moment ago"
    processes, threads = processes_and_threads()
    return SherpaTts(found, min(4, processes * threads), settings.speech_process)


class SherpaTts:
    name = "sherpa"
    device = "cpu"
    sample_rate = WIRE_RATE

    def __init__(self, model: Model, threads: int, speech_process: Callable[[BackendSpec], SpeechSource]) -> None:
        self._folder = model.folder
        self.model = model.folder.name
        backend = BackendSpec(
            "web_demo.engines.tts.sherpa.backend:create_backend", {"model": model, "threads": threads}
        )
        self._process = speech_process(backend)
        speakers = model.speakers
        self.capabilities = replace(
            CAPABILITIES,
            languages=model.languages,
            voices=tuple(speakers),
            voice_languages={name: speaker.language for name, speaker in speakers.items()},
            backend=backend,
        )

    async def start(self) -> None:
        try:
            await self._process.start()
        except SetupError as error:
            raise SetupError(
                f"{self._folder} could not be loaded ({error}; the log has what sherpa-onnx says). Is it whole? "
                f"{DOWNLOAD} --check"
            ) from error

    async def close(self) -> None:
        await self._process.close()

    def fault(self) -> str | None:
        return self._process.fault()

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        """Sound clause by clause. Raises InvalidRequest, NotFound, EngineFailed."""
        check(request, self.name, self.capabilities)
        if request.voice not in ("", *self.capabilities.voices):
            raise NotFound(f"no voice {request.voice[:100]!r}; there are: {', '.join(self.capabilities.voices)}")
        if not has_words(plain(request.text)):
            return
        async with aclosing(spoken(self._process, request)) as chunks:
            async for samples in chunks:
                yield samples
