"""Passes a WebSocket on to another service, message by message both ways, as they are, until one side closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import yarl
from aiohttp import WSCloseCode, WSMsgType, web

from web_demo.errors import InvalidRequest
from web_demo.server.common import hangup
from web_demo.server.common.api.routes import Route
from web_demo.server.common.service import LIFE

PROTOCOLS = "Sec-WebSocket-Protocol"
HEARTBEAT_S = 20.0
CLOSE_S = 5.0
MAX_REFUSAL_BYTES = 16 * 1024
NOT_TO_BE_SENT = (1005, 1006, 1015)  # RFC 6455, 7.4.1: only told, never sent


Far = aiohttp.ClientWebSocketResponse[Any]
Near = web.WebSocketResponse[Any]


class _Refused(Exception):
    """The service wants no WebSocket of this request; its answer."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


async def require_upgrade(answer: aiohttp.ClientResponse) -> None:
    """For the `raise_for_status` of the client that `forward` uses: without it, the words of a refusal are lost."""
    if answer.status != 101:
        body = await answer.content.read(MAX_REFUSAL_BYTES)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
        raise _Refused(answer.status, body, kept)


async def forward(
    request: web.Request, client: aiohttp.ClientSession, url: yarl.URL, headers: dict[str, str], route: Route
) -> web.StreamResponse:
    """The whole life of the WebSocket that `request` asks for. A refusal of the service is the answer. Raises
    aiohttp.ClientError when the service does not answer, InvalidRequest for a request that asks for no WebSocket."""
    if not web.WebSocketResponse().can_prepare(request):
        raise InvalidRequest("this address is a WebSocket")
    lines = request.headers.getall(PROTOCOLS, ())
    offered = [name for line in lines for part in line.split(",") if (name := part.strip())]
    headers = {name: value for name, value in headers.items() if name not in ("Content-Length", "Content-Type")}
    try:
        far = await client.ws_connect(
            url,
            headers=headers,
            protocols=offered,
            max_msg_size=route.message_bytes,
            heartbeat=HEARTBEAT_S,
            decode_text=False,
        )
    except _Refused as refused:
        return web.Response(status=refused.status, body=refused.body, headers=refused.headers)
    async with far:
        near = web.WebSocketResponse(
            protocols=(far.protocol,) if far.protocol else (),
            max_msg_size=route.message_bytes,
            heartbeat=HEARTBEAT_S,
            timeout=CLOSE_S,
            compress=False,
            decode_text=False,
        )
        await near.prepare(request)
        await _exchange(request, near, far)
    return near


async def _exchange(request: web.Request, near: Near, far: Far) -> None:
    """Until one side closes, of which the other is told, or this service shuts down."""
    up = asyncio.create_task(_pass(near, far.send_frame), name="socket-up")
    down = asyncio.create_task(
        _pass(far, lambda *frame: hangup.taken(request, near.send_frame(*frame))), name="socket-down"
    )
    draining = asyncio.create_task(request.app[LIFE].draining.wait(), name="socket-drain")
    code, why = WSCloseCode.GOING_AWAY.value, b""
    try:
        await asyncio.wait((up, down, draining), return_when=asyncio.FIRST_COMPLETED)
        for ended in (up, down):
            if ended.done():
                code, why = ended.result()
    except (hangup.HungUp, ConnectionError):
        pass  # the other side is told that this one went away
    finally:
        for task in (up, down, draining):
            task.cancel()
        await asyncio.gather(up, down, draining, return_exceptions=True)
    with suppress(TimeoutError):  # aiohttp waits for the answer to a close, past all that still comes before it
        async with asyncio.timeout(CLOSE_S):
            await asyncio.gather(near.close(code=code, message=why), far.close(code=code, message=why))


async def _pass(source: Near | Far, send: Callable[[bytes, WSMsgType], Awaitable[None]]) -> tuple[int, bytes]:
    """What `source` says; with what code and reason it closes, as they can be passed on."""
    while (message := await source.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        await send(message.data, message.type)
    code = source.close_code
    why = message.extra.encode() if isinstance(message.extra, str) else b""
    return WSCloseCode.GOING_AWAY.value if code is None or code in NOT_TO_BE_SENT else code, why
