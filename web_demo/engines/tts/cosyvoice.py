"""Upstream's CosyVoice3 (https://github.com/FunAudioLLM/CosyVoice), from the git submodule third_party/CosyVoice.

Its packages clash with the pins of this project, so it runs in a child process with an environment of its own. It speaks one
request at a time: it keeps the state of a running synthesis on the model. It can wait for ever for a thread that died, and knows
no cancelling: a child that makes no progress, or does not let go of an abandoned request, is ended and started again.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from web_demo.audio.samples import Samples, from_wav, to_wav
from web_demo.children.gpus import one_gpu
from web_demo.children.supervisor import Supervisor
from web_demo.engines.base import Capabilities, SpeechRequest, VoicePrompt
from web_demo.engines.remedies import get_weights
from web_demo.engines.tts.cosyvoice_voices import (
    BUILT_IN,
    DEFAULT_VOICE,
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
from web_demo.engines.tts.upstream.messages import Abandon, Done, Failed, How, Load, Loaded, Progress, Sound, Speak
from web_demo.engines.tts.upstream.speaker import GET_PACKAGES
from web_demo.errors import EngineFailed, InvalidRequest, NotFound, SetupError, Unavailable
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

OWN_PYTHON = SUBMODULE.parents[1] / ".venv-cosyvoice" / "bin" / "python"

SYSTEM_PROMPT = "You are a helpful assistant."  # CosyVoice3 was trained with it before every prompt
END_OF_PROMPT = "<|endofprompt|>"
MAX_PROMPT_S = 30.0  # upstream takes no more

READY_S = 600.0  # weights from a slow disk, the first TensorRT engine
PATIENCE_S = 120.0  # how long a request waits for a child that is starting again
STALL_S = 90.0  # the longest single step of the model: a block of layers over a long prompt on a CPU
ABANDON_S = 3.0  # from asking the child to stop a request to ending it


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def model_path(self) -> Path | None: ...
    @property
    def device(self) -> str: ...
    @property
    def use_trt(self) -> bool: ...
    @property
    def fp16(self) -> bool: ...
    @property
    def cosyvoice_python(self) -> Path | None: ...


class _Died(Exception):
    """The child ended over a request."""


class CosyVoiceTts:
    name = "cosyvoice"
    capabilities = Capabilities(
        languages=LANGUAGES,
        voices=tuple(BUILT_IN),
        cloning=True,
        speeds=SPEEDS,
        instructions=True,
        min_piece_chars=MIN_PIECE_CHARS,
        max_piece_chars=MAX_PIECE_CHARS,
        max_concurrency=1,
    )

    def __init__(
        self,
        model_path: Path,
        device: str = "auto",
        *,
        use_trt: bool = False,
        fp16: bool = False,
        submodule: Path = SUBMODULE,
        python: Path | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        """Raises SetupError for a device that upstream cannot use."""
        self._path = model_path
        self._submodule = submodule
        self._stall_s = stall_s
        self._child = Supervisor(
            "cosyvoice",
            "web_demo.engines.tts.upstream.worker",
            Load(str(model_path), device, use_trt, fp16),
            on_message=self._arrived,
            on_death=lambda: self._post(None),
            ready_timeout_s=READY_S,
            stop_s=0,  # it has nothing to put in order, and may be in the middle of a piece
            python=str(python_of(python)),
            environment=environment(device, os.environ.get("CUDA_VISIBLE_DEVICES"), submodule),
        )
        self._turn = asyncio.Lock()
        self._number = 0
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()  # of the request under way; None: the child has ended
        self.model = model_path.name
        self.device = device
        self.sample_rate = 24_000

    async def start(self) -> None:
        if why_not := missing(self._path, self._submodule):
            raise SetupError(f"the cosyvoice engine cannot start: {why_not}")
        await self._child.start()
        loaded: Loaded = self._child.ready
        self.sample_rate = loaded.sample_rate
        if self.device == "auto":
            self.device = "cuda:0" if loaded.device == "cuda" else loaded.device

    async def close(self) -> None:
        await self._child.close()
        self._post(None)

    def fault(self) -> str | None:
        return self._child.fault()

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        """A request over which the child dies is tried once more, unless some of it was heard."""
        check(request, self.name, self.capabilities)
        if not has_words(plain(request.text)):
            return
        asked = self._asked(request)
        async with self._turn:
            for is_last in (False, True):
                await self._ready()
                sounded = False
                try:
                    async with aclosing(self._speak(asked)) as chunks:
                        async for samples in chunks:
                            sounded = True
                            yield samples
                except _Died as error:
                    if sounded or is_last:
                        raise EngineFailed(
                            "the cosyvoice process ended over this text, and is started again"
                        ) from error
                else:
                    return

    def _asked(self, request: SpeechRequest) -> Speak:
        if request.prompt is None and request.voice not in ("", *BUILT_IN):
            raise NotFound(f"no voice {request.voice[:100]!r}; there are: {', '.join(BUILT_IN)}")
        prompt = request.prompt or self._reference()
        if prompt.audio.seconds > MAX_PROMPT_S:
            raise InvalidRequest(
                f"the recording lasts {prompt.audio.seconds:.2f} s; at most {MAX_PROMPT_S:g} s are taken"
            )
        how, text, words = spelt(request, prompt.text)
        # Upstream stretches whole sounds only, and streaming costs more: each chunk is computed with all before it.
        stream = request.streamed and request.speed == 1.0
        return Speak(0, how, text, words, to_wav(prompt.audio), stream, request.speed)

    def _reference(self) -> VoicePrompt:
        return VoicePrompt(from_wav((self._submodule / REFERENCE_WAV).read_bytes()), REFERENCE_TEXT)

    async def _ready(self) -> None:
        if not self._child.running:
            raise Unavailable("the cosyvoice engine is not running")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._child.wait_ready()
        except TimeoutError:
            raise Unavailable(f"{self._child.fault()}; please try again in a moment") from None

    async def _speak(self, asked: Speak) -> AsyncGenerator[Samples, None]:
        """Raises _Died, and EngineFailed when the model failed or stood still."""
        self._number += 1
        self._inbox = asyncio.Queue()
        self._child.send(Speak(**{**vars(asked), "number": self._number}))
        is_over = False
        try:
            while True:
                message = await self._message(self._stall_s)
                is_over = message is None or isinstance(message, Done | Failed)
                match message:
                    case Sound():
                        yield np.frombuffer(message.samples, np.float32).copy()
                    case Failed():
                        raise EngineFailed("the model could not speak this text (see the log)")
                    case Done():
                        return
                    case None:
                        raise _Died
        except TimeoutError:
            is_over = True
            self._child.kill(f"made no progress for {self._stall_s:g} s")
            raise EngineFailed("the model stood still over this text, and is started again") from None
        finally:
            if not is_over:
                await self._abandon()

    async def _abandon(self) -> None:
        """Returns when the child is through with the request under way, or is not there any more."""
        self._child.send(Abandon(self._number))
        try:
            async with asyncio.timeout(ABANDON_S):
                while not isinstance(await self._inbox.get(), Done | Failed | None):
                    pass
        except TimeoutError:
            self._child.kill(f"did not stop an abandoned request within {ABANDON_S:g} s")
        except asyncio.CancelledError:
            self._child.kill("was left in the middle of a request")
            raise

    async def _message(self, timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            return await self._inbox.get()

    def _arrived(self, message: Sound | Progress | Failed | Done) -> None:
        if message.number == self._number:
            self._post(message)

    def _post(self, message: Sound | Progress | Failed | Done | None) -> None:
        self._inbox.put_nowait(message)


def spelt(request: SpeechRequest, prompt_text: str) -> tuple[How, str, str]:
    """Which of upstream's ways to speak, the text for it, and the words of the recording: spelt as CosyVoice3 was trained."""
    instruction = request.instruction or ("" if request.prompt else BUILT_IN[request.voice or DEFAULT_VOICE])
    text, prompt_text = plain(request.text), plain(prompt_text)
    if instruction:
        return "instruct2", text, f"{SYSTEM_PROMPT} {plain(instruction)}{END_OF_PROMPT}"
    words = f"{SYSTEM_PROMPT}{END_OF_PROMPT}{prompt_text}"
    if same_script(text, prompt_text):
        return "zero_shot", text, words
    return "cross_lingual", f"{SYSTEM_PROMPT}{END_OF_PROMPT}{text}", words


