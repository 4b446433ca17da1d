"""A client that hangs up before its answer: noticed in one way for every request, whatever the request is waiting for.

`middleware` runs each HTTP request as a task of its own and looks whether its client is still there: in a queue, at the
engine, or half way through an answer, the task is then cancelled, which stops the work behind it. A hang-up is neither the
client's mistake nor the service's, so it is counted apart from the errors. WebSockets notice it by reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import aiohttp
import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import InvalidRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.2  # how often a request looks whether its client is still there
WRITE_TIMEOUT_S = 60.0  # a client that takes nothing of its answer for so long is gone
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


@contextmanager
def reading(request: web.Request) -> Iterator[None]:
    """Around reads of the request's body. One that breaks off raises HungUp when its client is gone, InvalidRequest
    when it is only malformed."""
    try:
        yield
    except (ConnectionError, aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError) as error:
        if is_gone(request):
            raise HungUp from error
        raise InvalidRequest(f"the body of the request is malformed: {error}") from error


async def write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """A part of an answer. Raises HungUp, or ConnectionError, when there is nobody to take it."""
    if not data:  # which would end a chunked answer
        return
    try:
        await asyncio.wait_for(response.write(data), WRITE_TIMEOUT_S)
    except TimeoutError as error:
        if request.transport is not None:
            request.transport.abort()
        raise HungUp from error


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Needs the counter HANGUPS in the application."""
    if request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket":
        return await handler(request)
    try:
        return await while_connected(request, handler(request))
    except (HungUp, ConnectionError, asyncio.CancelledError) as error:
        if not is_gone(request):
            raise
        request.app[HANGUPS].inc()
        log.info("client hung up method=%s path=%s peer=%s", request.method, request.path, request.remote)
        if isinstance(
            error, asyncio.CancelledError
        ):  # by aiohttp, which can notice it too, or by the end of the service
            raise
        return web.Response(status=CLIENT_CLOSED)
