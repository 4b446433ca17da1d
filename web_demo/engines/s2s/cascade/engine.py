"""The S2S engine that needs no GPU and no weights: recogniser, then responder, then speech sentence by sentence.

The speech itself is made by espeak-ng in the detokenizer child: the first sentence is spoken while the rest of the reply
is still being written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from utils.sentences import SentenceSplitter
from web_demo.detokenizer.backend import BackendSpec
from web_demo.engines.asr.embedded import create as create_recogniser
from web_demo.engines.base import AsrEngine, Capabilities, Heard, SpeechText, Step, TextDelta, TurnRequest
from web_demo.engines.s2s.cascade.responder import BuiltInResponder, LlmResponder, Responder
from web_demo.errors import InvalidRequest

NO_SPEECH = {
    "en": "no speech was heard in that turn; please speak closer to the microphone and try again",
    "zh": "这一轮没有听到说话声；请靠近麦克风再说一次",
}


class LlmSettings(Protocol):
    """Of the service's settings, what this engine needs."""

    @property
    def llm_base_url(self) -> str: ...
    @property
    def llm_model(self) -> str: ...
    @property
    def llm_api_key(self) -> str: ...


class EmbeddedS2s:
    name = "embedded"
    device = "cpu"
    speech = BackendSpec("web_demo.engines.tts.espeak:create_backend")

    def __init__(self, recogniser: AsrEngine, responder: Responder) -> None:
        self._recogniser = recogniser
        self._responder = responder
        self.capabilities = Capabilities(languages=recogniser.capabilities.languages, max_concurrency=10_000)

    @property
    def model(self) -> str:
        return f"{self._recogniser.model} + {self._responder.name} + espeak-ng"

    async def start(self) -> None:
        await self._recogniser.start()
        await self._responder.start()

    async def close(self) -> None:
        await self._responder.close()
        await self._recogniser.close()

    def fault(self) -> str | None:
        return self._recogniser.fault()

    async def forget(self, conversation_id: str) -> None:
        return

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        heard = (await self._recogniser.transcribe(turn.audio)).text
        if not heard:
            raise InvalidRequest(NO_SPEECH[turn.language])
        yield Heard(heard)
        splitter = SentenceSplitter()
        async with aclosing(self._responder.reply(heard, turn)) as deltas:
            async for delta in deltas:
                yield TextDelta(delta)
                for sentence in splitter.push(delta):
                    yield SpeechText(sentence)
        for sentence in splitter.flush():
            yield SpeechText(sentence)


def create(settings: Any) -> EmbeddedS2s:
    """The engine for a service's settings (see LlmSettings)."""
    return EmbeddedS2s(create_recogniser(settings), _responder(settings))


def _responder(settings: LlmSettings) -> Responder:
    if settings.llm_base_url:
        return LlmResponder(settings.llm_base_url, settings.llm_model, settings.llm_api_key)
    return BuiltInResponder()
