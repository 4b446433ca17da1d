"""The S2S engine `funaudiochat`: Fun-Audio-Chat natively, many conversations in one batch.

Here is what surrounds the model (`model`): prompts, text, calls of functions. Nothing here imports torch before `start`, so that
the choice of engines can ask this module without it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from utils.threads import off_loop
from web_demo.audio.samples import Audio
from web_demo.detokenizer.backend import BackendSpec
from web_demo.engines.base import Capabilities, LimitReached, Step, TurnRequest
from web_demo.engines.remedies import get_packages, get_weights
from web_demo.engines.s2s.funaudiochat.frames import Reply, TextStream
from web_demo.engines.s2s.funaudiochat.model import ModelSpec, speech_model
from web_demo.engines.s2s.funaudiochat.prompt import conversation, generation_settings
from web_demo.engines.s2s.funaudiochat.tools import call_begun, may_be_tool_call, tool_calls, tool_settings
from web_demo.engines.s2s.functions import MAX_TOOL_ROUNDS
from web_demo.errors import Busy, EngineFailed, InvalidRequest, SetupError, Unavailable
from web_demo.models.funaudiochat.engine.scheduler import Full, Limits
from web_demo.models.funaudiochat.engine.sequence import EndReason, Frame, Request
from web_demo.models.funaudiochat.settings import GenerationSettings

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.processor import Processor, Prompt, PromptAudio

log = logging.getLogger(__name__)

FEW_SLOTS = 4  # conversations at once; fewer are worth a hint
MANY_SLOTS = 32  # where the memory that 8-bit weights save is not needed
PACKAGES = ("torch", "transformers", "safetensors")


class Settings(Protocol):
    """Of the service's settings, what this engine needs."""

    @property
    def model_path(self) -> Path | None: ...
    @property
    def tts_model_path(self) -> Path: ...
    @property
    def tts_gpu(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def speech_cache(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def max_sessions(self) -> int: ...


@dataclass(frozen=True)
class Loaded:
    """What `start` makes."""

    processor: Processor
    bad_words: tuple[tuple[int, ...], ...]
    codes_end: int


class FunAudioChatS2s:
    name = "funaudiochat"

    def __init__(
        self,
        folder: Path,
        device: str,
        speech: BackendSpec,
        limits: Limits | None = None,
        *,
        dtype: str = "auto",
        speech_cache: str = "auto",
    ) -> None:
        self._folder, self.device, self.speech = folder, device, speech
        self._dtype = dtype
        self._speech_model = speech_model(ModelSpec(folder, device, dtype, speech_cache, limits))
        self._loaded: Loaded | None = None
        self._audios: WeakKeyDictionary[Audio, PromptAudio] = WeakKeyDictionary()  # features of earlier turns

    @property
    def model(self) -> str:
        return self._folder.name

    @property
    def parts(self) -> Mapping[str, str]:
        return {}  # one model

    @property
    def capabilities(self) -> Capabilities:
        slots = self._speech_model.limits.slots if self._loaded else 1
        return Capabilities(instructions=True, user_audio_history=True, max_concurrency=slots)

    async def preload(self) -> None:
        self._speech_model.begin()
        await off_loop(
            importlib.import_module, "web_demo.models.funaudiochat.processor"
        )  # torch and transformers with it

    async def start(self) -> None:
        """Loads the weights (minutes for a large checkpoint) and measures how many sessions fit."""
        self._loaded = await self._load()
        log.info(
            "slots=%d pages=%d max_context=%d",
            self._speech_model.limits.slots,
            self._speech_model.limits.pages,
            self._speech_model.limits.max_context,
        )
        if self._speech_model.limits.slots < FEW_SLOTS and self.device.startswith("cuda") and self._dtype != "float8":
            log.warning("the GPU's memory holds few conversations: --dtype float8 needs 7 GB less for the weights")
        elif self._speech_model.limits.slots >= MANY_SLOTS and self._dtype == "float8":
            log.warning("--dtype float8 makes frames slower, and this GPU holds many conversations in 16 bits too")

    async def close(self) -> None:
        await self._speech_model.close()

    def fault(self) -> str | None:
        return self._speech_model.fault()

    async def transcribe(self, audio: Audio, client: str = "") -> str | None:
        """None: the model hears sound, and tells nobody the words."""
        return None

    async def forget(self, conversation_id: str) -> None:
        self._ready()
        self._speech_model.forget(conversation_id)

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        """Raises InvalidRequest (too long, too short), Busy, EngineFailed or Unavailable."""
        if turn.tools and len(turn.tool_exchanges) < MAX_TOOL_ROUNDS:
            begun = call_begun(turn)
            text, cut = await self._tool_text(turn, begun)
            calls = tool_calls(text, turn)
            for call in calls:
                yield call
            if cut:
                yield LimitReached()
            if calls or cut:
                return
            if begun:
                raise EngineFailed("the model wrote no call of a function, and one was demanded; please ask again")
        loaded = self._ready()
        settings = generation_settings(
            turn.sampling, bad_words=loaded.bad_words, speech=turn.speech, max_tokens=turn.max_tokens
        )
        prompt = await off_loop(self._prompt, turn, call_tools=False)
        request = Request(turn.turn_id, prompt, settings, turn.conversation_id, live=turn.speech)
        reply = Reply(self._decode, loaded.codes_end)
        made, cut = 0, False
        async with aclosing(self._frames(request)) as frames:
            async for frame in frames:
                made += 1
                cut = frame.end is EndReason.LENGTH and made == turn.max_tokens
                for step in reply.push(frame.text_id, frame.codes):
                    yield step
        if cut:
            yield LimitReached()

    async def _tool_text(self, turn: TurnRequest, begun: str) -> tuple[str, bool]:
        """What the model writes when it may call a function, after what was `begun` for it, and whether the turn's limit cut it.
        Ends as soon as it can be no call."""
        prompt = await off_loop(self._prompt, turn, call_tools=True, begun=begun)
        text, made, cut = begun, 0, False
        stream = TextStream(self._decode)
        request = Request(f"{turn.turn_id}.tools", prompt, tool_settings(turn.max_tokens))
        async with aclosing(self._frames(request)) as frames:
            async for frame in frames:
                made += 1
                cut = frame.end is EndReason.LENGTH and made == turn.max_tokens
                text += stream.push(frame.text_id)
                if not may_be_tool_call(text):
                    return "", False
        return text, cut

    async def _frames(self, request: Request) -> AsyncGenerator[Frame, None]:
        """The frames of one request; closing this aborts it between two frames."""
        limits = self._speech_model.limits
        arrived: asyncio.Queue[Frame | Exception] = asyncio.Queue(request.settings.max_new_tokens + 1)
        request = replace(request, settings=self._within_context(request.prompt, request.settings, limits))
        ended = False
        try:
            self._speech_model.submit(request, arrived.put_nowait)
            while not ended:
                item = await arrived.get()
                ended = isinstance(item, Exception) or item.end is not None
                if isinstance(item, Exception):
                    raise item
                if item.end is EndReason.FAILED:
                    raise EngineFailed("the model could not finish this answer; please ask again")
                yield item
        except Full as error:
            raise Busy("too many people are talking at once; please try again in a moment", 5) from error
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        finally:
            if not ended:
                self._speech_model.abort(request.request_id)

    @staticmethod
    def _within_context(prompt: Prompt, settings: GenerationSettings, limits: Limits) -> GenerationSettings:
        """A long conversation leaves less room for the answer, down to a quarter; beyond that it is refused."""
        room = limits.max_context - len(prompt.ids) + 1
        wanted = min(settings.max_new_tokens, limits.max_new_tokens)
        return replace(settings, max_new_tokens=min(wanted, max(room, wanted // 4, 1)))

    def _prompt(self, turn: TurnRequest, *, call_tools: bool, begun: str = "") -> Prompt:
        """`begun`: how the answer begins, which the model goes on with. Raises InvalidRequest for a turn without sound."""
        processor = self._ready().processor
        messages, sounds = conversation(turn, processor.audio_template, call_tools=call_tools)
        try:
            return processor.prompt(processor.render(messages) + begun, [self._prompt_audio(sound) for sound in sounds])
        except ValueError as error:
            raise InvalidRequest(f"that turn cannot be understood: {error}") from error

    def _prompt_audio(self, sound: Audio) -> PromptAudio:
        from web_demo.models.funaudiochat.processor import AudioInput, rounded_up_codes

        found = self._audios.get(sound)
        if found is None:
            processor = self._ready().processor
            codes = rounded_up_codes(len(sound.samples), sound.rate)
            found = processor.audio(AudioInput(sound.at(processor.sample_rate).samples, codes))
            self._audios[sound] = found
        return found

    def _decode(self, ids: Any) -> str:
        return str(self._ready().processor.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _ready(self) -> Loaded:
        if self._loaded is None:
            raise Unavailable("the speech model is still loading; please try again in a minute")
        return self._loaded

    async def _load(self) -> Loaded:
        from web_demo.models.funaudiochat.config import read_config
        from web_demo.models.funaudiochat.processor import Processor

        config = await off_loop(read_config, self._folder)
        processor = await off_loop(Processor, self._folder, config)
        await self._speech_model.start()
        bad_words = () if config.sil_id is None else ((config.audio_bos_id, config.sil_id),)
        return Loaded(processor, bad_words, config.audio.vocoder_codes)


def _device(asked: str) -> str:
    from web_demo.models.runtime.device import choose_device

    return choose_device(asked)


def unavailable(settings: Settings) -> str | None:
    """Why this engine cannot run here, or None. On a CPU the 8B model is far from real time, so only when asked by name."""
    if settings.model_path is None or not (settings.model_path / "config.json").is_file():
        return f"no weights at {settings.model_path}: {get_weights('s2s')}"
    if not (settings.tts_model_path / "cosyvoice3.yaml").is_file():
        return f"no weights of the detokenizer at {settings.tts_model_path}: {get_weights('tts')}"
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        return f"the packages {', '.join(missing)} are not installed: {get_packages()}"
    if not _device(settings.device).startswith("cuda"):
        return "no CUDA device"
    return None


def create(settings: Settings) -> FunAudioChatS2s:
    """The engine for a service's settings. Raises SetupError without a checkpoint folder."""
    if settings.model_path is None or not settings.model_path.is_dir():
        raise SetupError(f"{settings.model_path} (given as --model-path) is not a checkpoint folder")
    device = _device(settings.device)
    speech_device = f"cuda:{settings.tts_gpu}" if device.startswith("cuda") else "cpu"
    options = {
        "model_path": str(settings.tts_model_path),
        "device": speech_device,
        "slots": settings.max_sessions,
        "beside": settings.dtype if speech_device in (device, f"{device}:0") else "",
        "beside_cache": settings.speech_cache,
    }
    speech = BackendSpec("web_demo.engines.s2s.funaudiochat.detokenizer:create", options)
    return FunAudioChatS2s(
        settings.model_path, device, speech, dtype=settings.dtype, speech_cache=settings.speech_cache
    )
