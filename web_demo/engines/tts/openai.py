"""Any server that speaks OpenAI's `/v1/audio/speech`: vllm-omni in its own environment, a cluster of it, or another one
of these services."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import numpy as np
import openai

from web_demo.audio.samples import WIRE_RATE, Samples, from_int16, to_wav
from web_demo.engines.base import Capabilities, SpeechRequest, VoicePrompt
from web_demo.engines.tts.espeak import CLASSIC_VOICES
from web_demo.engines.tts.limits import check
from web_demo.errors import Busy, EngineFailed, InvalidRequest, NotFound, SetupError, Unavailable
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

log = logging.getLogger(__name__)

TIMEOUT_S = 120.0
DEFAULT_VOICE = "alloy"  # OpenAI's own, which other servers know as well
CONCURRENCY = 64  # the other server has its own queue


class Settings(Protocol):
    """What this engine reads of the service's settings."""

    @property
    def base_url(self) -> str: ...
    @property
    def remote_model(self) -> str: ...
    @property
    def remote_voice(self) -> str: ...
    @property
    def remote_api_key(self) -> str: ...


class OpenAiTts:
    """`model` "": the first that the server lists. `voice`: what it calls the voice for our built-in names."""

    name = "openai"
    sample_rate = WIRE_RATE  # of OpenAI's "pcm"
    # It lists no voices: there is no interface to ask for them, so any name goes through and the server decides.
    capabilities = Capabilities(
        cloning=True,
        speeds=(0.25, 4.0),  # OpenAI's limits
        instructions=True,
        min_piece_chars=12,
        max_concurrency=CONCURRENCY,
    )

    def __init__(self, base_url: str, model: str = "", voice: str = "", api_key: str = "") -> None:
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_S, max_retries=0
        )
        self._voice = voice
        self.model = model
        self.device = base_url

    async def start(self) -> None:
        try:
            models = [model.id async for model in self._client.models.list()]
        except openai.OpenAIError as error:
            raise SetupError(f"the speech server at {self.device} (--base-url) does not answer: {error}") from error
        if not self.model and not models:
            raise SetupError(f"the speech server at {self.device} lists no model: name one with --remote-model")
        self.model = self.model or models[0]

    async def close(self) -> None:
        await self._client.close()

    def fault(self) -> str | None:
        return None  # the server behind it may come back at any time

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        if self._client.is_closed():
            raise Unavailable("the openai engine is closed")
        check(request, self.name, self.capabilities)
        if not has_words(plain(request.text)):
            return
        voice = request.voice or DEFAULT_VOICE
        if self._voice and request.voice in ("", *CLASSIC_VOICES):
            voice = self._voice
        # vllm-omni streams only when told so, and only at normal speed; without `stream_format` its newer versions send events,
        # not sound. Other servers ignore both.
        extra: dict[str, Any] = {"stream": True, "stream_format": "audio"} if request.speed == 1.0 else {}
        if request.prompt is not None:
            extra |= _reference(request.prompt)
        try:
            async with self._client.audio.speech.with_streaming_response.create(
                model=self.model,
                voice=voice,
                input=request.text,
                response_format="pcm",
                speed=request.speed,
                instructions=request.instruction or openai.omit,
                extra_body=extra,
            ) as answer:
                rest = b""
                async for data in answer.iter_bytes():
                    data = rest + data
                    whole = len(data) // 2 * 2
                    rest = data[whole:]
                    if whole:
                        yield from_int16(np.frombuffer(data[:whole], "<i2"))
        except openai.APIStatusError as error:
            raise _translated(error) from error
        except openai.APIConnectionError as error:
            raise Unavailable(f"the speech server behind this service does not answer: {error}") from error


def _reference(prompt: VoicePrompt) -> dict[str, Any]:
    """The recording as vllm-omni takes it."""
    audio = base64.b64encode(to_wav(prompt.audio)).decode()
    return {"ref_audio": f"data:audio/wav;base64,{audio}", "ref_text": prompt.text}


def _translated(error: openai.APIStatusError) -> Exception:
    message = f"the speech server behind this service: {error.message}"[:500]
    if error.status_code == 404:
        return NotFound(message)
    if error.status_code == 429:
        return Busy(message)
    if error.status_code in (401, 403) or error.status_code >= 500:
        log.error("remote status=%d: %s", error.status_code, error.message)
        return EngineFailed("the speech server behind this service failed or refused our key (see the log)")
    return InvalidRequest(message)


def create(settings: Settings) -> OpenAiTts:
    if not settings.base_url:
        raise SetupError(
            "the openai TTS engine needs the address of a server, such as http://localhost:8091/v1: --base-url of the TTS "
            "service, --tts-base-url of the S2S service"
        )
    return OpenAiTts(settings.base_url, settings.remote_model, settings.remote_voice, settings.remote_api_key)
