"""What users say, in words, beside a speech model that knows none: from the ASR service, or from a recogniser of this one's own."""

from __future__ import annotations

import logging
from typing import Protocol

import aiohttp

from utils.threads import off_loop
from web_demo.audio.samples import Audio, to_wav
from web_demo.engines import registry
from web_demo.engines.asr.turns import TurnRecogniser
from web_demo.errors import Busy, EngineFailed, Unavailable
from web_demo.server.common.budgets import FORWARDED_FOR
from web_demo.server.s2s.settings import S2sSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0


class UserWords(Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def words(self, audio: Audio, client: str) -> str:
        """Of a turn of that client's. Raises the errors of `web_demo.errors`."""
        ...


class AsrService:
    """The one at `url`, asked when there is something to ask, so it may come and go."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = f"{url.rstrip('/')}/api/transcribe"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=self._headers)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def words(self, audio: Audio, client: str) -> str:
        if self._http is None or self._http.closed:
            raise Unavailable("this service is not running")
        form = aiohttp.FormData()
        form.add_field("audio", await off_loop(to_wav, audio), filename="turn.wav", content_type="audio/wav")
        try:
            headers = {FORWARDED_FOR: client} if client else {}  # so that all users are not one client there
            async with self._http.post(self._url, data=form, headers=headers) as response:
                if response.status == Busy.status:
                    raise Busy("the ASR service is busy")
                if response.status != 200:
                    log.warning("no words of a turn: the ASR service answered %d", response.status)
                    raise EngineFailed(f"the ASR service could not write down what was said (status {response.status})")
                text = (await response.json()).get("text")
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            log.warning("no words of a turn: the ASR service at %s does not answer: %s", self._url, error)
            raise Unavailable("the ASR service, which writes down what users say, does not answer") from error
        return text.strip() if isinstance(text, str) else ""


def create(settings: S2sSettings) -> UserWords:
    """The recogniser that `--asr-engine` names, else the ASR service. Raises SetupError."""
    if settings.asr_engine == "auto":
        return AsrService(settings.asr_url, settings.api_key)
    return TurnRecogniser(registry.factory("asr", settings.asr_engine)(settings.recogniser))
