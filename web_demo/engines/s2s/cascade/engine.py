"""The S2S engine that needs no model of its own: any recogniser, then a responder, then any voice, sentence by sentence.

The first sentence is spoken while the rest of the reply is still being written. By default the recogniser and the voice are those
of sherpa-onnx where its models are there, else the embedded ones, which need neither GPU nor weights.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from utils.threads import off_loop
from web_demo.audio.samples import Audio
from web_demo.engines import advice, registry
from web_demo.engines.asr.absent import NO_DEVICE
from web_demo.engines.asr.turns import TurnRecogniser
from web_demo.engines.base import (
    AsrEngine,
    Capabilities,
    Engine,
    Exchange,
    Heard,
    SpeechText,
    Step,
    TextDelta,
    TtsEngine,
    TurnRequest,
)
from web_demo.engines.choice import LIGHT, choose
from web_demo.engines.s2s.cascade.built_in import BuiltInResponder
from web_demo.engines.s2s.cascade.capacity import measured_sessions
from web_demo.engines.s2s.cascade.language_model import LlmResponder
from web_demo.engines.s2s.cascade.limited import LimitedResponder
from web_demo.engines.s2s.cascade.responder import Responder
from web_demo.engines.s2s.cascade.voice import EngineVoice
from web_demo.engines.tts.text import voice_language
from web_demo.errors import NothingHeard
from web_demo.text.frontend import SpokenSentences

log = logging.getLogger(__name__)

UNLIMITED = 10_000
NO_SPEECH = {
    "en": "no speech was heard in that turn; please speak closer to the microphone and try again",
    "zh": "这一轮没有听到说话声；请靠近麦克风再说一次",
}
NO_WORDS = {"en": "The answer has no words that can be spoken.", "zh": "这个回答里没有可以读出来的文字。"}


class EngineSettings(Protocol):
    """The settings of a recogniser or of a voice: what its own service has, and what its factory reads."""

    @property
    def engine(self) -> str: ...  # a name of the registry, or "auto"


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def recogniser(self) -> EngineSettings: ...
    @property
    def voice(self) -> EngineSettings: ...
    @property
    def tts_voice(self) -> str: ...  # "": the voice engine's default
    @property
    def llm_base_url(self) -> str: ...
    @property
    def llm_model(self) -> str: ...
    @property
    def llm_api_key(self) -> str: ...
    @property
    def llm_max_tokens(self) -> int: ...
    @property
    def llm_extra(self) -> Mapping[str, Any]: ...  # fields added to each request


class CascadeS2s:
    """`speech` is started and closed by whoever runs the engine, as a detokenizer is."""

    name = "embedded"

    def __init__(self, recogniser: AsrEngine, responder: Responder, voice: TtsEngine, voice_name: str = "") -> None:
        self._recogniser = recogniser
        self._responder = responder
        self._voice = voice
        self._voice_name = voice_name
        self._transcripts: WeakKeyDictionary[Audio, str] = (
            WeakKeyDictionary()
        )  # as long as a conversation keeps the sound
        self._being_heard: WeakKeyDictionary[Audio, asyncio.Lock] = WeakKeyDictionary()
        self._ears = TurnRecogniser(recogniser)
        self._sessions = UNLIMITED
        self.speech = voice.capabilities.backend or EngineVoice(voice)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            languages=self._recogniser.capabilities.languages,
            voices=self._voice.capabilities.voices,
            speeds=self._voice.capabilities.speeds,
            instructions=self._responder.follows_instructions,
            max_concurrency=self._sessions,
            better=advice.of_conversation(
                self._recogniser.capabilities.better, self._voice.capabilities.better, self._responder.better
            ),
        )

    @property
    def model(self) -> str:
        return f"{self._recogniser.model} + {self._responder.name} + {self._voice.model}"

    @property
    def device(self) -> str:
        return ", ".join(dict.fromkeys((self._recogniser.device, self._voice.device)))

    @property
    def parts(self) -> Mapping[str, str]:
        return {
            "recogniser": _description(self._recogniser),
            "responder": self._responder.name,
            "voice": _description(self._voice),
        }

    async def preload(self) -> None:
        """Nothing: no device is waited for."""

    async def start(self) -> None:
        await self._ears.start()
        if not self._recogniser.device.startswith(
            ("http", NO_DEVICE)
        ):  # somebody else's machine is not ours to measure
            self._sessions = await measured_sessions(self._recogniser)
            log.info("sessions=%d: as many as this machine hears soon when all speak", self._sessions)
        await self._responder.start()

    async def close(self) -> None:
        await self._responder.close()
        await self._ears.close()

    def fault(self) -> str | None:
        return self._recogniser.fault()

    async def forget(self, conversation_id: str) -> None:
        return

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        heard = ""
        if turn.audio is not None:
            heard = await self._words(turn.audio, turn.client, turn.spoken_language)
            if heard:
                yield Heard(heard)
            elif not turn.text:
                raise NothingHeard(NO_SPEECH[turn.language])
        history = [await self._read(exchange, turn.client) for exchange in turn.history]
        turn = replace(turn, history=tuple(history))
        asked = "\n".join(part for part in (heard, turn.text) if part)
        can = self._voice.capabilities
        voice_name = turn.voice if turn.voice in can.voices else self._voice_name
        sentences = SpokenSentences(
            can.max_piece_chars, voice_language=voice_language(voice_name, can) or turn.language
        )
        wrote = spoke = False
        async with aclosing(self._responder.reply(asked, turn)) as deltas:
            async for delta in deltas:
                if not isinstance(delta, str):
                    yield delta
                    continue
                yield TextDelta(delta)
                wrote = wrote or not delta.isspace()
                for sentence in await off_loop(sentences.push, delta):
                    spoke = True
                    yield SpeechText(sentence, voice_name, sentences.take_failures())
        for sentence in await off_loop(sentences.flush):
            spoke = True
            yield SpeechText(sentence, voice_name, sentences.take_failures())
        if wrote and not spoke:  # smileys, a picture: the user would hear nothing and not know why
            yield SpeechText(NO_WORDS[turn.language], voice_name)

    async def transcribe(self, audio: Audio, client: str = "") -> str:
        return await self._words(audio, client)

    async def _words(self, audio: Audio, client: str, language: str = "") -> str:
        """`language` counts where the recogniser knows it, and finds it out itself otherwise."""
        known = self._recogniser.capabilities.languages
        wanted = language if language and (not known or language in known) else None
        if audio not in self._transcripts:
            async with self._being_heard.setdefault(audio, asyncio.Lock()):  # by an answer, and beside it
                if audio not in self._transcripts:
                    self._transcripts[audio] = await self._ears.words(audio, client, wanted)
        return self._transcripts[audio]

    async def _read(self, exchange: Exchange, client: str) -> Exchange:
        """With the words of what was said and never answered."""
        if exchange.user_text or exchange.user_audio is None:
            return exchange
        return replace(exchange, user_text=await self.transcribe(exchange.user_audio, client))


def _description(engine: Engine) -> str:
    return f"{engine.name}: {engine.model} ({engine.device})"


def create(settings: Settings) -> CascadeS2s:
    """Raises SetupError when the recogniser or the voice cannot be had."""
    recogniser: AsrEngine = _part("asr", settings.recogniser)
    voice: TtsEngine = _part("tts", settings.voice)
    return CascadeS2s(recogniser, _responder(settings, recogniser), voice, settings.tts_voice)


def _part(kind: str, settings: EngineSettings) -> Any:
    choice = choose(kind, settings, LIGHT)
    log.info("%s=%s: %s", kind, choice.name, choice.reason)
    return registry.factory(kind, choice.name)(settings)


def _responder(settings: Settings, recogniser: AsrEngine) -> Responder:
    if settings.llm_base_url:
        return LlmResponder(
            settings.llm_base_url,
            settings.llm_model,
            settings.llm_api_key,
            max_tokens=settings.llm_max_tokens,
            extra=settings.llm_extra,
        )
    return LimitedResponder(BuiltInResponder(languages=recogniser.capabilities.languages))
