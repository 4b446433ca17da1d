"""Passes requests of the page on to the ASR and the TTS service, so that one port is enough for all three.

Only the routes below exist, each with its one target. Bodies stream through in both directions, in constant memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl
from aiohttp import web

from web_demo.errors import Busy, TooLarge, Unavailable

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32
CHUNK_BYTES = 64 * 1024
CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; nobody is left to read it
GONE_CHECK_S = 0.5  # how soon a client that hung up is noticed while the service still thinks
MODULES = {"asr": "web_demo.server.asr_server", "tts": "web_demo.server.tts_server"}
REQUEST_HEADERS = ("Content-Type", "Content-Length", "Accept", "Authorization", "X-API-Key")
RESPONSE_HEADERS = ("Content-Type", "Content-Length", "Content-Disposition", "Retry-After", "Cache-Control")


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    target: str
    max_bytes: int


ROUTES = (
    Route("POST", "/api/transcribe", "asr", 1 << 30),
    Route("POST", "/api/synthesize", "tts", 64 << 20),
    Route("GET", "/api/speakers", "tts", 0),
    Route("POST", "/api/speakers", "tts", 64 << 20),
    Route("DELETE", "/api/speakers/{name}", "tts", 0),
)


class Forwarder:
    """Owns the client that speaks to the targets; use it as an async context."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self.targets = {name: url.rstrip("/") for name, url in targets.items()}
        self.at_once = 0

    async def __aenter__(self) -> Forwarder:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)  # hours of audio may take long to transcribe
        self.client = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def forward(self, request: web.Request, route: Route) -> web.StreamResponse:
        if self.at_once >= MAX_AT_ONCE:
            raise Busy(f"{MAX_AT_ONCE} requests are being passed on already; try again in a moment")
        if (request.content_length or 0) > route.max_bytes:
            raise _too_large(route)
        self.at_once += 1
        try:
            return await self._exchange(request, route)
        finally:
            self.at_once -= 1

    async def _send(self, method: str, url: yarl.URL, **options: Any) -> aiohttp.ClientResponse:
        return await self.client.request(method, url, **options)

    async def _exchange(self, request: web.Request, route: Route) -> web.StreamResponse:
        base = self.targets[route.target]
        path = route.path.format(**{key: quote(value, safe="") for key, value in request.match_info.items()})
        body = _Body(request, route) if request.can_read_body else None
        sending = self._send(
            route.method,
            yarl.URL(f"{base}{path}", encoded=True),  # a name with a slash in it stays one part of the path
            headers=_kept(request.headers, REQUEST_HEADERS),
            data=body.chunks() if body else None,
            allow_redirects=False,
        )
        try:
            answer = await _unless_gone(request, sending)
        except _Gone:
            log.info("the client hung up before the answer path=%s", request.path)
            return web.Response(status=CLIENT_CLOSED_REQUEST)
        except aiohttp.ClientError as error:
            if body and body.too_large:
                raise _too_large(route) from error
            log.warning("a service does not answer target=%s url=%s: %s", route.target, base, error)
            raise Unavailable(
                f"the {route.target.upper()} service does not answer at {base}: start it with "
                f"python3 -m {MODULES[route.target]}, or tell this one where it is with --{route.target}-url"
            ) from error
        async with answer:
            return await _pass_back(request, answer)


FORWARDER = web.AppKey("forwarder", Forwarder)


def add_forwarding(app: web.Application) -> None:
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route))


def _handler(route: Route):  # type: ignore[no-untyped-def]  # aiohttp's handler type is its own
    async def handle(request: web.Request) -> web.StreamResponse:
        return await request.app[FORWARDER].forward(request, route)

    return handle


class _Gone(Exception):
    """The client hung up."""


class _Body:
    """The request's body as it arrives, up to the route's cap."""

    def __init__(self, request: web.Request, route: Route) -> None:
        self._request = request
        self._route = route
        self.too_large = False

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._request.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > self._route.max_bytes:
                self.too_large = True
                raise aiohttp.ClientPayloadError("the body is over the cap")
            yield chunk


async def _unless_gone(
    request: web.Request, sending: Coroutine[Any, Any, aiohttp.ClientResponse]
) -> aiohttp.ClientResponse:
    """The answer; when the client hangs up first, the exchange is broken off, which stops the service's work."""
    task = asyncio.ensure_future(sending)
    try:
        while not (await asyncio.wait({task}, timeout=GONE_CHECK_S))[0]:
            if request.transport is None or request.transport.is_closing():
                raise _Gone
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _pass_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers, RESPONSE_HEADERS))
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            if not await _written(response, chunk):
                log.info("the client hung up during the answer path=%s", request.path)
                return response
    except aiohttp.ClientError as error:  # half an answer is out: only breaking off can say so
        log.warning("a service broke off its answer url=%s: %s", answer.url, error)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _written(response: web.StreamResponse, chunk: bytes) -> bool:
    """False when the client is gone."""
    try:
        await response.write(chunk)
    except ConnectionResetError:
        return False
    return True


def _kept(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _too_large(route: Route) -> TooLarge:
    return TooLarge(f"{route.path} takes at most {route.max_bytes >> 20} MiB")
