"""The ASR service beside this one (`--asr-url`): what is said in a recording, and when in it each word is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from web_demo.audio.samples import SPEECH_RATE, Audio, to_wav
from web_demo.engines.base import Word
from web_demo.errors import Unavailable
from web_demo.server.common.budgets import FORWARDED_FOR
from web_demo.server.common.fetch import read_json_answer
from web_demo.server.tts.settings import TtsSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
LOOK_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 1 << 20


class Recogniser:
    """Each call is one request. `client`: whose it is, so that the ASR service is fair to it."""

    def __init__(self, settings: TtsSettings) -> None:
        self.url = settings.asr_url.rstrip("/")
        # The services of one installation share their key.
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    async def text(self, audio: Audio, client: str) -> str:
        """All that is said; "" where nothing is understood. Raises Unavailable."""
        return str((await self._transcribe(audio, client, "")).get("text", "")).strip()

    async def words(self, audio: Audio, client: str, language: str) -> list[Word]:
        """Raises Unavailable, also for an answer without times."""
        answer = await self._transcribe(audio.at(SPEECH_RATE), client, language)
        try:
            return [
                Word(str(word["word"]), float(word["start"]), float(word["end"]))
                for segment in answer["segments"]
                for word in segment["words"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"the recogniser at {self.url} gave no times of words") from error

    async def without_words(self, language: str) -> str:
        """Why it cannot tell the times of words in `language` ("" for any); "" when it can."""
        try:
            timeout = aiohttp.ClientTimeout(total=LOOK_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{self.url}/health") as answer:
                health = await read_json_answer(answer, MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return f"no recogniser answers at {self.url} (--asr-url)"
        if not isinstance(health, Mapping) or health.get("status") != "healthy":
            return f"the recogniser at {self.url} is not ready"
        if health.get("timestamps") != "word":
            return f"the recogniser at {self.url} has no times of words"
        known = health.get("languages") or [language]
        return "" if not language or language in known else f"the recogniser at {self.url} knows no {language!r}"

    async def _transcribe(self, audio: Audio, client: str, language: str) -> Mapping[str, Any]:
        form = aiohttp.FormData()
        form.add_field("audio", to_wav(audio), filename="speech.wav", content_type="audio/wav")
        if language:
            form.add_field("language", language)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers={**self._headers, FORWARDED_FOR: client}) as session,
                session.post(f"{self.url}/api/transcribe", data=form) as answer,
            ):
                answer.raise_for_status()
                found = await read_json_answer(answer, MAX_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info("no transcript from the recogniser at %s: %s", self.url, error)
            raise Unavailable(f"the recogniser at {self.url} does not answer") from error
        if not isinstance(found, Mapping):
            raise Unavailable(f"the recogniser at {self.url} gave no answer that can be read")
        return found
