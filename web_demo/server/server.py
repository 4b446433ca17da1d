"""The S2S service (port 8002): the page at `/`, WebSocket `/api/chat`, `/health`, `/metrics`.

python3 -m web_demo.server.server --model-path pretrained_models/Fun-Audio-Chat-8B --port 8002 --tts-gpu 0
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prometheus_client
from aiohttp import WSCloseCode, web

from web_demo.audio.samples import WIRE_RATE
from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.source import SpeechSource
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines import registry
from web_demo.engines.base import S2sEngine
from web_demo.engines.choice import Choice, choose
from web_demo.errors import ServiceError, SetupError, Unavailable
from web_demo.server import protocal
from web_demo.server.asr.service import AsrSettings
from web_demo.server.common.health import Health
from web_demo.server.common.service import LIFE, make_app, run_program
from web_demo.server.common.settings import (
    ServiceSettings,
    add_common_arguments,
    common_settings,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.session import Session, SessionLimits
from web_demo.server.page.page import add_page
from web_demo.server.tts.settings import REMOTE_KEY_VARIABLE, TtsSettings
from web_demo.server.wires.chat import ChatWire, new_socket

log = logging.getLogger(__name__)

LLM_KEY_VARIABLE = "LLM_API_KEY"
DTYPES = ("auto", "bfloat16", "float16", "float32", "float8")


@dataclass(frozen=True, kw_only=True)
class S2sSettings(ServiceSettings):
    port: int = 8002
    model_path: Path | None = Path("pretrained_models/Fun-Audio-Chat-8B")
    tts_model_path: Path = Path("pretrained_models/Fun-CosyVoice3-0.5B-2512")
    tts_gpu: int = 0
    dtype: str = "auto"  # of DTYPES
    max_sessions: int = 64
    limits: SessionLimits = field(default_factory=SessionLimits)
    recogniser: AsrSettings = field(default_factory=lambda: AsrSettings(engine="embedded"))  # of the embedded engine
    voice: TtsSettings = field(default_factory=lambda: TtsSettings(engine="embedded"))
    voice_name: str = ""
    llm_base_url: str = ""
    llm_model: str = ""
    llm_api_key: str = field(default="", repr=False)
    asr_url: str = "http://127.0.0.1:8003"  # where the page's other tabs go
    tts_url: str = "http://127.0.0.1:8004"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_sessions < 1:
            raise SetupError(f"--max-sessions must be at least 1, got {self.max_sessions}")
        if not 1 <= self.limits.max_turn_s <= 3600:
            raise SetupError(f"--max-turn-s must be 1 to 3600, got {self.limits.max_turn_s:g}")
        if not 0 <= self.limits.lead_s <= 10:
            raise SetupError(f"--audio-lead-s must be 0 to 10, got {self.limits.lead_s:g}")
        for name, url in (("asr", self.asr_url), ("tts", self.tts_url)):
            if not url.startswith(("http://", "https://")):
                raise SetupError(f"--{name}-url must look like http://host:port, got {url!r}")


class S2sService:
    """The engine, its detokenizer, and the sessions that use them."""

    def __init__(self, settings: S2sSettings, engine: S2sEngine, choice: Choice, metrics: S2sMetrics) -> None:
        self.settings = settings
        self.engine = engine
        self.choice = choice
        self.metrics = metrics
        self.sessions: set[Session] = set()
        self.detokenizer = _speech_source(engine, metrics)
        self.health = Health(self.describe, self._fault)

    async def start(self) -> None:
        began = time.monotonic()
        log.info("engine=%s: %s", self.choice.name, self.choice.reason)
        await self.detokenizer.start()  # first: on a shared GPU the engine then measures what is really left
        await self.engine.start()
        if (rate := self.detokenizer.ready.sample_rate) != WIRE_RATE:
            raise SetupError(f"the detokenizer gives {rate} Hz; the wire needs {WIRE_RATE} Hz")
        log.info(
            "ready engine=%s device=%s seconds=%.1f", self.engine.name, self.engine.device, time.monotonic() - began
        )

    async def close(self) -> None:
        await self.detokenizer.close()
        await self.engine.close()

    def describe(self) -> dict[str, Any]:
        return {
            "service": "s2s",
            "engine": self.engine.name,
            "engine_reason": self.choice.reason,
            "model": self.engine.model,
            "device": self.engine.device,
            **self.engine.parts,
            "sessions": len(self.sessions),
            "max_sessions": self.max_sessions,
            "languages": list(self.engine.capabilities.languages),
        }

    def _fault(self) -> str | None:
        return self.engine.fault() or self.detokenizer.fault()

    @property
    def max_sessions(self) -> int:
        """What the operator allows, and no more than the engine and the detokenizer can hold."""
        able = (self.engine.capabilities.max_concurrency, self.detokenizer.max_turns)
        return min(self.settings.max_sessions, *able)

    def admit(self) -> None:
        """Raises Unavailable when there is no room, or nothing to serve with yet."""
        self.health.require()
        if len(self.sessions) >= self.max_sessions:
            self.metrics.sessions_refused.inc()
            raise Unavailable(f"all {self.max_sessions} sessions are in use; please try again later")


def _speech_source(engine: S2sEngine, metrics: S2sMetrics) -> SpeechSource:
    if isinstance(engine.speech, BackendSpec):
        return Detokenizer(engine.speech, on_restart=metrics.detokenizer_restarts.inc)
    return engine.speech


SERVICE = web.AppKey("s2s", S2sService)


def _choose(settings: S2sSettings) -> Choice:
    """Raises SetupError when parts are named for an engine that has none."""
    choice = choose("s2s", settings)
    named = {"--asr-engine": settings.recogniser.engine, "--tts-engine": settings.voice.engine}
    without_effect = [f"{option} {name}" for option, name in named.items() if name != "embedded"]
    if without_effect and choice.name != "embedded":
        message = f"{' and '.join(without_effect)} work with --engine embedded only, not with {choice.name}"
        if settings.engine != "auto":
            raise SetupError(message)
        log.warning("%s", message)
    return choice


def create_app(settings: S2sSettings, engine: S2sEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose."""
    choice = _choose(settings) if engine is None else Choice(engine.name, "given")
    metrics_registry = prometheus_client.CollectorRegistry()
    metrics = S2sMetrics(metrics_registry)
    service = S2sService(settings, engine or registry.factory("s2s", choice.name)(settings), choice, metrics)
    app = make_app(settings, health=service.health, start=service.start, close=service.close, registry=metrics_registry)
    app[SERVICE] = service
    app.router.add_get("/api/chat", _chat)
    add_page(app, asr_url=settings.asr_url, tts_url=settings.tts_url)
    return app


