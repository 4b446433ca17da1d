"""A service as a process: settings from its command line, serving until SIGTERM or SIGINT, then a drain."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import math
import os
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aiohttp import http_exceptions, web
from aiohttp import log as web_log

from web_demo.errors import SetupError
from web_demo.server.common import hangup
from web_demo.server.common.forms import BODIES
from web_demo.server.common.service import HEALTH, LIFE
from web_demo.server.common.settings import ServiceSettings, configure_logging, parse
from web_demo.server.common.watchdog import Watchdog

log = logging.getLogger(__name__)

S = TypeVar("S", bound=ServiceSettings)

IDLE_S = 75.0  # a connection without a whole request's head ends
LINGER_S = 2.0  # what a refused client still sends is read for so long, that it can read why
READ_BYTES = 64 * 1024  # of a body that nobody reads yet
BACKLOG = 511
DESCRIPTORS = 65_536
LARGE_BYTES = 128 * 1024
_M_MMAP_THRESHOLD = -3  # malloc.h
TELL_S = 60.0


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
    _take_descriptors()
    _give_memory_back()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_LoopErrors())
    web_log.server_logger.addFilter(_client_error_in_a_line)
    with Watchdog(stop.set):
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=5.0,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            read_bufsize=READ_BYTES,
        )
        await runner.setup()
        try:
            server = await _listen(runner, settings)
            port = server.sockets[0].getsockname()[1]
            log.info("listening url=%s://%s:%d", settings.scheme, settings.host, port)
            await stop.wait()
            log.info("stopping drain_s=%g", settings.drain_s)
            server.close()
            app[HEALTH].stop()
            app[BODIES].close()
            if not await app[LIFE].drain(settings.drain_s):
                log.warning("work was still running after drain_s=%g: ending it", settings.drain_s)
        finally:
            await runner.cleanup()
        log.info("stopped")


async def _listen(runner: web.AppRunner, settings: ServiceSettings) -> asyncio.Server:
    """The open port. Raises SetupError."""
    assert runner.server is not None
    try:
        # asyncio tries `backlog` accepts in a row, and each that fails for want of a descriptor sets a timer and logs: one at a
        # time. The kernel's queue gets its length below.
        server = await asyncio.get_running_loop().create_server(
            runner.server, settings.host, settings.port, ssl=_ssl_context(settings), backlog=1
        )
    except OSError as error:
        raise SetupError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
    for each in server.sockets:
        with socket.socket(fileno=os.dup(each.fileno())) as listening:
            listening.listen(BACKLOG)
            hangup.notice_vanished(listening)  # connections inherit it
    return server


def _take_descriptors() -> None:
    """As many as this process may have: the soft limit is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _give_memory_back() -> None:
    """Makes glibc return each large block (a piece of an upload) to the system when it is freed. By default its threshold grows
    to the largest one seen, and freed pieces then stay in a heap with holes."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def _client_error_in_a_line(record: logging.LogRecord) -> bool:
    """A filter of aiohttp's logger, which writes an error, a traceback and the request, with a key that may be in it, for each
    request that is none or whose client is gone at once: anybody can make any number of these."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, http_exceptions.HttpProcessingError | ConnectionError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.exc_info = f"{record.msg}: {type(error).__name__}", None
        return logging.getLogger().isEnabledFor(logging.INFO)
    return True


class _LoopErrors:
    """The loop's exception handler: asyncio's own, but for the want of descriptors one line a minute."""

    def __init__(self) -> None:
        self._told_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told_at >= TELL_S:
            self._told_at = time.monotonic()
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            log.error("no descriptor is free (of %d): new connections wait; raise the limit (ulimit -n)", soft)


def _ssl_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    if settings.ssl_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.ssl_cert, settings.ssl_key)
    except (ssl.SSLError, OSError) as error:
        raise SetupError(f"cannot use {settings.ssl_cert} with {settings.ssl_key}: {error}") from error
    return context
