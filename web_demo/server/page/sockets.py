"""Passes a WebSocket on to another service, message by message both ways, as they are, until one side closes it."""

from __future__ import annotations

import asyncio
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
MAX_REASON_BYTES = 120
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
    """Until one side closes, and the other was told so, or this service shuts down."""
    ends = [
        asyncio.create_task(_pass(request, near, far), name="socket-up"),
        asyncio.create_task(_pass(request, far, near), name="socket-down"),
        asyncio.create_task(request.app[LIFE].draining.wait(), name="socket-drain"),
    ]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ends:
            task.cancel()
        results = await asyncio.gather(*ends, return_exceptions=True)
    await asyncio.gather(*(side.close(code=WSCloseCode.GOING_AWAY) for side in (near, far) if not side.closed))
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConnectionError | hangup.HungUp):
            raise result


async def _pass(request: web.Request, source: Near | Far, target: Near | Far) -> None:
    """What `source` says, to `target`, and at last that it closed. Raises HungUp or ConnectionError when `target` takes
    nothing."""
    while (message := await source.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        await hangup.taken(request, target.send_frame(message.data, message.type))
    code = source.close_code
    await target.close(
        code=WSCloseCode.GOING_AWAY if code is None or code in NOT_TO_BE_SENT else code,
        message=message.extra.encode()[:MAX_REASON_BYTES] if isinstance(message.extra, str) else b"",
    )
