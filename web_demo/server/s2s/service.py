"""The S2S service behind its wires: its engine, its detokenizer, and its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from web_demo.audio.samples import WIRE_RATE
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines.base import S2sEngine
from web_demo.engines.choice import Choice
from web_demo.errors import SetupError
from web_demo.server.common.budgets import Budget, client_of
from web_demo.server.common.service import EngineHost
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.session import Session
from web_demo.server.s2s.settings import S2sSettings


class S2sService(EngineHost[S2sSettings, S2sEngine]):
    """The engine, its detokenizer, and the sessions that use them."""

    def __init__(self, settings: S2sSettings, engine: S2sEngine, choice: Choice, metrics: S2sMetrics) -> None:
        super().__init__(settings, engine, choice)
        self.metrics = metrics
        self.sessions: set[Session] = set()
        self._places = Budget(
            lambda: self.max_sessions, of="sessions", retry_after_s=30, refused=metrics.sessions_refused.inc
        )
        self.detokenizer = Detokenizer(engine.speech, on_restart=metrics.detokenizer_restarts.inc)

    async def start_parts(self) -> None:
        await self.detokenizer.start()  # first: on a shared GPU the engine then measures what is really left
        await self.engine.start()
        if (rate := self.detokenizer.ready.sample_rate) != WIRE_RATE:
            raise SetupError(f"the detokenizer gives {rate} Hz; the wire needs {WIRE_RATE} Hz")

    async def close(self) -> None:
        await self.detokenizer.close()
        await self.engine.close()

    def fault(self) -> str | None:
        return self.engine.fault() or self.detokenizer.fault()

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "sessions": len(self.sessions),
            "max_sessions": self.max_sessions,
            "languages": list(self.engine.capabilities.languages),
        }

    @property
    def max_sessions(self) -> int:
        """What the operator allows, and no more than the engine and the detokenizer can hold."""
        able = (self.engine.capabilities.max_concurrency, self.detokenizer.max_turns)
        return min(self.settings.max_sessions, *able)

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[None]:
        """A place for one session. Raises Busy, or Unavailable when there is nothing to serve with."""
        self.health.require()
        with self._places.admit(client_of(request)):
            yield


SERVICE = web.AppKey("s2s", S2sService)
