"""A service as a process: settings from its command line, serving until SIGTERM or SIGINT, then a drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

from web_demo.errors import SetupError
from web_demo.server.common.service import HEALTH, LIFE
from web_demo.server.common.settings import ServiceSettings, configure_logging, parse

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ServiceSettings)


def run_program(
    settings: type[S],
    create_app: Callable[[S], web.Application],
    argv: Sequence[str] | None,
    *,
    program: str,
    does: str,
) -> int:
    """The `main` of a service: settings from the command line, then serve. Returns the exit status."""
    try:
        chosen = parse(settings, argv, program=program, description=does)
        configure_logging(chosen.log_level)
        app = create_app(chosen)
    except SetupError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return run(app, chosen)


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
