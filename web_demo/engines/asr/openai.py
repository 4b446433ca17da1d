"""Recognition by any OpenAI-compatible server, such as Whisper on vLLM: `POST {base_url}/audio/transcriptions`."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import openai

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio, silence, to_wav
from web_demo.audio.vad import has_speech
from web_demo.engines.asr.languages import code_of
from web_demo.engines.base import Capabilities, Segment, Transcript, Word
from web_demo.errors import Busy, EngineFailed, InvalidRequest, SetupError, Unavailable

log = logging.getLogger(__name__)

Times = Literal["word", "segment", "none"]  # what the server tells times of

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
    first that the server lists.

    Times are the server's where it has some: of words, which the start asks about with a second of silence, else of segments
    (`verbose_json`), else the piece is one segment."""

    name = "openai"
    max_segment_s = 30.0

    def __init__(self, base_url: str, model: str, api_key: str) -> None:
        self.model = model
        self.device = base_url
        self._times: Times = "segment"
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_S, max_retries=1
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            hotwords=True,
            prompts=True,
            translation=True,
            timestamps="word" if self._times == "word" else "segment",
            max_concurrency=MAX_CONCURRENCY,
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
        try:
            answer = await self._ask(to_wav(silence(1.0, SPEECH_RATE)), None, (), "word")
        except openai.APIError as error:
            log.info("%s gives no times of words: %s", self.device, error)
        else:
            self._times = "word" if getattr(answer, "words", None) is not None else "segment"

    async def close(self) -> None:
        await self._client.close()

    def fault(self) -> str | None:
        return None  # the server behind it may come back at any time

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, hotwords: Sequence[str] = (), itn: bool = True
    ) -> Transcript:
        return await self._recognise(audio, language, self._answer, hotwords)

    async def translate(self, audio: Audio, *, hotwords: Sequence[str] = ()) -> Transcript:
        return await self._recognise(audio, "en", self._translation, hotwords)

    async def _recognise(
        self,
        audio: Audio,
        language: str | None,
        ask: Callable[[bytes, str | None, Sequence[str]], Awaitable[Any]],
        hotwords: Sequence[str],
    ) -> Transcript:
        if self._client.is_closed():
            raise Unavailable("the openai engine is closed")
        wav = await off_loop(_speech_wav, audio)
        if wav is None:
            return Transcript("", language or "")
        try:
            answer = await ask(wav, language, hotwords)
        except openai.RateLimitError as error:
            raise Busy("the recognition server behind this service is busy; try again in a moment", 2) from error
        except openai.APIConnectionError as error:
            raise Unavailable("the recognition server behind this service does not answer") from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            message = f"the recognition server behind this service refused: {error.message}"
            if language:  # which we take by its tag where that server lists none
                raise InvalidRequest(message, param="language") from error
            raise EngineFailed(message) from error
        except openai.APIError as error:
            raise EngineFailed(f"the recognition server behind this service refused: {error.message}") from error
        text = answer.text.strip()
        known = language or code_of(str(getattr(answer, "language", None) or "")) or ""
        return Transcript(text, known, _segments(answer, text, audio.seconds, with_words=self._times == "word"))

    async def _answer(self, wav: bytes, language: str | None, hotwords: Sequence[str]) -> Any:
        """With times where the server knows them: some models know text alone, and refuse to be asked for more."""
        times = self._times
        try:
            return await self._ask(wav, language, hotwords, times)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if times == "none":
                raise
            answer = await self._ask(wav, language, hotwords, "none")
            self._times = "none"
            return answer

    async def _translation(self, wav: bytes, language: str | None, hotwords: Sequence[str]) -> Any:
        """Into English, the one `language` there is. Raises InvalidRequest where the server does not translate."""
        asked: dict[str, Any] = {} if self._times == "none" else {"response_format": "verbose_json"}
        try:
            return await self._client.audio.translations.create(
                model=self.model,
                file=("audio.wav", wav, "audio/wav"),
                prompt=", ".join(hotwords) or openai.omit,
                **asked,
            )
        except (openai.NotFoundError, openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise InvalidRequest(
                f"the recognition server behind this service does not translate: {error.message}"
            ) from error

    async def _ask(self, wav: bytes, language: str | None, hotwords: Sequence[str], times: Times) -> Any:
        asked: dict[str, Any] = {} if times == "none" else {"response_format": "verbose_json"}
        if times == "word":
            asked["timestamp_granularities"] = ["word", "segment"]
        return await self._client.audio.transcriptions.create(
            model=self.model,
            file=("audio.wav", wav, "audio/wav"),
            language=language or openai.omit,
            prompt=", ".join(hotwords) or openai.omit,
            **asked,
        )


def _segments(answer: Any, text: str, seconds: float, *, with_words: bool) -> tuple[Segment, ...]:
    """The segments of an answer, each with its words; one for all of the text where they are not there, or no times."""
    if not text:
        return ()
    whole = Segment(text, 0.0, round(seconds, 3))
    try:
        found = [
            Segment(said, _time(each.start, seconds), _time(each.end, seconds))
            for each in getattr(answer, "segments", None) or ()
            if (said := str(each.text).strip())
        ]
        words = [
            Word(said, _time(each.start, seconds), _time(each.end, seconds))
            for each in getattr(answer, "words", None) or ()
            if (said := str(each.word).strip())
        ]
    except (AttributeError, TypeError, ValueError) as error:
        log.warning("times that cannot be read: %r", error)
        found, words = [], []
    if "".join("".join(segment.text for segment in found).split()) != "".join(text.split()):
        found = [whole]  # none, or others than the text
    if not with_words:
        return tuple(found)
    return tuple(
        replace(segment, words=tuple(w for w in words if _place(w, found) == index))
        for index, segment in enumerate(found)
    )


def _place(word: Word, segments: Sequence[Segment]) -> int:
    """The number of the segment that a word is in: the first that ends after its middle."""
    middle = (word.start_s + word.end_s) / 2
    return next((index for index, segment in enumerate(segments) if middle < segment.end_s), len(segments) - 1)


def _time(value: Any, seconds: float) -> float:
    """Raises TypeError or ValueError for what is no number."""
    time = float(value)
    if not math.isfinite(time):
        raise ValueError(f"{value} is no time")
    return round(min(max(time, 0.0), seconds), 3)


def _speech_wav(audio: Audio) -> bytes | None:
    """None for silence, of which Whisper makes words."""
    sound = audio.at(SPEECH_RATE)
    return to_wav(sound) if has_speech(sound.samples) else None
