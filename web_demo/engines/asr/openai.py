"""Recognition by any OpenAI-compatible server, such as Whisper on vLLM: `POST {base_url}/audio/transcriptions`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import openai

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio, to_wav
from web_demo.audio.vad import has_speech
from web_demo.engines.base import Capabilities, Segment, Transcript
from web_demo.errors import Busy, EngineFailed, SetupError, Unavailable

KEY_VARIABLE = "ASR_API_KEY"
TIMEOUT_S = 120.0
MAX_CONCURRENCY = 16


def create(settings: Any) -> OpenAiAsr:
    """Needs `base_url` and `remote_model` of the settings; the server's key comes from the environment."""
    if not settings.base_url:
        raise SetupError(
            "the openai ASR engine needs the address of a server, such as http://localhost:8005/v1: --base-url of the ASR "
            "service, --asr-base-url of the S2S service"
        )
    return OpenAiAsr(settings.base_url, settings.remote_model, os.environ.get(KEY_VARIABLE, ""))


class OpenAiAsr:
    """One upload a piece; the service cuts long audio into pieces of Whisper's 30 s. Hotwords go as `prompt`, which
    Whisper takes as a hint at spelling. Closing the connection, which cancellation does, stops vLLM's work. `model` "": the
    first that the server lists."""

    name = "openai"
    max_segment_s = 30.0
    capabilities = Capabilities(hotwords=True, timestamps="segment", max_concurrency=MAX_CONCURRENCY)

    def __init__(self, base_url: str, model: str, api_key: str) -> None:
        self.model = model
        self.device = base_url
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_S, max_retries=1
        )

    async def start(self) -> None:
        """Raises SetupError unless the server answers and has the model."""
        try:
            models = [model.id async for model in self._client.models.list()]
        except openai.APIStatusError as error:
            raise SetupError(
                f"the server at {self.device} answered {error.status_code} to a look at its models"
            ) from error
        except openai.APIError as error:
            raise SetupError(f"no OpenAI-compatible server answers at {self.device}: {error}") from error
        if not self.model and models:
            self.model = models[0]
        if self.model not in models:
            raise SetupError(f"the server at {self.device} has no model {self.model!r}; it has: {', '.join(models)}")

    async def close(self) -> None:
        await self._client.close()

    def fault(self) -> str | None:
        return None  # the server behind it may come back at any time

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, hotwords: Sequence[str] = (), itn: bool = True
    ) -> Transcript:
        if self._client.is_closed():
            raise Unavailable("the openai engine is closed")
        wav = await off_loop(_speech_wav, audio)
        if wav is None:
            return Transcript("", language or "")
        try:
            answer = await self._client.audio.transcriptions.create(
                model=self.model,
                file=("audio.wav", wav, "audio/wav"),
                language=language or openai.omit,
                prompt=", ".join(hotwords) or openai.omit,
            )
        except openai.RateLimitError as error:
            raise Busy("the recognition server behind this service is busy; try again in a moment", 2) from error
        except openai.APIConnectionError as error:
            raise Unavailable("the recognition server behind this service does not answer") from error
        except openai.APIError as error:
            raise EngineFailed(f"the recognition server behind this service refused: {error.message}") from error
        text = answer.text.strip()
        segments = (Segment(text, 0.0, round(audio.seconds, 3)),) if text else ()
        return Transcript(text, language or "", segments)


def _speech_wav(audio: Audio) -> bytes | None:
    """None for silence, of which Whisper makes words."""
    sound = audio.at(SPEECH_RATE)
    return to_wav(sound) if has_speech(sound.samples) else None
