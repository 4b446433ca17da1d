"""The TTS service behind its HTTP faces: its engine, its voices, and what of a request goes to the engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.engines.base import SpeechRequest, TtsEngine, VoicePrompt
from web_demo.engines.choice import Choice, choose
from web_demo.engines.tts import cosyvoice
from web_demo.errors import InvalidRequest, NotFound, SetupError
from web_demo.server.common.budgets import Budget, Turns, client_of
from web_demo.server.common.service import EngineHost
from web_demo.server.tts import prompts, requests, voices
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.requests import SynthesisRequest
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.speakers import SpeakerStore, normal
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

log = logging.getLogger(__name__)


def choose_engine(settings: TtsSettings) -> Choice:
    """As `choose`, but what only the cosyvoice engine can do asks for that one first. Raises SetupError."""
    if settings.use_vllm and settings.engine in ("cosyvoice", "embedded", "openai"):
        raise SetupError(f"--use-vllm works with --engine cosyvoice3 only, not with --engine {settings.engine}")
    if not settings.use_trt:
        return choose("tts", settings)
    if settings.engine not in ("auto", "cosyvoice"):
        raise SetupError(f"--use-trt works with --engine cosyvoice only, not with --engine {settings.engine}")
    why_not = cosyvoice.unavailable(settings)
    if settings.engine == "cosyvoice" or why_not is None:
        return Choice("cosyvoice", "the engine for --use-trt")
    other = choose("tts", settings)
    log.warning("--use-trt is without effect: %s", why_not)
    return Choice(other.name, f"cosyvoice, for --use-trt: {why_not}; {other.reason}")


class TtsService(EngineHost[TtsSettings, TtsEngine]):
    """The engine, the voices, and who may use them when."""

    def __init__(self, settings: TtsSettings, engine: TtsEngine, choice: Choice, metrics: TtsMetrics) -> None:
        super().__init__(settings, engine, choice)
        self.metrics = metrics
        self.speakers = SpeakerStore(settings.speakers_dir)
        self.places = Budget(
            lambda: settings.max_requests,
            per_client=max(1, settings.max_requests // 2),
            refused=metrics.requests.labels("busy").inc,
        )
        self.turns = Turns(engine.capabilities.max_concurrency)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            **self._vllm(),
            "cloning": self.engine.capabilities.cloning,
            "keeps_voices": self.settings.speakers_dir is not None,
            "requests": self.places.taken,
            "max_requests": self.settings.max_requests,
        }

    def _vllm(self) -> dict[str, Any]:
        """Whether the language model runs in vLLM; else why not. An engine that cannot do as it was told does not start."""
        if not self.settings.use_vllm:
            return {"vllm_enabled": False, "vllm_reason": "not asked for: --use-vllm, with --engine cosyvoice3"}
        if self.engine.name != "cosyvoice3":
            reason = f"the {self.engine.name} engine runs, which has no language model: {self.choice.reason}"
            return {"vllm_enabled": False, "vllm_reason": reason}
        return {"vllm_enabled": True}

    def require_room(self, request: web.Request) -> None:
        """Before a body is read in vain. Raises Busy or Unavailable."""
        self.health.require()
        self.places.require_room(client_of(request))

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[str]:
        """A place for one request whose body is there; whose it is, for its turns. Raises Busy or Unavailable."""
        self.health.require()
        client = client_of(request)
        with self.places.admit(client), self.metrics.under_way.track_inprogress():
            yield client

    async def engine_requests(self, asked: SynthesisRequest, *, streamed: bool = True) -> list[SpeechRequest]:
        """One request for the engine for each piece of the text, all with the same voice. `streamed`: the client gets sound while
        it is made."""
        voice, prompt = normal(asked.voice), None
        if asked.has_prompt:
            prompt = await self._prompt(asked)
        elif asked.prompt_text:
            raise InvalidRequest("prompt_text came without prompt_wav, the recording in which it is said")
        elif voice in self.speakers:
            prompt = await off_loop(self.speakers.prompt, voice)
        else:
            voice = self._known_voice(voice)
        return [
            SpeechRequest(piece, voice, asked.speed, prompt, asked.instruction, streamed=streamed)
            for piece in asked.pieces
        ]

    async def _prompt(self, asked: SynthesisRequest) -> VoicePrompt:
        voices.require_cloning(self.engine)
        if not has_words(plain(asked.prompt_text)):
            raise InvalidRequest("prompt_wav needs prompt_text: what is said in the recording, word for word")
        if len(asked.prompt_text) > prompts.MAX_PROMPT_CHARS:
            raise InvalidRequest(
                f"prompt_text has {len(asked.prompt_text)} characters; 30 s of speech have at most "
                f"{prompts.MAX_PROMPT_CHARS}"
            )
        audio = await off_loop(prompts.decode, await off_loop(self._recording, asked))
        return VoicePrompt(audio, asked.prompt_text)

    def _recording(self, asked: SynthesisRequest) -> bytes:
        if asked.prompt_audio:
            return asked.prompt_audio
        if asked.prompt_wav.startswith("data:"):
            return prompts.from_base64(asked.prompt_wav)
        if "://" in asked.prompt_wav:
            raise InvalidRequest("prompt_wav cannot be a URL: send the recording itself, as data:audio/wav;base64,…")
        return prompts.from_path(asked.prompt_wav, self.settings.prompt_dir)

    def _known_voice(self, voice: str) -> str:
        known = self.engine.capabilities.voices
        if not known or voice in known:  # an engine that lists none decides itself
            return voice
        if (alias := requests.OPENAI_VOICES.get(voice)) in known:
            return str(alias)
        added = tuple(speaker.name for speaker in self.speakers.list())
        raise NotFound(f"there is no voice {voice[:100]!r}; there are: {', '.join((*added, *known))}")


SERVICE = web.AppKey("tts", TtsService)