def environment(device: str, visible: str | None, submodule: Path) -> dict[str, str]:
    """Of the child; `visible`: what CUDA_VISIBLE_DEVICES is here. Raises SetupError for a device that it cannot have."""
    folders = (submodule, submodule / "third_party" / "Matcha-TTS")
    return {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "TQDM_DISABLE": "1",
        **one_gpu(device, visible, "the cosyvoice engine"),
    }


def python_of(chosen: Path | None) -> Path:
    """The interpreter that has upstream's packages."""
    return chosen or (OWN_PYTHON if OWN_PYTHON.exists() else Path(sys.executable))


def missing(model_path: Path | None, submodule: Path = SUBMODULE) -> str | None:
    """What is not there, and the command that gets it."""
    if not (submodule / "cosyvoice" / "cli" / "cosyvoice.py").is_file():
        return f"third_party/CosyVoice is empty; get it with: {GET_PACKAGES}"
    if not any((submodule / "third_party" / "Matcha-TTS").glob("*")):
        return f"third_party/CosyVoice/third_party/Matcha-TTS is empty; get it with: {GET_PACKAGES}"
    if model_path is None or not (model_path / "cosyvoice3.yaml").is_file():
        return f"there are no CosyVoice3 weights in {model_path}; get them with {get_weights('tts')}"
    return None


def unavailable(settings: Settings) -> str | None:
    """Why this engine cannot run here, as far as files tell."""
    if why_not := missing(settings.model_path):
        return why_not
    python = python_of(settings.cosyvoice_python)
    if not python.exists():
        return f"there is no {python} (given as --cosyvoice-python)"
    if str(python) == sys.executable and importlib.util.find_spec("hyperpyyaml") is None:
        return f"its packages are not installed; get them with: {GET_PACKAGES}"
    return None


def create(settings: Settings) -> CosyVoiceTts:
    if why_not := unavailable(settings):
        raise SetupError(f"the cosyvoice engine cannot run: {why_not}")
    assert settings.model_path is not None
    return CosyVoiceTts(
        settings.model_path,
        settings.device,
        use_trt=settings.use_trt,
        fp16=settings.fp16,
        python=settings.cosyvoice_python,
    )
