"""Fun-ASR-Nano-2512 (and its 31-language sister MLT) through the funasr package.

The model is not thread-safe: one thread owns it, and requests that arrive together share one call. The CTC head is
switched off: with it funasr decodes one recording at a time, and word times from it need torchaudio.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.audio.vad import has_speech
from web_demo.engines.asr.batching import BatchLimits, MicroBatcher
from web_demo.engines.asr.hotwords import sanitised
from web_demo.engines.asr.languages import MLT_NANO, NAMES, NANO
from web_demo.engines.base import Capabilities, Segment, Transcript
from web_demo.engines.remedies import get_packages, get_weights
from web_demo.errors import DeviceLost, EngineFailed, InvalidRequest, ServiceError, SetupError, Unavailable

log = logging.getLogger(__name__)

FILES = ("config.yaml", "model.pt", "multilingual.tiktoken")
PACKAGES = ("torch", "funasr", "transformers")
MAX_TOKENS = 512  # of one piece's text


def unavailable(settings: Any) -> str | None:
    """Why this engine cannot run here, or None. Looks, does not load."""
    path: Path | None = settings.model_path
    if path is None:
        return "no --model-path"
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        return f"{path} lacks {', '.join(missing)}: {get_weights('asr')}"
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}: {get_packages()}" if absent else None


def create(settings: Any) -> FunAsr:
    """Needs `model_path`, `device` and `use_vllm` of the settings."""
    if (reason := unavailable(settings)) is not None:
        raise SetupError(f"the funasr engine cannot start: {reason}")
    return FunAsr(settings.model_path, settings.device, use_vllm=settings.use_vllm)


@dataclass(frozen=True)
class Prompt:
    """What the model is told beside the sound; a batch has one."""

    language: str
    hotwords: tuple[str, ...]
    itn: bool


@dataclass(frozen=True, eq=False)
class Task:
    samples: Samples  # [n] at SPEECH_RATE
    prompt: Prompt


class Model(Protocol):
    """The loaded model. Called from its owner thread only."""

    def texts(self, samples: Sequence[Samples], prompt: Prompt, max_tokens: int) -> list[str]:
        """Raises DeviceLost when it will never give a text again."""
        ...


class FunAsr:
    """Segment times are those of the piece that was given: the model has no word times. Cancelling a request that waits
    takes it out of the queue; one whose batch is running is thrown away when the batch is done."""

    name = "funasr"
    max_segment_s = 30.0

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        *,
        use_vllm: bool = False,
        limits: BatchLimits | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.model = path.name
        self.device = device
        self._path = path
        self._use_vllm = use_vllm
        self._limits = limits or BatchLimits()
        self._max_tokens = max_tokens
        self.capabilities = Capabilities(
            languages=MLT_NANO if "mlt" in path.name.lower() else NANO,
            hotwords=True,
            itn=True,
            timestamps="segment",
            max_concurrency=self._limits.max_items,
        )
        self._thread: ThreadPoolExecutor | None = None
        self._model: Model | None = None
        self._batcher: MicroBatcher[Task, str] | None = None
        self._fault: str | None = None

    async def start(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="funasr")
        self._model, self.device = await asyncio.get_running_loop().run_in_executor(
            self._thread, _load, self._path, self.device, self._use_vllm
        )
        self._batcher = MicroBatcher(self._run, self._thread, self._limits)
        self._batcher.start()

    async def close(self) -> None:
        if self._batcher is not None:
            await self._batcher.close()
            self._batcher = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        self._model = None

    def fault(self) -> str | None:
        return self._fault

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, hotwords: Sequence[str] = (), itn: bool = True
    ) -> Transcript:
        code = language or self.capabilities.languages[0]
        if code not in self.capabilities.languages:
            raise InvalidRequest(f"{self.model} knows {', '.join(self.capabilities.languages)}; got {language!r}")
        if self._batcher is None:
            raise EngineFailed("the funasr engine is not running")
        samples = await off_loop(_speech, audio)
        if samples is None:
            return Transcript("", code)
        prompt = Prompt(NAMES[code][0], tuple(clean for word in hotwords if (clean := sanitised(word))), itn)
        try:
            text = await self._batcher.submit(Task(samples, prompt), prompt, audio.seconds)
        except ServiceError:
            raise
        except Exception as error:
            log.exception("funasr failed seconds=%.1f", audio.seconds)
            raise EngineFailed("the recogniser failed on this recording; the service's log says more") from error
        segments = (Segment(text, 0.0, round(audio.seconds, 3)),) if text else ()
        return Transcript(text, code, segments)

    def _run(self, tasks: Sequence[Task]) -> list[str]:
        assert self._model is not None, "the model is loaded before the batcher starts"
        if self._fault is None:
            try:
                return self._model.texts([task.samples for task in tasks], tasks[0].prompt, self._max_tokens)
            except DeviceLost as error:
                log.exception("funasr lost its device")
                self._fault = f"the recogniser has stopped ({error}); the service must be restarted"
        raise Unavailable(self._fault)


def _speech(audio: Audio) -> Samples | None:
    """At SPEECH_RATE; None for silence, which a language model would make words of."""
    samples = audio.at(SPEECH_RATE).samples
    return samples if has_speech(samples) else None


def _load(path: Path, device: str, use_vllm: bool) -> tuple[Model, str]:
    from web_demo.models.runtime.device import choose_device, require

    device = choose_device(device)
    require(device)
    return (VllmModel(path, device) if use_vllm else TorchModel(path, device)), device


class TorchModel:
    """funasr's AutoModel. It opens strings as paths and URLs: it is only ever given tensors."""

    def __init__(self, path: Path, device: str) -> None:
        import funasr

        self._auto = funasr.AutoModel(
            model=str(path),
            device=device,
            disable_update=True,
            disable_pbar=True,
            disable_log=True,
            frontend_conf={"dither": 0.0},  # random noise by default: the same recording gave different texts
        )
        _require_weights(self._auto.model.state_dict(), path / "model.pt")
        self._auto.model.ctc_decoder = None

    def texts(self, samples: Sequence[Samples], prompt: Prompt, max_tokens: int) -> list[str]:
        import torch

        try:
            results = self._auto.generate(
                input=[torch.from_numpy(np.ascontiguousarray(one)) for one in samples],
                batch_size=len(samples),
                language=prompt.language,
                hotwords=list(prompt.hotwords),
                itn=prompt.itn,
                max_length=max_tokens,
                llm_kwargs={"do_sample": False},
            )
        except torch.AcceleratorError as error:
            raise DeviceLost(type(error).__name__) from error
        return [result["text"].strip() for result in results]


def _require_weights(parameters: Mapping[str, Any], file: Path) -> None:
    """Raises SetupError when the file lacks weights of the model: funasr only prints that, and leaves them random."""
    import torch

    content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    saved = {name.removeprefix("module.") for name in content.get("state_dict", content)}
    optional = ("ctc", "llm.lm_head")  # not used; tied to the embeddings
    missing = [name for name in parameters if name not in saved and not name.startswith(optional)]
    if missing:
        raise SetupError(f"{file} lacks {len(missing)} of the model's weights, such as {missing[0]}")


class VllmModel:
    """funasr's vLLM path: its own virtual environment, since the pins of vLLM clash with everything else's."""

    def __init__(self, path: Path, device: str) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise SetupError("--use-vllm needs an environment with vllm and funasr; this one has no vllm")
        from funasr import AutoModelVLLM

        self._auto = AutoModelVLLM(model=str(path), device=device)

    def texts(self, samples: Sequence[Samples], prompt: Prompt, max_tokens: int) -> list[str]:
        results = self._auto.generate(
            list(samples),
            language=prompt.language,
            hotwords=list(prompt.hotwords),
            itn=prompt.itn,
            max_new_tokens=max_tokens,
        )
        return [result["text"].strip() for result in results]
