"""`GET /health`: loading, healthy, or unhealthy with the reason. Derived on each call, so it cannot disagree with the service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from aiohttp import web

from web_demo.errors import SetupError, Unavailable
from web_demo.server.common import asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.api.chinese import said_in

log = logging.getLogger(__name__)

REASONS = ("reason", "engine_reason")  # fields that are sentences
Status = Literal["loading", "healthy", "unhealthy"]


class Health:
    """`describe` gives the service's own fields. `fault` is asked once everything is started: a reason, or None."""

    def __init__(
        self, describe: Callable[[], Mapping[str, Any]], fault: Callable[[], str | None] = lambda: None
    ) -> None:
        self._describe = describe
        self._fault = fault
        self._starting: asyncio.Task[None] | None = None
        self._stopping = False

    def watch(self, starting: asyncio.Task[None]) -> None:
        """`starting` brings the engine up; its outcome is the outcome of the service's start."""
        self._starting = starting
        starting.add_done_callback(_log_outcome)

    def stop(self) -> None:
        self._stopping = True

    def state(self) -> tuple[Status, str]:
        if self._stopping:
            return "unhealthy", "shutting down"
        if self._starting is None or not self._starting.done():
            return "loading", "the engine is starting"
        if self._starting.cancelled():
            return "unhealthy", "the start was cancelled"
        error = self._starting.exception()
        if error is not None:
            return "unhealthy", str(error) if isinstance(
                error, SetupError
            ) else "the engine failed to start (see the log)"
        fault = self._fault()
        return ("unhealthy", fault) if fault else ("healthy", "")

    def require(self) -> None:
        """Raises Unavailable unless the service can serve now."""
        status, reason = self.state()
        if status != "healthy":
            raise Unavailable(f"the service is {status}: {reason}")

    def report(self, language: str = "") -> dict[str, Any]:
        """The body of `/health`, with its reasons for a reader of `language`."""
        status, reason = self.state()
        body = {"status": status, **self._describe()} | ({"reason": reason} if reason else {})
        return body | {name: said_in(language, body[name]) for name in REASONS if name in body}

    async def handle(self, request: web.Request) -> web.Response:
        body = self.report(asker.language_of(request.headers.get("Accept-Language", "")))
        return json_response(body, status=200 if body["status"] == "healthy" else 503)


def _log_outcome(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, SetupError):
        log.error("start failed: %s", error)
    elif error is not None:
        log.error("start failed", exc_info=error)
