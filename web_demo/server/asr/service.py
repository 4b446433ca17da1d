"""The ASR service behind its HTTP faces: who is let in, decoding and transcription."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio import end_of_turn
from web_demo.audio.patience import EndOfTurn
from web_demo.engines.asr import hotwords, languages
from web_demo.engines.base import AsrEngine
from web_demo.engines.choice import Choice
from web_demo.media.decoders import Decoders, Decoding
from web_demo.server.asr import formats
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr.transcriber import Transcriber, TranscriptionOptions
from web_demo.server.common.budgets import Budget, client_of, half
from web_demo.server.common.forms import BodyLimits, FilePart, boolean
from web_demo.server.common.service import EngineHost

log = logging.getLogger(__name__)


class AsrService(EngineHost[AsrSettings, AsrEngine]):
    """The recogniser, and who may use it when."""

    def __init__(self, settings: AsrSettings, engine: AsrEngine, choice: Choice, metrics: AsrMetrics) -> None:
        super().__init__(settings, engine, choice)
        self.metrics = metrics
        self.transcriber = Transcriber(engine, metrics)
        self.decoders = Decoders()
        self.end_of_turn: EndOfTurn | None = None
        self.body_limits = BodyLimits(settings.max_upload_mb << 20, settings.body_s)
        self.bodies_bytes = max(4 * self.body_limits.max_bytes, 1 << 30)  # in the temp folder
        self.places = Budget(self._most, per_client=lambda: half(self._most()), refused=metrics.refused.inc)
        self.live_places = Budget(
            lambda: settings.max_live, per_client=lambda: half(settings.max_live), of="live streams", retry_after_s=5
        )

    async def start_parts(self) -> None:
        await self.decoders.start()
        model = await off_loop(end_of_turn.find, self.settings.turn_model)
        self.end_of_turn = EndOfTurn(model) if model is not None else None
        await super().start_parts()

    async def close(self) -> None:
        await super().close()
        if self.end_of_turn is not None:
            self.end_of_turn.close()
        await self.decoders.close()

    def describe(self) -> dict[str, Any]:
        can = self.engine.capabilities
        return {
            **super().describe(),
            "languages": list(can.languages),
            "hotwords": can.hotwords,
            "translation": can.translation,
            "timestamps": can.timestamps,
            "concurrency": can.max_concurrency,
            "requests": self.places.taken,
            "max_queue": self.settings.max_queue,
            "live_streams": self.live_places.taken,
            "end_of_turn": self.end_of_turn.name if self.end_of_turn is not None else "timer",
            **({"lost": can.lost} if can.lost else {}),
        }

    def _most(self) -> int:
        return self.engine.capabilities.max_concurrency + self.settings.max_queue

    def require_room(self, request: web.Request) -> None:
        """Before a body is read in vain. Raises Busy or Unavailable."""
        self.health.require()
        self.places.require_room(client_of(request))

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[str]:
        """A place for one request whose body is there; whose it is, for the transcriber. Raises Busy or Unavailable."""
        self.health.require()
        client = client_of(request)
        with (
            self.places.admit(client),
            self.metrics.requests.track_inprogress(),
            self.metrics.request_seconds.time(),
        ):
            yield client

    def options(
        self, language: str, words: str, itn: str = "", *, prompt: str = "", asker: str = ""
    ) -> TranscriptionOptions:
        """Checked options from a client's texts; "" takes the default, and so does the language "auto". `prompt` is free text,
        of which an engine gets what it can use. `asker`: the language in which it is told what is wrong, "" for unknown."""
        can = self.engine.capabilities
        hints = ((prompt.strip(),) if can.prompts else hotwords.in_prompt(prompt)) if prompt.strip() else ()
        named = language.strip().lower() not in ("", "auto")
        return TranscriptionOptions(
            languages.resolve(language, can.languages, asker) if named else None,
            (*hotwords.parse(words), *hints),
            boolean("itn", itn, default=True),
        )

    def decoding(self, upload: FilePart) -> AbstractAsyncContextManager[Decoding]:
        """The sound of a file, while the block lasts."""
        return self.decoders.decoding(upload.file, upload.size, max_s=self.settings.max_audio_s)

    @contextmanager
    def live_stream(self, request: web.Request) -> Iterator[str]:
        """As `admitted`, for a live stream."""
        self.health.require()
        client = client_of(request)
        with self.live_places.admit(client), self.metrics.live.track_inprogress():
            yield client


def warning(sound: Decoding, text: str) -> str:
    """What the client has to know about a recording that was heard to its end; "" for nothing."""
    return formats.warning((*sound.warnings, *sound.remarks), sound.seconds, text)


SERVICE = web.AppKey("asr", AsrService)
