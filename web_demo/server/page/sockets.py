"""Passes WebSockets of the page's port on to the services behind it, message by message, in both directions.

A side that takes nothing holds up the reading of the other, so nothing piles up here. The key of a browser, which stands in the
query, goes on as a header.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType, web

from web_demo.errors import Unavailable
from web_demo.server.common.budgets import FORWARDED_FOR, client_of
from web_demo.server.common.hangup import WRITE_TIMEOUT_S
from web_demo.server.common.service import LIFE
from web_demo.server.page.forward import FORWARDER, MODULES

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
HEADERS = ("Authorization", "X-API-Key")


@dataclass(frozen=True)
class SocketRoute:
    path: str
    target: str
    max_bytes: int  # of a message


ROUTES = (SocketRoute("/api/synthesize/stream", "tts", 4 << 20),)


def add_sockets(app: web.Application) -> None:
    for route in ROUTES:
        app.router.add_get(route.path, _handler(route))


def _handler(route: SocketRoute):  # type: ignore[no-untyped-def]  # aiohttp's handler type is its own
    async def handle(request: web.Request) -> web.StreamResponse:
        return await _pass(request, route)

    return handle


async def _pass(request: web.Request, route: SocketRoute) -> web.StreamResponse:
    forwarder, client = request.app[FORWARDER], client_of(request)
    base = forwarder.targets[route.target]
    query = {name: value for name, value in request.query.items() if name != "api_key"}
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers} | {FORWARDED_FOR: client}
    if "api_key" in request.query:
        headers["X-API-Key"] = request.query["api_key"]
    with forwarder.places[route.target].admit(client):
        try:
            theirs = await forwarder.client.ws_connect(
                f"{base}{route.path}",
                params=query,
                headers=headers,
                max_msg_size=route.max_bytes,
                heartbeat=HEARTBEAT_S,
            )
        except aiohttp.WSServerHandshakeError as error:  # its words are lost in the handshake
            return _refusal(route, error)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("a service does not answer target=%s url=%s: %s", route.target, base, error)
            raise Unavailable(
                f"the {route.target.upper()} service does not answer at {base}: start it with "
                f"python3 -m {MODULES[route.target]}, or tell this one where it is with --{route.target}-url"
            ) from error
        async with theirs:
            ours = web.WebSocketResponse(max_msg_size=route.max_bytes, heartbeat=HEARTBEAT_S)
            await ours.prepare(request)
            await _exchange(request, ours, theirs)
            return ours


def _refusal(route: SocketRoute, error: aiohttp.WSServerHandshakeError) -> web.Response:
    message = f"the {route.target.upper()} service refused the stream with status {error.status}"
    kept = {name: error.headers[name] for name in ("Retry-After",) if error.headers and name in error.headers}
    body = {"success": False, "error": {"code": "refused", "message": message}}
    return web.json_response(body, status=error.status if error.status >= 400 else 502, headers=kept)


async def _exchange(request: web.Request, ours: web.WebSocketResponse, theirs: aiohttp.ClientWebSocketResponse) -> None:
    """Until either side hangs up; the other is then told so, with its code."""
    passing = [
        asyncio.create_task(_copy(ours, theirs), name="socket-up"),
        asyncio.create_task(_copy(theirs, ours), name="socket-down"),
    ]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in passing:
            task.cancel()
        for outcome in await asyncio.gather(*passing, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError | TimeoutError):
                log.error("passing a stream on failed", exc_info=outcome)
    shutting_down = aiohttp.WSCloseCode.GOING_AWAY if request.app[LIFE].draining.is_set() else None
    await ours.close(code=theirs.close_code or shutting_down or aiohttp.WSCloseCode.OK)
    await theirs.close(code=ours.close_code or aiohttp.WSCloseCode.OK)


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _copy(source: Socket, sink: Socket) -> None:
    async for message in source:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
