"""What the three services are made of: the host of an engine, and an aiohttp application with errors as JSON, access checks,
health, metrics, and a life that ends gracefully."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar

import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.engines import registry
from web_demo.engines.base import Engine
from web_demo.engines.choice import Choice, choose
from web_demo.errors import Unavailable
from web_demo.server.common import access, budgets, errors, forms, hangup
from web_demo.server.common.api import docs
from web_demo.server.common.api.routes import TABLE, Answer, Field, Route, Table, add_routes
from web_demo.server.common.health import Health
from web_demo.server.common.settings import ServiceSettings

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ServiceSettings)
E = TypeVar("E", bound=Engine)


class EngineHost(Generic[S, E]):
    """A service round its engine: started and closed with the application, described in `/health`."""

    def __init__(self, settings: S, engine: E, choice: Choice) -> None:
        self.settings = settings
        self.engine = engine
        self.choice = choice
        self.health = Health(self.describe, self.fault)

    async def start(self) -> None:
        began = time.monotonic()
        log.info("engine=%s: %s", self.choice.name, self.choice.reason)
        await self.start_parts()
        log.info(
            "ready engine=%s device=%s seconds=%.1f", self.engine.name, self.engine.device, time.monotonic() - began
        )

    async def start_parts(self) -> None:
        """May take minutes. Raises SetupError when the service cannot serve."""
        await self.engine.start()

    async def close(self) -> None:
        await self.engine.close()

    def fault(self) -> str | None:
        """Why the started service cannot serve now; None while it can."""
        return self.engine.fault()

    def describe(self) -> dict[str, Any]:
        """The fields of `/health` besides its status."""
        return {
            "service": self.settings.kind,
            "engine": self.engine.name,
            "engine_reason": self.choice.reason,
            "model": self.engine.model,
            "device": self.engine.device,
            **({"better": dict(better)} if (better := self.engine.capabilities.better) else {}),
        }


def engine_for(settings: S, given: E | None, choosing: Callable[[S], Choice] | None = None) -> tuple[E, Choice]:
    """The engine that was `given`, or else the one that the settings choose. Raises SetupError."""
    if given is not None:
        return given, Choice(given.name, "given")
    choice = choosing(settings) if choosing else choose(settings.kind, settings)
    return registry.factory(settings.kind, choice.name)(settings), choice


class Life:
    """Counts the requests in flight (an open WebSocket is one) and tells them when to come to an end."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> Life:
        self._in_flight += 1
        self._idle.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Asks everything in flight to finish; False when something still runs after `timeout_s`."""
        self.draining.set()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


LIFE = web.AppKey("life", Life)
HEALTH = web.AppKey("health", Health)
METRICS = web.AppKey("metrics", prometheus_client.CollectorRegistry)


class Hosted(Protocol):
    @property
    def health(self) -> Health: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...


def make_app(
    settings: ServiceSettings,
    service: Hosted,
    metrics: prometheus_client.CollectorRegistry,
    *,
    client_max_size: int = 1 << 20,
    bodies_bytes: int = 1 << 30,
) -> web.Application:
    """An application with `/health` and `/metrics`. `bodies_bytes`: what all bodies under way may hold at once.

    The service starts in the background while `/health` already answers "loading"; it is closed at the end, after its
    start was finished or cancelled, whatever its outcome.
    """
    app = web.Application(
        middlewares=[
            hangup.delivery,
            errors.middleware,
            hangup.middleware,
            access.middleware(settings),
            _count_in_flight,
        ],
        client_max_size=client_max_size,
    )
    app.on_response_prepare.append(access.let_allowed_origins_read(settings))
    errors.add_errors(app, metrics)
    app[LIFE] = Life()
    app[HEALTH] = service.health
    app[METRICS] = metrics
    app[budgets.CLIENTS] = budgets.Clients(settings.proxies)
    app[forms.BODIES] = bodies = forms.Bodies(bodies_bytes)
    prometheus_client.Gauge(
        "service_bodies_bytes", "Charged for bodies of requests under way", registry=metrics
    ).set_function(lambda: bodies.taken)
    prometheus_client.Gauge("service_tasks", "asyncio tasks of the process", registry=metrics).set_function(
        lambda: len(asyncio.all_tasks())
    )
    app[hangup.HANGUPS] = prometheus_client.Counter(
        "service_hangups", "Clients that hung up before the end of their answer", registry=metrics
    )
    app[TABLE] = Table()
    add_routes(app, (*_routes(service.health), *docs.routes(settings)))

    async def engine_context(app: web.Application) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start(), name="start-engine")
        service.health.watch(starting)
        yield
        service.health.stop()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await service.close()

    app.cleanup_ctx.append(engine_context)
    return app


_BETTER = Field("better", "what would be better on this machine, by language (en, zh)", kind="object")


def _routes(health: Health) -> tuple[Route, ...]:
    status = Field("status", "loading, healthy or unhealthy", required=True)
    more = (
        Field("reason", "why it is not healthy"),
        Field("engine", "that runs"),
        Field("model", "that it serves"),
        _BETTER,
    )
    return (
        Route(
            "GET",
            "/health",
            health.handle,
            "How the service is. 200 when it can serve, 503 when not; fields beyond these differ by service.",
            answers=(
                Answer(about="it can serve", fields=(status, *more)),
                Answer(about="it cannot, or not yet", fields=(status, *more), status=503),
            ),
            open=True,
        ),
        Route(
            "GET",
            "/metrics",
            _metrics,
            "Figures for Prometheus.",
            answers=(Answer("text/plain", "in Prometheus' format"),),
        ),
    )


@web.middleware
async def _count_in_flight(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in ("/health", "/metrics"):
        return await handler(request)
    life = request.app[LIFE]
    if life.draining.is_set():
        raise Unavailable("the service is shutting down")
    with life:
        return await handler(request)


async def _metrics(request: web.Request) -> web.Response:
    body = prometheus_client.generate_latest(request.app[METRICS])
    return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})
