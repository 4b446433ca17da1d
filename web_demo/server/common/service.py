"""What the three services are made of: one aiohttp application with errors as JSON, access checks, health, metrics, and a
life that ends gracefully."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import InvalidRequest, SetupError, Unavailable
from web_demo.server.common import access, errors, hangup
from web_demo.server.common.health import Health
from web_demo.server.common.settings import ServiceSettings, configure_logging

log = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=ServiceSettings)


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


def make_app(
    settings: ServiceSettings,
    *,
    health: Health,
    start: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
    registry: prometheus_client.CollectorRegistry,
    client_max_size: int = 1 << 20,
) -> web.Application:
    """An application with `/health` and `/metrics`.

    `start` runs in the background while `/health` already answers "loading"; `close` runs at the end, after `start` was
    finished or cancelled, whatever its outcome.
    """
    app = web.Application(
        middlewares=[errors.middleware, hangup.middleware, access.middleware(settings), _count_in_flight],
        client_max_size=client_max_size,
    )
    app.on_response_prepare.append(access.let_allowed_origins_read(settings))
    errors.add_errors(app, registry)
    app[LIFE] = Life()
    app[HEALTH] = health
    app[METRICS] = registry
    app[hangup.HANGUPS] = prometheus_client.Counter(
        "service_hangups", "Clients that hung up before the end of their answer", registry=registry
    )
    app.router.add_get("/health", health.handle)
    app.router.add_get("/metrics", _metrics)

    async def engine_context(app: web.Application) -> AsyncIterator[None]:
        starting = asyncio.create_task(_run(start), name="start-engine")
        health.watch(starting)
        yield
        health.stop()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await close()

    app.cleanup_ctx.append(engine_context)
    return app


async def _run(start: Callable[[], Awaitable[None]]) -> None:
    await start()


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


async def read_json(request: web.Request) -> Mapping[str, Any]:
    """The request's body as a JSON object; raises InvalidRequest, HungUp (or aiohttp's 413 above the
    application's cap)."""
    with hangup.reading(request):
        body = await request.read()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InvalidRequest(f"the body must be a JSON object in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(value).__name__}")
    return value


# --- running ----------------------------------------------------------------------------------------------------------


def run_program(name: str, parse: Callable[[], Settings], create_app: Callable[[Settings], web.Application]) -> int:
    """The `main` of a service: settings from the command line, then serve. Returns the exit status."""
    try:
        settings = parse()
        configure_logging(settings.log_level)
        app = create_app(settings)
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return run(app, settings)


def run(app: web.Application, settings: ServiceSettings) -> int:
    """Serve until SIGTERM or SIGINT, then drain. Returns the exit status of the process."""
    try:
        asyncio.run(_serve(app, settings))
    except SetupError as error:
        log.error("%s", error)
        return 1
    return 0


async def _serve(app: web.Application, settings: ServiceSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=_ssl_context(settings))
        try:
            await site.start()
        except OSError as error:
            raise SetupError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
        port = runner.addresses[0][1]
        log.info("listening url=%s://%s:%d", settings.scheme, settings.host, port)
        await stop.wait()
        log.info("stopping drain_s=%g", settings.drain_s)
        await site.stop()
        app[HEALTH].stop()
        if not await app[LIFE].drain(settings.drain_s):
            log.warning("work was still running after drain_s=%g: ending it", settings.drain_s)
    finally:
        await runner.cleanup()
    log.info("stopped")


def _ssl_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    if settings.ssl_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.ssl_cert, settings.ssl_key)
    except (ssl.SSLError, OSError) as error:
        raise SetupError(f"cannot use {settings.ssl_cert} with {settings.ssl_key}: {error}") from error
    return context
