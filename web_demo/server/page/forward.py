"""Passes requests on to the ASR and the TTS service, so that one address is enough for all three.

What is passed on are the routes of their tables, each to its one service, and nothing else. Bodies stream through in both
directions, in constant memory; a packed one goes on unpacked, as it was counted. A way through is taken when a request's body is
there, as the services do it; a WebSocket holds one to its end (`sockets.py`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import ServiceError, Unavailable
from web_demo.server.common import hangup
from web_demo.server.common.api.routes import Route
from web_demo.server.common.budgets import FORWARDED_FOR, Budget, Holding, client_of
from web_demo.server.common.fetch import read_json_answer
from web_demo.server.common.forms import MAX_TEXT_BYTES, Body, BodyLimits, body_of
from web_demo.server.page import sockets
from web_demo.server.page.advice import start_command

log = logging.getLogger(__name__)

MAX_AT_ONCE = 256  # to each service, which has limits of its own
MAX_PER_CLIENT = 64
CHUNK_BYTES = 64 * 1024
ASK_TIMEOUT_S = 2.0  # for a list
MAX_LIST_BYTES = 256 * 1024
REQUEST_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Accept",
    "Accept-Language",
    "Authorization",
    "X-API-Key",
    "API-Key",
    "OpenAI-Beta",
)
RESPONSE_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Content-Disposition",
    "Retry-After",
    "Cache-Control",
    "X-Accel-Buffering",
    "X-Audio-Warning",
    "X-Ignored-Parameters",
    "X-Sample-Rate",
)


@dataclass(frozen=True)
class Target:
    """A service, where it is, and what it answers."""

    name: str
    url: str
    routes: tuple[Route, ...]


class Forwarder:
    """Owns the client that speaks to the targets; use it as an async context."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = {target.name: target.url.rstrip("/") for target in targets}
        self.places = {
            name: Budget(lambda: MAX_AT_ONCE, per_client=lambda: MAX_PER_CLIENT, of=f"ways through to {name.upper()}")
            for name in self.targets
        }

    async def __aenter__(self) -> Forwarder:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)  # hours of audio may take long to transcribe
        self.client = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_watched_socket),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self.socket_client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            connector=self.client.connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=sockets.require_upgrade,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket_client.close()
        await self.client.close()

    @property
    def taken(self) -> int:
        return sum(places.taken for places in self.places.values())

    async def forward(self, request: web.Request, name: str, route: Route) -> web.StreamResponse:
        """To the service `name`, whose route it is."""
        client = client_of(request)
        places = self.places[name]
        places.require_room(client)
        if route.socket:
            with places.admit(client), self._answering(name):
                url, headers = self._address(request, name, route), _headers(request, client)
                return await sockets.forward(request, self.socket_client, url, headers, route)
        limits, cap = BodyLimits(route.max_bytes), route.max_bytes + MAX_TEXT_BYTES * bool(route.bodies)
        with places.holding(client) as place, body_of(request, limits, cap, kept=False) as incoming:
            if not request.can_read_body:
                place.hold(1)
                return await self._exchange(request, name, route, client, None)
            return await self._exchange(request, name, route, client, _Passing(incoming, place))

    async def ask(self, request: web.Request, name: str, path: str) -> Any:
        """What the service `name` answers to GET `path`, for the client of `request`: JSON, or None when it does not answer."""
        client = client_of(request)
        with self.places[name].admit(client):
            try:
                async with self.client.get(
                    f"{self.targets[name]}{path}",
                    headers=_headers(request, client),
                    timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S),
                ) as answer:
                    return await read_json_answer(answer, MAX_LIST_BYTES) if answer.status == 200 else None
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.info("a service does not answer target=%s path=%s: %s", name, path, error)
                return None

    def _address(self, request: web.Request, name: str, route: Route) -> yarl.URL:
        path = route.address.format(**{key: quote(value, safe="") for key, value in request.match_info.items()})
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        # A name with a slash in it stays one part of the path.
        return yarl.URL(f"{self.targets[name]}{path}{query}", encoded=True)

    @contextmanager
    def _answering(self, name: str, body: _Passing | None = None) -> Iterator[None]:
        """Raises Unavailable when the service does not answer to what is asked in the block."""
        base = self.targets[name]
        try:
            yield
        except (aiohttp.ClientError, TimeoutError) as error:
            if body and body.error:
                raise body.error from None
            log.warning("a service does not answer target=%s url=%s: %s", name, base, error)
            raise Unavailable(
                f"the {name.upper()} service does not answer at {base} (--{name}-url tells this one where it is). "
                f"To start it there: {start_command(name, base)}"
            ) from error

    async def _exchange(
        self, request: web.Request, name: str, route: Route, client: str, body: _Passing | None
    ) -> web.StreamResponse:
        with self._answering(name, body):
            answer = await self.client.request(
                request.method,
                self._address(request, name, route),
                headers=_headers(request, client),
                data=body.chunks() if body else None,
                allow_redirects=False,
            )
        async with answer:
            return await _pass_back(request, answer)


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Without a read timeout, a machine that vanished would be waited for without end."""
    made = socket.socket(*address[:3])
    hangup.notice_vanished(made)
    return made


FORWARDER = web.AppKey("forwarder", Forwarder)


def forwarded(target: Target) -> tuple[Route, ...]:
    """Its routes, for the application that passes requests on to it."""
    return tuple(
        replace(route, handler=_handler(target.name, route), only=route.behind, behind={}) for route in target.routes
    )


def _handler(name: str, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await request.app[FORWARDER].forward(request, name, route)

    return handle


def _headers(request: web.Request, client: str) -> dict[str, str]:
    """Of a request that is passed on for `client`, who waits in the service's queue."""
    headers = _kept(request.headers, REQUEST_HEADERS)
    if "Content-Encoding" in request.headers:
        headers.pop("Content-Length", None)  # it is that of the packed body
    return headers | {FORWARDED_FOR: client, "Accept-Encoding": "identity"}


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
