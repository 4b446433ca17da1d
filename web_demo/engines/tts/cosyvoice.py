"""Upstream's CosyVoice3 (https://github.com/FunAudioLLM/CosyVoice), from the git submodule third_party/CosyVoice.

Its packages (its requirements.txt) clash with the pins of this project, so it wants a virtual environment of its own.
One thread owns the model: upstream keeps the state of a running synthesis in shared dictionaries that only its own end
cleans up, so requests go one after the other, and an abandoned one runs to the end of its piece without being heard.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from web_demo.audio.samples import Samples, from_wav, to_wav
from web_demo.engines.base import Capabilities, SpeechRequest, VoicePrompt
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
from web_demo.errors import EngineFailed, NotFound, SetupError, Unavailable
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

log = logging.getLogger(__name__)

GET_SUBMODULE = "git submodule update --init --recursive third_party/CosyVoice"
GET_PACKAGES = "pip install -r third_party/CosyVoice/requirements.txt"

SYSTEM_PROMPT = "You are a helpful assistant."  # CosyVoice3 was trained with it before every prompt
END_OF_PROMPT = "<|endofprompt|>"
REMEMBERED_VOICES = 32

Put = Callable[[Samples | Exception | None], None]


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def model_path(self) -> Path | None: ...
    @property
    def device(self) -> str: ...
    @property
    def use_vllm(self) -> bool: ...
    @property
    def use_trt(self) -> bool: ...
    @property
    def fp16(self) -> bool: ...


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
        use_vllm: bool = False,
        use_trt: bool = False,
        fp16: bool = False,
        submodule: Path = SUBMODULE,
    ) -> None:
        self._path = model_path
        self._options = {"load_vllm": use_vllm, "load_trt": use_trt, "fp16": fp16}
        self._submodule = submodule
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cosyvoice")
        self._upstream: Any = None
        self._voices: OrderedDict[str, None] = OrderedDict()  # names of upstream's cached features, the oldest first
        self.model = model_path.name
        self.device = device
        self.sample_rate = 24_000

    async def start(self) -> None:
        if why_not := missing(self._path, self._submodule):
            raise SetupError(f"the cosyvoice engine cannot start: {why_not}")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def close(self) -> None:
        self._upstream = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    def fault(self) -> str | None:
        return None  # upstream pins a torch that has no type of error for a lost GPU

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        if self._upstream is None:
            raise Unavailable("the cosyvoice engine is not running")
        check(request, self.name, self.capabilities)
        if not has_words(plain(request.text)):
            return
        if request.prompt is None and request.voice not in ("", *BUILT_IN):
            raise NotFound(f"no voice {request.voice[:100]!r}; there are: {', '.join(BUILT_IN)}")
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Samples | Exception | None] = asyncio.Queue()
        abandoned = threading.Event()

        def put(item: Samples | Exception | None) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, item)

        work = loop.run_in_executor(self._thread, self._work, request, put, abandoned)
        try:
            while (item := await arrived.get()) is not None:
                if isinstance(item, Exception):
                    raise EngineFailed("the model could not speak this text (see the log)") from item
                yield item
        finally:
            abandoned.set()
            await asyncio.wait({work})  # the model is busy until then: so is this engine's one place

    # --- in the one thread --------------------------------------------------------------------------------------------

    def _load(self) -> None:
        for folder in (self._submodule / "third_party" / "Matcha-TTS", self._submodule):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        _choose_gpu(self.device)
        try:
            if self._options["load_vllm"]:
                from cosyvoice.vllm.cosyvoice2 import CosyVoice2ForCausalLM
                from vllm import ModelRegistry

                ModelRegistry.register_model("CosyVoice2ForCausalLM", CosyVoice2ForCausalLM)
            from cosyvoice.cli.cosyvoice import AutoModel
        except ImportError as error:
            raise SetupError(
                f"the cosyvoice engine needs upstream's packages ({error}), best in a virtual environment of their own: "
                f"{GET_PACKAGES}" + ("; pip install vllm" if self._options["load_vllm"] else "")
            ) from error
        self._upstream = AutoModel(model_dir=str(self._path), **self._options)
        self.sample_rate = int(self._upstream.sample_rate)

    def _work(self, request: SpeechRequest, put: Put, abandoned: threading.Event) -> None:
        try:
            # To the end even when nobody listens: only there upstream forgets the state of this synthesis.
            for output in self._infer(request) if not abandoned.is_set() else ():
                if not abandoned.is_set():
                    put(np.ascontiguousarray(output["tts_speech"].cpu().numpy()[0], np.float32))
        except Exception as error:
            log.exception("synthesis failed")
            put(error)
        else:
            put(None)

    def _infer(self, request: SpeechRequest) -> Iterator[dict[str, Any]]:
        """Which of upstream's ways to speak, with the prompt spelt as CosyVoice3 was trained.

        Its text front end is off: the text came as words, and cut, and it would skip both for text that looks
        like a token.
        """
        prompt = request.prompt or self._reference()
        instruction = request.instruction or ("" if request.prompt else BUILT_IN[request.voice or DEFAULT_VOICE])
        text = plain(request.text)
        how = {"stream": request.speed == 1.0, "speed": request.speed, "text_frontend": False}
        # Upstream ignores the words given beside a cached voice: they are part of what is cached.
        if instruction:
            voice = self._cached(prompt, f"{SYSTEM_PROMPT} {plain(instruction)}{END_OF_PROMPT}")
            return iter(self._upstream.inference_instruct2(text, "", "", zero_shot_spk_id=voice, **how))
        voice = self._cached(prompt, f"{SYSTEM_PROMPT}{END_OF_PROMPT}{plain(prompt.text)}")
        if same_script(text, prompt.text):
            return iter(self._upstream.inference_zero_shot(text, "", "", zero_shot_spk_id=voice, **how))
        text = f"{SYSTEM_PROMPT}{END_OF_PROMPT}{text}"
        return iter(self._upstream.inference_cross_lingual(text, "", zero_shot_spk_id=voice, **how))

    def _reference(self) -> VoicePrompt:
        return VoicePrompt(from_wav((self._submodule / REFERENCE_WAV).read_bytes()), REFERENCE_TEXT)

    def _cached(self, prompt: VoicePrompt, words: str) -> str:
        """Upstream's name for the features of `prompt` with `words`, computed the first time."""
        recording = to_wav(prompt.audio)
        name = hashlib.sha256(recording + words.encode()).hexdigest()
        if name not in self._voices:
            with tempfile.TemporaryDirectory() as folder:  # upstream reads files only; gone when it has
                path = Path(folder) / "prompt.wav"
                path.write_bytes(recording)
                self._upstream.add_zero_shot_spk(words, str(path), name)
        self._voices[name] = None
        self._voices.move_to_end(name)
        while len(self._voices) > REMEMBERED_VOICES:
            oldest, _ = self._voices.popitem(last=False)
            self._upstream.frontend.spk2info.pop(oldest, None)
        return name


