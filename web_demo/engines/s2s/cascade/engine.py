"""The S2S engine that needs no model of its own: any recogniser, then a responder, then any voice, sentence by sentence.

The first sentence is spoken while the rest of the reply is still being written. By default all three are the embedded
ones, which need neither GPU nor weights.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from utils.threads import off_loop
from utils.turns import Turns
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines import registry
from web_demo.engines.asr.cuts import cuts, join_texts
from web_demo.engines.base import (
    AsrEngine,
    Capabilities,
    Engine,
    Heard,
    SpeechText,
    Step,
    TextDelta,
    ToolCall,
    TtsEngine,
    TurnRequest,
)
from web_demo.engines.s2s.cascade.built_in import BuiltInResponder
from web_demo.engines.s2s.cascade.capacity import measured_sessions
from web_demo.engines.s2s.cascade.language_model import LlmResponder
from web_demo.engines.s2s.cascade.responder import Responder
from web_demo.engines.s2s.cascade.voice import EngineVoice
from web_demo.engines.tts.text import voice_language
from web_demo.errors import InvalidRequest
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
    def engine(self) -> str: ...  # a name of the registry


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
        self._transcripts: WeakKeyDictionary[Audio, str] = WeakKeyDictionary()
        self._turns = Turns(recogniser.capabilities.max_concurrency)
        self._sessions = UNLIMITED
        self.speech = voice.capabilities.backend or EngineVoice(voice)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(languages=self._recogniser.capabilities.languages, max_concurrency=self._sessions)

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

    def preload(self) -> None:
        """Nothing: no device is waited for."""

    async def start(self) -> None:
        await self._recogniser.start()
        self._turns = Turns(self._recogniser.capabilities.max_concurrency)  # some know it only now
        if not self._recogniser.device.startswith("http"):  # somebody else's machine is not ours to measure
            self._sessions = await measured_sessions(self._recogniser)
            log.info("sessions=%d: as many as this machine hears soon when all speak", self._sessions)
        await self._responder.start()

    async def close(self) -> None:
        await self._responder.close()
        await self._recogniser.close()

    def fault(self) -> str | None:
        return self._recogniser.fault()

    async def forget(self, conversation_id: str) -> None:
        return

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        heard = self._transcripts.get(turn.audio)  # known where the turn goes on after calls of functions
        if heard is None:
            heard = self._transcripts[turn.audio] = await self._transcribe(turn.audio, turn.client)
        if not heard:
            raise InvalidRequest(NO_SPEECH[turn.language])
        yield Heard(heard)
        can = self._voice.capabilities
        sentences = SpokenSentences(
            can.max_piece_chars, voice_language=voice_language(self._voice_name, can) or turn.language
        )
        wrote = spoke = False
        async with aclosing(self._responder.reply(heard, turn)) as deltas:
            async for delta in deltas:
                if isinstance(delta, ToolCall):
                    yield delta
                    continue
                yield TextDelta(delta)
                wrote = wrote or not delta.isspace()
                for sentence in await off_loop(sentences.push, delta):
                    spoke = True
                    yield SpeechText(sentence, self._voice_name, sentences.take_failures())
        for sentence in await off_loop(sentences.flush):
            spoke = True
            yield SpeechText(sentence, self._voice_name, sentences.take_failures())
        if wrote and not spoke:  # smileys, a picture: the user would hear nothing and not know why
            yield SpeechText(NO_WORDS[turn.language], self._voice_name)

    async def _transcribe(self, audio: Audio, client: str) -> str:
        """The text of a turn; one that is longer than the recogniser takes goes to it in pieces, as many side by side as it
        does at once: the rest waits here, so that other conversations of the same client get in between."""
        if audio.seconds <= self._recogniser.max_segment_s:
            return await self._piece(audio, client)
        sound = await off_loop(audio.at, SPEECH_RATE)
        spans = await off_loop(lambda: list(cuts(sound.samples, self._recogniser.max_segment_s)))
        side_by_side = asyncio.Semaphore(self._recogniser.capabilities.max_concurrency)

        async def recognise(start: int, end: int) -> str:
            async with side_by_side:
                return await self._piece(Audio(sound.samples[start:end], SPEECH_RATE), client)

        pieces = [asyncio.create_task(recognise(*span), name="recognise") for span in spans]
        try:
            return join_texts([await piece for piece in pieces])
        finally:
            for piece in pieces:
                piece.cancel()
            await asyncio.gather(*pieces, return_exceptions=True)

    async def _piece(self, audio: Audio, client: str) -> str:
        async with self._turns.turn(client):
            return (await self._recogniser.transcribe(audio)).text


def _description(engine: Engine) -> str:
    return f"{engine.name}: {engine.model} ({engine.device})"


def create(settings: Settings) -> CascadeS2s:
    """Raises SetupError when the recogniser or the voice cannot be had."""
    recogniser: AsrEngine = registry.factory("asr", settings.recogniser.engine)(settings.recogniser)
    voice: TtsEngine = registry.factory("tts", settings.voice.engine)(settings.voice)
    return CascadeS2s(recogniser, _responder(settings, recogniser), voice, settings.tts_voice)


def _responder(settings: Settings, recogniser: AsrEngine) -> Responder:
    if settings.llm_base_url:
        return LlmResponder(
            settings.llm_base_url,
            settings.llm_model,
            settings.llm_api_key,
            max_tokens=settings.llm_max_tokens,
            extra=settings.llm_extra,
        )
    return BuiltInResponder(languages=recogniser.capabilities.languages)