async def _chat(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    socket = new_socket()
    await socket.prepare(request)
    wire = ChatWire(request, socket)
    try:
        service.admit()
    except ServiceError as error:
        log.info("connection refused peer=%s: %s", request.remote, error)
        await wire.refuse(error.message)
        return socket
    session = Session(
        wire,
        engine=service.engine,
        detokenizer=service.detokenizer,
        metrics=service.metrics,
        limits=service.settings.limits,
        options=wire.options,
    )
    service.sessions.add(session)
    service.metrics.sessions.set(len(service.sessions))
    began = time.monotonic()
    log.info("connection began session=%s peer=%s", session.id, request.remote)
    outcome = "hang-up"
    try:
        outcome = await _converse(session, wire, request.app[LIFE].draining)
    finally:
        service.sessions.discard(session)
        service.metrics.sessions.set(len(service.sessions))
        log.info(
            "connection ended session=%s how=%s code=%s seconds=%.1f turns=%d audio_in_s=%.1f",
            session.id,
            outcome,
            wire.close_code,
            time.monotonic() - began,
            session.turns,
            session.received_s,
        )
    return socket


async def _converse(session: Session, wire: ChatWire, draining: asyncio.Event) -> str:
    """The session beside its keep-alive and its end on shutdown. Returns how it ended."""
    outcome = "hang-up"
    companions = [
        asyncio.create_task(wire.keep_alive(), name=f"keep-alive-{session.id}"),
        asyncio.create_task(_end_on_shutdown(session, wire, draining), name=f"drain-{session.id}"),
    ]
    try:
        await wire.send_message(protocal.Handshake())
        await session.run(wire.incoming())
        if draining.is_set():
            outcome = "shutdown"
    except* ConnectionError:
        outcome = "lost"
    except* Exception:
        log.exception("session failed session=%s", session.id)
        outcome = "failed"
        await wire.close(WSCloseCode.INTERNAL_ERROR)
    finally:
        for task in companions:
            task.cancel()
        await asyncio.gather(*companions, return_exceptions=True)
    return outcome


async def _end_on_shutdown(session: Session, wire: ChatWire, draining: asyncio.Event) -> None:
    await draining.wait()
    await session.idle()
    await wire.close(WSCloseCode.GOING_AWAY)


def parse_arguments(argv: list[str] | None = None) -> S2sSettings:
    parser = argparse.ArgumentParser(prog="web_demo.server.server", description="Talk and be answered in speech.")
    add_common_arguments(
        parser, port=8002, engines=registry.names("s2s"), model_path="pretrained_models/Fun-Audio-Chat-8B"
    )
    parser.add_argument("--tts-gpu", type=int, default=0, help="GPU of the detokenizer subprocess (default 0)")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=S2sSettings.dtype,
        help="of Fun-Audio-Chat's weights; float8: the layers' in 8 bits, for less memory and fewer bytes a frame "
        "(default: bfloat16 on a GPU, float32 elsewhere)",
    )
    parser.add_argument(
        "--tts-model-path",
        type=Path,
        default=S2sSettings.tts_model_path,
        help=f"weights of the detokenizer (default {S2sSettings.tts_model_path})",
    )
    parser.add_argument("--max-sessions", type=int, default=64, help="conversations at once (default 64)")
    parser.add_argument("--max-turn-s", type=float, default=120.0, help="longest user turn in seconds (default 120)")
    parser.add_argument(
        "--audio-lead-s", type=float, default=0.6, help="how far audio is sent ahead of its time (default 0.6)"
    )
    parser.add_argument(
        "--asr-engine",
        choices=registry.names("asr"),
        default="embedded",
        help="embedded engine: who listens (default embedded: English)",
    )
    parser.add_argument(
        "--asr-base-url", default="", help="--asr-engine openai: its server, such as http://127.0.0.1:8003/v1"
    )
    parser.add_argument("--asr-model", default="", help="--asr-engine openai: the model there (default: its first)")
    parser.add_argument(
        "--asr-model-path",
        type=Path,
        default=AsrSettings.model_path,
        help=f"weights for --asr-engine (default {AsrSettings.model_path})",
    )
    parser.add_argument(
        "--tts-engine",
        choices=registry.names("tts"),
        default="embedded",
        help="embedded engine: who speaks (default embedded); weights from --tts-model-path",
    )
    parser.add_argument(
        "--tts-base-url", default="", help="--tts-engine openai: its server, such as http://127.0.0.1:8004/v1"
    )
    parser.add_argument("--tts-model", default="", help="--tts-engine openai: the model there (default: its first)")
    parser.add_argument("--tts-voice", default="", help="name of the voice of --tts-engine (default: its own default)")
    parser.add_argument(
        "--llm-base-url",
        default="",
        help="OpenAI-compatible chat endpoint that thinks for the embedded engine, such as http://127.0.0.1:11434/v1",
    )
    parser.add_argument(
        "--llm-model", default="", help=f"model name at --llm-base-url; its key comes from ${LLM_KEY_VARIABLE}"
    )
    parser.add_argument(
        "--asr-url", default=S2sSettings.asr_url, help="ASR service that the page uses through this one"
    )
    parser.add_argument(
        "--tts-url", default=S2sSettings.tts_url, help="TTS service that the page uses through this one"
    )
    args = parser.parse_args(argv)
    return S2sSettings(
        **common_settings(args),
        tts_gpu=args.tts_gpu,
        dtype=args.dtype,
        tts_model_path=args.tts_model_path,
        max_sessions=args.max_sessions,
        limits=SessionLimits(max_turn_s=args.max_turn_s, lead_s=args.audio_lead_s),
        recogniser=AsrSettings(
            engine=args.asr_engine,
            base_url=args.asr_base_url,
            remote_model=args.asr_model,
            model_path=args.asr_model_path,
            device=args.device,
        ),
        voice=TtsSettings(
            engine=args.tts_engine,
            base_url=args.tts_base_url,
            remote_model=args.tts_model,
            remote_api_key=os.environ.get(REMOTE_KEY_VARIABLE, ""),
            model_path=args.tts_model_path,
            device=args.device,
        ),
        voice_name=args.tts_voice,
        llm_base_url=args.llm_base_url,
        llm_model=args.llm_model,
        llm_api_key=os.environ.get(LLM_KEY_VARIABLE, ""),
        asr_url=args.asr_url,
        tts_url=args.tts_url,
    )


def main(argv: list[str] | None = None) -> int:
    return run_program("web_demo.server.server", lambda: parse_arguments(argv), create_app)


if __name__ == "__main__":
    sys.exit(main())
