"""Passes streams of text that come to the page's port on to the TTS service, message by message, in both directions.

A side that takes nothing holds up the reading of the other, so nothing piles up here. The key of a browser, which stands in the
query, goes on as a header.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp
from aiohttp import WSMsgType, web

from web_demo.errors import InvalidRequest, Unavailable
from web_demo.server.common.budgets import FORWARDED_FOR, client_of
from web_demo.server.common.hangup import WRITE_TIMEOUT_S
from web_demo.server.common.service import LIFE
from web_demo.server.page.forward import FORWARDER, MODULES

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
HEADERS = ("Authorization", "X-API-Key")
NEVER_SENT = (1005, 1006, 1015)  # RFC 6455, 7.4.1: these say that nothing was

PATH = "/api/synthesize/stream"
TARGET = "tts"
MAX_MESSAGE_BYTES = 4 << 20


def add_text_stream(app: web.Application) -> None:
    app.router.add_get(PATH, _pass)


async def _pass(request: web.Request) -> web.StreamResponse:
    if not web.WebSocketResponse().can_prepare(request):
        raise InvalidRequest(f"{PATH} is a WebSocket; a whole text is spoken by POST /api/synthesize")
    forwarder, client = request.app[FORWARDER], client_of(request)
    base = forwarder.targets[TARGET]
    query = {name: value for name, value in request.query.items() if name != "api_key"}
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers} | {FORWARDED_FOR: client}
    if "api_key" in request.query:
        headers["X-API-Key"] = request.query["api_key"]
    with forwarder.places[TARGET].admit(client):
        try:
            theirs = await forwarder.client.ws_connect(
                f"{base}{PATH}",
                params=query,
                headers=headers,
                max_msg_size=MAX_MESSAGE_BYTES,
                heartbeat=HEARTBEAT_S,
            )
        except aiohttp.WSServerHandshakeError as error:  # its words are lost in the handshake
            return _refusal(error)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("a service does not answer target=%s url=%s: %s", TARGET, base, error)
            raise Unavailable(
                f"the {TARGET.upper()} service does not answer at {base}: start it with "
                f"python3 -m {MODULES[TARGET]}, or tell this one where it is with --{TARGET}-url"
            ) from error
        async with theirs:
            ours = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S)
            await ours.prepare(request)
            await _exchange(request, ours, theirs)
            return ours


def _refusal(error: aiohttp.WSServerHandshakeError) -> web.Response:
    message = f"the {TARGET.upper()} service refused the stream with status {error.status}"
    kept = {name: error.headers[name] for name in ("Retry-After",) if error.headers and name in error.headers}
    body = {"success": False, "error": {"code": "refused", "message": message}}
    return web.json_response(body, status=error.status if error.status >= 400 else 502, headers=kept)


async def _exchange(request: web.Request, ours: web.WebSocketResponse, theirs: aiohttp.ClientWebSocketResponse) -> None:
    """Until either side hangs up, or this service shuts down; the other is then told so, with its code."""
    passing = [
        asyncio.create_task(_copy(ours, theirs), name="socket-up"),
        asyncio.create_task(_copy(theirs, ours), name="socket-down"),
        asyncio.create_task(_draining(request), name="socket-drain"),
    ]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in passing:
            task.cancel()
        for outcome in await asyncio.gather(*passing, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError | TimeoutError):
                log.error("passing a stream on failed", exc_info=outcome)
    draining = request.app[LIFE].draining.is_set()
    await ours.close(code=aiohttp.WSCloseCode.GOING_AWAY if draining else _code(theirs.close_code))
    await theirs.close(code=_code(ours.close_code))


def _code(code: int | None) -> int:
    """What a side closed with, as it may be said to the other one."""
    return aiohttp.WSCloseCode.GOING_AWAY if code is None or code in NEVER_SENT else code


async def _draining(request: web.Request) -> None:
    await request.app[LIFE].draining.wait()


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _copy(source: Socket, sink: Socket) -> None:
    async for message in source:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
