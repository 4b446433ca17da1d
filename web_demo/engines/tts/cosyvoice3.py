"""Fun-CosyVoice3 as a text-to-speech engine, in this project's own code: saved speakers, cloning, instructions.

The work is done by one thread (`web_demo.models.cosyvoice3.engine.synthesizer`) for all requests together; this module turns
requests into jobs and jobs into async generators.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from utils.threads import off_loop
from web_demo.audio.samples import Samples, from_wav
from web_demo.engines.base import Capabilities, SpeechRequest, VoicePrompt
from web_demo.engines.remedies import get_packages, get_weights
from web_demo.engines.tts.cosyvoice_voices import (
    BUILT_IN,
    LANGUAGES,
    MAX_PIECE_CHARS,
    MIN_PIECE_CHARS,
    REFERENCE_TEXT,
    REFERENCE_WAV,
    SPEEDS,
    SUBMODULE,
    same_script,
)
from web_demo.engines.tts.limits import check
from web_demo.errors import EngineFailed, InvalidRequest, ServiceError, SetupError
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

if TYPE_CHECKING:
    from web_demo.models.cosyvoice3.engine.bundle import CosyVoice3
    from web_demo.models.cosyvoice3.engine.job import Event
    from web_demo.models.cosyvoice3.lm.generate import LmInput
    from web_demo.models.cosyvoice3.lm.vllm.remote import VllmLm
    from web_demo.models.cosyvoice3.voices import Voice

log = logging.getLogger(__name__)

STREAMS = 32
SLOW = "on a CPU a second of speech takes 8 to 11 s of processor time (deploy/benchmarks/cosyvoice3.md)"
_REMEMBERED_PROMPTS = 32
_NEEDED = ("torch", "transformers", "onnxruntime", "kaldi_native_fbank", "yaml")


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def model_path(self) -> Path | None: ...
    @property
    def device(self) -> str: ...
    @property
    def fp16(self) -> bool: ...
    @property
    def use_vllm(self) -> bool: ...
    @property
    def vllm_python(self) -> Path | None: ...


class CosyVoice3Engine:
    name = "cosyvoice3"

    def __init__(
        self, directory: Path, device: str, *, streams: int = STREAMS, dtype: str = "auto", vllm: VllmLm | None = None
    ) -> None:
        """`vllm`: the language model, where it is not our own."""
        self._directory = directory
        self._vllm = vllm
        self._device = device
        self._streams = streams
        self._dtype = dtype
        self._models: CosyVoice3 | None = None
        self._built_in: dict[str, str] = {}  # voices of the reference recording, with how to speak
        self._prompts: OrderedDict[tuple[bytes, int, str], Voice] = OrderedDict()

    @property
    def model(self) -> str:
        return self._directory.name

    @property
    def device(self) -> str:
        return self._device

    @property
    def sample_rate(self) -> int:
        return self._loaded.token2wav.sample_rate

    @property
    def capabilities(self) -> Capabilities:
        voices = self._models.voices.names if self._models is not None else ()
        return Capabilities(
            languages=LANGUAGES,
            voices=voices,
            cloning=True,
            speeds=SPEEDS,
            instructions=True,
            min_piece_chars=MIN_PIECE_CHARS,
            max_piece_chars=MAX_PIECE_CHARS,
            max_concurrency=self._streams,
        )

    async def start(self) -> None:
        """Load the weights and record the GPU's graphs; raises SetupError with what is missing."""
        from web_demo.models.cosyvoice3.engine.bundle import load_models

        if self._vllm is not None:
            await self._vllm.start()  # first: it takes its share of the GPU, and what is left is planned with
        self._models = await off_loop(
            load_models,
            self._directory,
            device=self._device,
            dtype=self._dtype,
            streams=self._streams,
            lm=self._vllm,
        )
        await off_loop(self._add_built_in_voices)
        self._models.synthesizer.start()

    async def close(self) -> None:
        if self._models is not None:
            await off_loop(self._models.synthesizer.close)
            self._models = None
        if self._vllm is not None:
            await self._vllm.close()

    def fault(self) -> str | None:
        if self._models is None:
            return None
        return self._models.synthesizer.fault or (self._vllm.fault() if self._vllm is not None else None)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        """Raises NotFound for an unknown voice, InvalidRequest for a bad recording or a speed out of range, EngineFailed,
        and Unavailable once the synthesizer has stopped. A text without words gives nothing."""
        from web_demo.models.cosyvoice3.engine.job import Finished, new_job

        models = self._loaded
        check(request, self.name, self.capabilities)
        text = plain(request.text)
        if not has_words(text):
            return
        voice, inputs = await off_loop(self._prepare, request, text)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = new_job(
            inputs,
            voice,
            seed=secrets.randbits(63),
            emit=lambda event: _post(loop, events, event),
            speed=request.speed,
        )
        models.synthesizer.submit(job)
        try:
            while not isinstance(event := await events.get(), Finished):
                yield event
        finally:
            models.synthesizer.cancel(job)
        _raise_failure(event.error)

    def _prepare(self, request: SpeechRequest, text: str) -> tuple[Voice, list[LmInput]]:
        """Voice and input of a request; runs in a worker thread, one request at a time."""
        models = self._loaded
        instruction = plain(request.instruction)
        with models.frontend_lock:
            if request.prompt is not None:
                voice, words = self._cloned(request.prompt), request.prompt.text
            else:
                voice = models.voices.get(request.voice)
                words = REFERENCE_TEXT if request.voice in self._built_in else ""
                instruction = instruction or self._built_in.get(request.voice, "")
            if words and not same_script(text, words):
                voice = replace(voice, prompt_text=())  # cross-lingual: the recording's words would lead the LM astray
            return voice, [models.frontend.lm_input(text, voice, instruction)]

    def _cloned(self, prompt: VoicePrompt) -> Voice:
        """The voice of a recording; the last ones are remembered, because reading one takes a while."""
        key = (hashlib.sha256(prompt.audio.samples.tobytes()).digest(), prompt.audio.rate, prompt.text)
        if key not in self._prompts:
            self._prompts[key] = self._loaded.frontend.voice(prompt.audio, plain(prompt.text))
            while len(self._prompts) > _REMEMBERED_PROMPTS:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(key)
        return self._prompts[key]

    def _add_built_in_voices(self) -> None:
        """Where the model directory has no speakers (the released one has none), the classic names speak with the
        recording that comes with upstream's code, if that is there."""
        models, recording = self._loaded, SUBMODULE / REFERENCE_WAV
        if models.voices.names or not recording.is_file():
            return
        voice = models.frontend.voice(from_wav(recording.read_bytes()), REFERENCE_TEXT)
        self._built_in = dict(BUILT_IN)
        for name in self._built_in:
            models.voices.add(name, voice)

    @property
    def _loaded(self) -> CosyVoice3:
        if self._models is None:
            raise EngineFailed("the cosyvoice3 engine is not started")
        return self._models


