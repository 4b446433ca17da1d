"""The S2S service behind its wires: its engine, its detokenizer, and its sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio import end_of_turn
from web_demo.audio.patience import EndOfTurn
from web_demo.audio.samples import WIRE_RATE
from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.source import SpeechSource
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines.base import Capabilities, S2sEngine
from web_demo.engines.choice import Choice, choose
from web_demo.engines.tts.text import voice_language
from web_demo.errors import SetupError
from web_demo.server.common.budgets import Budget, client_of, half
from web_demo.server.common.service import EngineHost
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.session import Session
from web_demo.server.s2s import words
from web_demo.server.s2s.settings import S2sSettings

log = logging.getLogger(__name__)


class S2sService(EngineHost[S2sSettings, S2sEngine]):
    """The engine, its detokenizer, and the sessions that use them."""

    def __init__(self, settings: S2sSettings, engine: S2sEngine, choice: Choice, metrics: S2sMetrics) -> None:
        super().__init__(settings, engine, choice)
        self.metrics = metrics
        self.sessions: set[Session] = set()
        self._places = Budget(
            lambda: self.max_sessions,
            per_client=lambda: settings.max_sessions_per_client or half(self.max_sessions),
            of="sessions",
            retry_after_s=30,
            refused=metrics.sessions_refused.inc,
        )
        self.end_of_turn: EndOfTurn | None = None
        self._voices: tuple[tuple[str, ...], list[dict[str, str]]] = ((), [])
        self.detokenizer = _speech_source(engine, metrics)
        self.words = words.create(settings) if engine.name != "embedded" else None  # which is a recogniser itself

    async def start_parts(self) -> None:
        model, _, _ = await asyncio.gather(
            off_loop(end_of_turn.find, self.settings.turn_model),
            self.detokenizer.start(),
            self.engine.preload(),
        )
        self.end_of_turn = EndOfTurn(model) if model is not None else None
        if self.words is not None:
            await self.words.start()
        await self.engine.start()  # last: on a shared GPU the engine measures what is really left
        if (rate := self.detokenizer.ready.sample_rate) != WIRE_RATE:
            raise SetupError(f"the detokenizer gives {rate} Hz; the wire needs {WIRE_RATE} Hz")

    async def close(self) -> None:
        if self.end_of_turn is not None:
            self.end_of_turn.close()
        await self.detokenizer.close()
        if self.words is not None:
            await self.words.close()
        await self.engine.close()

    def fault(self) -> str | None:
        return self.engine.fault() or self.detokenizer.fault()

    def describe(self) -> dict[str, Any]:
        can = self.engine.capabilities
        return {
            **super().describe(),
            **self.engine.parts,
            "sessions": len(self.sessions),
            "max_sessions": self.max_sessions,
            "end_of_turn": self.end_of_turn.name if self.end_of_turn is not None else "timer",
            "languages": list(can.languages),
            "voices": self._listed(can),
            "instructions": can.instructions,
        }

    def _listed(self, can: Capabilities) -> list[dict[str, str]]:
        """The voices, each with the language that it is made for: made once, as they may be many and are asked for often."""
        names, cards = self._voices
        if names != can.voices:
            cards = [{"name": name, "language": voice_language(name, can)} for name in can.voices]
            self._voices = can.voices, cards
        return cards

    @property
    def max_sessions(self) -> int:
        """What the operator allows, and no more than the engine and the detokenizer can hold."""
        able = (self.engine.capabilities.max_concurrency, self.detokenizer.max_turns)
        return min(self.settings.max_sessions, *able)

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[str]:
        """A place for one session; whose it is. Raises Busy, or Unavailable when there is nothing to serve with."""
        self.health.require()
        client = client_of(request)
        with self._places.admit(client):
            yield client


def _speech_source(engine: S2sEngine, metrics: S2sMetrics) -> SpeechSource:
    if isinstance(engine.speech, BackendSpec):
        return Detokenizer(engine.speech, on_restart=metrics.detokenizer_restarts.inc)
    return engine.speech


def choose_engine(settings: S2sSettings) -> Choice:
    """Raises SetupError when a voice is named for an engine that has its own."""
    choice = choose("s2s", settings)
    if settings.tts_engine not in ("auto", "embedded") and choice.name != "embedded":
        message = f"--tts-engine {settings.tts_engine} works with --engine embedded only, not with {choice.name}"
        if settings.engine != "auto":
            raise SetupError(message)
        log.warning("%s", message)
    return choice


SERVICE = web.AppKey("s2s", S2sService)
