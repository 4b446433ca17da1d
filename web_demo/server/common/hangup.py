"""A client that hangs up before its answer: noticed in one way for every request, whatever the request is waiting for.

`middleware` runs each HTTP request as a task of its own and looks whether its client is still there: in a queue, at the
engine, or half way through an answer, the task is then cancelled, which stops the work behind it. A hang-up is neither the
client's mistake nor the service's, so it is counted apart from the errors. WebSockets notice it by reading, once they are open.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable
from typing import TypeVar

import aiohttp
import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import InvalidRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.2  # how often a request looks whether its client is still there
WRITE_TIMEOUT_S = 15.0  # a client that does not take a slice of its answer in so long is gone
SLICE_BYTES = 64 * 1024
GONE_S = 60  # a peer whose machine says nothing at all for so long has vanished
CLIENT_CLOSED = 499  # nginx's number for it: the answer that nobody reads

HANGUPS = web.AppKey("hangups", prometheus_client.Counter)


class HungUp(Exception):
    """The client is gone, or takes nothing any more."""


def is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def while_connected(request: web.Request, work: Awaitable[T]) -> T:
    """The result of `work`. Raises HungUp when the client goes first; `work` is then cancelled, and has ended."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            if is_gone(request):
                raise HungUp
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task  # else: the task, its error, that error's traceback, this frame, and the task again


async def read(request: web.Request, reading: Awaitable[T]) -> T:
    """The result of a read of the request's body. One that breaks off raises HungUp when its client is gone, InvalidRequest
    when the body is only malformed."""
    try:
        return await reading
    except (
        ConnectionError,
        aiohttp.ClientError,
        web.RequestPayloadError,
        aiohttp.http_exceptions.HttpProcessingError,
    ) as error:
        why = str(error.__cause__ or error) or type(error).__name__
        error.__traceback__ = None  # the stream keeps the error, and with its frames would keep what they hold
    if is_gone(request):
        raise HungUp
    raise InvalidRequest(f"the body of the request is malformed: {' '.join(why.split())[:200]}")


async def write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """A part of an answer, in slices that a client takes in WRITE_TIMEOUT_S each. Raises HungUp, or ConnectionError, when
    there is nobody to take it."""
    view = memoryview(data)
    for start in range(0, len(view), SLICE_BYTES):  # nothing for no data, which would end a chunked answer
        await taken(request, response.write(view[start : start + SLICE_BYTES]))


async def taken(request: web.Request, writing: Awaitable[T]) -> T:
    """The result of one write. Raises HungUp, and breaks the connection off, when the client does not take it in
    WRITE_TIMEOUT_S."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            return await writing
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    raise HungUp


@web.middleware
async def delivery(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Sends whole answers, which aiohttp would wait for without end. Belongs outside of every other middleware."""
    response = await handler(request)
    if is_gone(request):
        return response
    # There is no next request after such a body.
    broken = request.content.exception() is not None or _would_unpack(request)
    try:
        if not response.prepared:
            await _send(request, response, last=broken)
        if not isinstance(response, web.WebSocketResponse):
            await taken(request, response.write_eof())
    except (HungUp, ConnectionError):
        count(request)
    if broken and request.protocol is not None:
        request.protocol.force_close()
    return response


def _would_unpack(request: web.Request) -> bool:
    """aiohttp reads the rest of a body that nobody read, so that its client can read why; a packed one it would unpack for nothing,
    without a pause in which the loop could do something else."""
    return "Content-Encoding" in request.headers and not request.content.is_eof()


async def _send(request: web.Request, response: web.StreamResponse, *, last: bool) -> None:
    if last:
        response.force_close()
    await taken(request, response.prepare(request))
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and request.method != "HEAD":
        for start in range(0, len(response.body), SLICE_BYTES):
            await taken(request, web.StreamResponse.write(response, response.body[start : start + SLICE_BYTES]))
        response.body = None


def count(request: web.Request) -> None:
    request.app[HANGUPS].inc()
    log.info("client hung up method=%s path=%s peer=%s", request.method, request.path, request.remote)


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Needs the counter HANGUPS in the application."""
    upgrades = request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"
    answering = handler(request) if upgrades else while_connected(request, handler(request))
    try:
        return await answering
    except (HungUp, ConnectionError, asyncio.CancelledError) as error:
        if not is_gone(request):
            raise
        count(request)
        if isinstance(
            error, asyncio.CancelledError
        ):  # by aiohttp, which can notice it too, or by the end of the service
            raise
        return web.Response(status=CLIENT_CLOSED)


def notice_vanished(connection: socket.socket) -> None:
    """Has the system ask the peer's machine whether it is still there, and end the connection after GONE_S without a word. What a
    system has no option for keeps that system's own pace (macOS has another name for the first wait)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for names, value in (
        (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), GONE_S // 2),
        (("TCP_KEEPINTVL",), GONE_S // 6),
        (("TCP_KEEPCNT",), 3),
        (("TCP_USER_TIMEOUT",), GONE_S * 1000),
    ):
        option = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
