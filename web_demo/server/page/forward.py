"""Passes requests of the page on to the ASR and the TTS service, so that one port is enough for all three.

Only the routes below exist, each with its one target. Bodies stream through in both directions, in constant memory; a packed
one goes on unpacked, as it was counted. A way through is taken when a request's body is there, as the services do it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import yarl
from aiohttp import web

from web_demo.errors import ServiceError, Unavailable
from web_demo.server.common import hangup
from web_demo.server.common.budgets import FORWARDED_FOR, Budget, Holding, client_of
from web_demo.server.common.forms import Body, BodyLimits, body_of

log = logging.getLogger(__name__)

MAX_AT_ONCE = 256  # to each service, which has limits of its own
MAX_PER_CLIENT = 64
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
        self.places = {
            name: Budget(lambda: MAX_AT_ONCE, per_client=lambda: MAX_PER_CLIENT, of=f"ways through to {name.upper()}")
            for name in targets
        }

    async def __aenter__(self) -> Forwarder:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)  # hours of audio may take long to transcribe
        self.client = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_watched_socket),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    @property
    def taken(self) -> int:
        return sum(places.taken for places in self.places.values())

    async def forward(self, request: web.Request, route: Route) -> web.StreamResponse:
        client = client_of(request)
        places = self.places[route.target]
        places.require_room(client)
        limits = BodyLimits(route.max_bytes)
        with places.holding(client) as place, body_of(request, limits, route.max_bytes, kept=False) as incoming:
            if not request.can_read_body:
                place.hold(1)
                return await self._exchange(request, route, client, None)
            return await self._exchange(request, route, client, _Passing(incoming, place))

    async def _exchange(
        self, request: web.Request, route: Route, client: str, body: _Passing | None
    ) -> web.StreamResponse:
        base = self.targets[route.target]
        path = route.path.format(**{key: quote(value, safe="") for key, value in request.match_info.items()})
        headers = _kept(request.headers, REQUEST_HEADERS)
        if "Content-Encoding" in request.headers:
            headers.pop("Content-Length", None)  # it is that of the packed body
        headers |= {FORWARDED_FOR: client, "Accept-Encoding": "identity"}  # who waits in its queue
        try:
            answer = await self.client.request(
                route.method,
                yarl.URL(f"{base}{path}", encoded=True),  # a name with a slash in it stays one part of the path
                headers=headers,
                data=body.chunks() if body else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            if body and body.error:
                raise body.error from None
            log.warning("a service does not answer target=%s url=%s: %s", route.target, base, error)
            raise Unavailable(
                f"the {route.target.upper()} service does not answer at {base}: start it with "
                f"python3 -m {MODULES[route.target]}, or tell this one where it is with --{route.target}-url"
            ) from error
        async with answer:
            return await _pass_back(request, answer)


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Without a read timeout, a machine that vanished would be waited for without end."""
    made = socket.socket(*address[:3])
    hangup.notice_vanished(made)
    return made


FORWARDER = web.AppKey("forwarder", Forwarder)


def add_forwarding(app: web.Application) -> None:
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(route))


def _handler(route: Route):  # type: ignore[no-untyped-def]  # aiohttp's handler type is its own
    async def handle(request: web.Request) -> web.StreamResponse:
        return await request.app[FORWARDER].forward(request, route)

    return handle


class _Passing:
    """A body as it arrives, and a way through for it when it is there. `error`: why it came to no good end; aiohttp's
    client raises an error of its own instead."""

    def __init__(self, body: Body, place: Holding) -> None:
        self._body = body
        self._place = place
        self.error: ServiceError | hangup.HungUp | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body.chunks():
                yield chunk
            self._place.hold(1)
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