def _choose_gpu(device: str) -> None:
    """Upstream takes the first GPU that it sees, in threads of its own: so it must see the right one only."""
    if device == "auto":
        return
    if "torch" in sys.modules:
        raise SetupError(
            f"--device {device} came too late: torch had chosen its GPUs; set CUDA_VISIBLE_DEVICES instead"
        )
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)


def missing(model_path: Path | None, submodule: Path = SUBMODULE) -> str | None:
    """What is not there, and the command that gets it."""
    if not (submodule / "cosyvoice" / "cli" / "cosyvoice.py").is_file():
        return f"third_party/CosyVoice is empty; get it with: {GET_SUBMODULE}"
    if not any((submodule / "third_party" / "Matcha-TTS").glob("*")):
        return f"third_party/CosyVoice/third_party/Matcha-TTS is empty; get it with: {GET_SUBMODULE}"
    if model_path is None or not (model_path / "cosyvoice3.yaml").is_file():
        return f"there are no CosyVoice3 weights in {model_path}; get them with scripts/download_models.sh"
    return None


def unavailable(settings: Settings) -> str | None:
    if why_not := missing(settings.model_path):
        return why_not
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("hyperpyyaml") is None:
        return f"its packages are not installed; get them with: {GET_PACKAGES}"
    return None


def create(settings: Settings) -> CosyVoiceTts:
    if why_not := unavailable(settings):
        raise SetupError(f"the cosyvoice engine cannot run: {why_not}")
    assert settings.model_path is not None
    return CosyVoiceTts(
        settings.model_path,
        settings.device,
        use_vllm=settings.use_vllm,
        use_trt=settings.use_trt,
        fp16=settings.fp16,
    )