def _post(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    """From the synthesizer's thread; a loop that was closed meanwhile has nobody listening any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(events.put_nowait, event)


def _raise_failure(error: Exception | None) -> None:
    if error is None:
        return
    if isinstance(error, ServiceError):
        raise error
    if isinstance(error, ValueError):
        raise InvalidRequest(str(error)) from error
    raise EngineFailed("speech synthesis failed; please try again") from error


def unavailable(settings: Settings) -> str | None:
    """Why this engine is not to be chosen here. On a CPU it is far from real time, so only when asked by name, or for vLLM."""
    why_not = _missing(settings)
    if why_not is None and not settings.use_vllm and not _device(settings).startswith("cuda"):
        return f"no CUDA device, and {SLOW}: it runs there only if --engine names it"
    return why_not


def _device(settings: Settings) -> str:
    from web_demo.models.runtime.device import choose_device

    return choose_device(settings.device)


def _missing(settings: Settings) -> str | None:
    """Why it cannot run here; looks at packages and files and loads nothing."""
    if settings.model_path is None or not (settings.model_path / "cosyvoice3.yaml").is_file():
        return f"there are no weights in {settings.model_path}: {get_weights('tts')}"
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    return f"the packages {', '.join(missing)} are not installed: {get_packages()}" if missing else None


def create(settings: Settings) -> CosyVoice3Engine:
    if why_not := _missing(settings):
        raise SetupError(f"the cosyvoice3 engine cannot run: {why_not}")
    assert settings.model_path is not None
    device = _device(settings)
    if not device.startswith("cuda"):
        log.warning("device=%s: %s", device, SLOW)
    dtype = "float16" if settings.fp16 else "auto"
    vllm = _vllm_lm(settings.model_path, device, dtype, settings.vllm_python) if settings.use_vllm else None
    return CosyVoice3Engine(settings.model_path, device, dtype=dtype, vllm=vllm)


def _vllm_lm(directory: Path, device: str, dtype: str, python: Path | None) -> VllmLm:
    from web_demo.models.cosyvoice3.engine.bundle import CPU_STREAMS, LM_CAPACITY
    from web_demo.models.cosyvoice3.engine.synthesizer import AHEAD
    from web_demo.models.cosyvoice3.lm.vllm.remote import OWN_PYTHON, VllmLm
    from web_demo.models.runtime.device import choose_dtype, require

    require(device)
    return VllmLm(
        directory,
        device=device,
        dtype=str(choose_dtype(dtype, device)).removeprefix("torch."),
        slots=AHEAD * (STREAMS if device.startswith("cuda") else CPU_STREAMS),
        capacity=LM_CAPACITY,
        python=python or OWN_PYTHON,
    )
