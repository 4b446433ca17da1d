"""Passes requests of the page on to the ASR and the TTS service, so that one port is enough for all three.

Only the routes below exist, each with its one target. Bodies stream through in both directions, in constant memory.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import yarl
from aiohttp import web

from web_demo.errors import ServiceError, TooLarge, Unavailable
from web_demo.server.common import hangup
from web_demo.server.common.budgets import FORWARDED_FOR, Budget, client_of

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32
CHUNK_BYTES = 64 * 1024
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
        self.places = Budget(lambda: MAX_AT_ONCE, of="ways through to the other services")

    async def __aenter__(self) -> Forwarder:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)  # hours of audio may take long to transcribe
        self.client = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def forward(self, request: web.Request, route: Route) -> web.StreamResponse:
        client = client_of(request)
        with self.places.admit(client):
            if (request.content_length or 0) > route.max_bytes:
                raise _too_large(route)
            return await self._exchange(request, route, client)

    async def _exchange(self, request: web.Request, route: Route, client: str) -> web.StreamResponse:
        base = self.targets[route.target]
        path = route.path.format(**{key: quote(value, safe="") for key, value in request.match_info.items()})
        body = _Body(request, route) if request.can_read_body else None
        try:
            answer = await self.client.request(
                route.method,
                yarl.URL(f"{base}{path}", encoded=True),  # a name with a slash in it stays one part of the path
                headers={**_kept(request.headers, REQUEST_HEADERS), FORWARDED_FOR: client},  # who waits in its queue
                data=body.chunks() if body else None,
                allow_redirects=False,
            )
        except aiohttp.ClientError as error:
            if body and body.error:
                raise body.error from error
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


class _Body:
    """The request's body as it arrives, up to the route's cap. `error`: why it came to no good end; aiohttp's client
    raises an error of its own instead."""

    def __init__(self, request: web.Request, route: Route) -> None:
        self._request = request
        self._route = route
        self.error: ServiceError | hangup.HungUp | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            while True:
                chunk = await hangup.read(self._request, self._request.content.read(CHUNK_BYTES))
                if not chunk:
                    return
                size += len(chunk)
                if size > self._route.max_bytes:
                    raise _too_large(self._route)
                yield chunk
        except (ServiceError, hangup.HungUp) as error:
            self.error = error
            raise


async def _pass_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers, RESPONSE_HEADERS))
    await response.prepare(request)
    async for chunk in _chunks(answer):
        await hangup.write(request, response, chunk)
    return response


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Of the answer's body. Raises Unavailable when the service breaks it off."""
    try:
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            yield chunk
    except aiohttp.ClientError as error:
        raise Unavailable(f"the service at {answer.url.origin()} broke off its answer: {error}") from error


def _kept(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _too_large(route: Route) -> TooLarge:
    return TooLarge(f"{route.path} takes at most {route.max_bytes >> 20} MiB")
