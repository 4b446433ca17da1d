"""The ASR service behind its HTTP faces: who is let in, decoding, transcription, and clients that went away."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio import media
from web_demo.engines.asr import hotwords, languages
from web_demo.engines.base import AsrEngine
from web_demo.engines.choice import Choice
from web_demo.errors import Busy, InvalidRequest, SetupError
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.transcriber import Options, Transcriber
from web_demo.server.common.forms import FormLimits
from web_demo.server.common.health import Health
from web_demo.server.common.settings import ServiceSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.2  # how often a waiting request looks whether its client is still there


@dataclass(frozen=True, kw_only=True)
class AsrSettings(ServiceSettings):
    """`base_url` and `remote_model` belong to the `openai` engine; its key comes from the environment."""

    port: int = 8003
    model_path: Path | None = Path("pretrained_models/Fun-ASR-Nano-2512")
    max_queue: int = 32
    max_upload_mb: int = 256
    max_audio_s: float = 7200.0
    upload_stall_s: float = 30.0
    max_live: int = 8
    use_vllm: bool = False
    base_url: str = ""
    remote_model: str = "openai/whisper-large-v3"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, value, least in (
            ("--max-queue", self.max_queue, 0),
            ("--max-upload-mb", self.max_upload_mb, 1),
            ("--max-audio-s", self.max_audio_s, 1),
            ("--max-live", self.max_live, 0),
        ):
            if value < least:
                raise SetupError(f"{option} must be at least {least}, got {value:g}")


class AsrService:
    def __init__(self, settings: AsrSettings, engine: AsrEngine, choice: Choice, metrics: AsrMetrics) -> None:
        self.settings = settings
        self.engine = engine
        self.choice = choice
        self.metrics = metrics
        self.health = Health(self.describe, engine.fault)
        self.transcriber = Transcriber(engine, metrics)
        self.form_limits = FormLimits(settings.max_upload_mb << 20, settings.upload_stall_s)
        self._in_house = 0
        self.live = 0

    async def start(self) -> None:
        began = time.monotonic()
        log.info("engine=%s: %s", self.choice.name, self.choice.reason)
        await self.engine.start()
        log.info(
            "ready engine=%s device=%s seconds=%.1f", self.engine.name, self.engine.device, time.monotonic() - began
        )

    async def close(self) -> None:
        await self.engine.close()

    def describe(self) -> dict[str, Any]:
        can = self.engine.capabilities
        return {
            "service": "asr",
            "engine": self.engine.name,
            "engine_reason": self.choice.reason,
            "model": self.engine.model,
            "device": self.engine.device,
            "languages": list(can.languages),
            "hotwords": can.hotwords,
            "timestamps": can.timestamps,
            "concurrency": can.max_concurrency,
            "requests": self._in_house,
            "max_queue": self.settings.max_queue,
            "live_streams": self.live,
        }

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place in the house for one request, taken before its body is read. Raises Busy or Unavailable."""
        self.health.require()
        if self._in_house >= self.engine.capabilities.max_concurrency + self.settings.max_queue:
            self.metrics.refused.inc()
            raise Busy(f"{self._in_house} requests are running or waiting; try again in a moment", retry_after_s=2)
        self._in_house += 1
        self.metrics.requests.inc()
        try:
            with self.metrics.request_seconds.time():
                yield
        finally:
            self._in_house -= 1
            self.metrics.requests.dec()

    def options(self, language: str, words: str, itn: str = "") -> Options:
        """Checked options from a client's texts; "" takes the default, and so does the language "auto"."""
        can = self.engine.capabilities
        named = language.strip().lower() not in ("", "auto")
        return Options(
            languages.resolve(language, can.languages) if named else None,
            hotwords.parse(words),
            _flag("itn", itn, default=True),
        )

    def language_label(self, asked: str, used: str) -> str:
        """As the client wrote it; where it wrote nothing, 中文 for Chinese (the documented default) and else the code."""
        named = asked.strip().lower() not in ("", "auto")
        return asked.strip() if named else {"zh": "中文"}.get(used, used)

    async def decode(self, data: bytes | bytearray) -> media.Decoded:
        """In a thread; a cancelled caller stops it between frames."""
        gone = threading.Event()
        with _set_at_end(gone):
            decoding = asyncio.ensure_future(
                off_loop(media.decode, data, max_s=self.settings.max_audio_s, stopped=gone.is_set)
            )
            try:
                return await asyncio.shield(decoding)
            except asyncio.CancelledError:
                gone.set()
                await asyncio.gather(decoding, return_exceptions=True)
                raise

    async def while_connected(self, request: web.Request, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled when the client hangs up."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
                if _gone(request):
                    raise InvalidRequest("the client went away")
            return task.result()
        finally:
            if not task.done() and _gone(request):  # found out here, or by aiohttp, which cancels us
                self.metrics.gone.inc()
                log.info("client gone path=%s: its work is stopped", request.path)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def live_stream(self) -> AsyncIterator[None]:
        self.health.require()
        if self.live >= self.settings.max_live:
            raise Busy(f"all {self.settings.max_live} live streams are in use; try again later", retry_after_s=5)
        self.live += 1
        self.metrics.live.inc()
        try:
            yield
        finally:
            self.live -= 1
            self.metrics.live.dec()


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


@contextmanager
def _set_at_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _flag(name: str, text: str, *, default: bool) -> bool:
    value = text.strip().lower()
    if value not in ("", "true", "false", "1", "0"):
        raise InvalidRequest(f"{name} must be true or false, got {text[:20]!r}")
    return default if not value else value in ("true", "1")


SERVICE = web.AppKey("asr", AsrService)
