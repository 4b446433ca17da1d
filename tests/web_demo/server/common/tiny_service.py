"""The smallest service there can be, on a real socket: what all services share, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import prometheus_client
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from web_demo.errors import Busy, EngineFailed
from web_demo.server.common.api.routes import Route, add_routes
from web_demo.server.common.forms import BodyLimits, read_json
from web_demo.server.common.health import Health
from web_demo.server.common.service import make_app
from web_demo.server.common.settings import ServiceSettings


class TinyService:
    """Starts when `may_start` is set; fails to start with `start_error`; is at fault while `fault` says so."""

    def __init__(self, *, start_error: Exception | None = None) -> None:
        self.may_start = asyncio.Event()
        self._tried = asyncio.Event()
        self.start_error = start_error
        self.fault: str | None = None
        self.closed = 0
        self.entered = asyncio.Event()  # a request waits in /api/slow
        self.may_answer = asyncio.Event()
        self.health = Health(lambda: {"model": "tiny", "device": "cpu"}, lambda: self.fault)

    async def start(self) -> None:
        await self.may_start.wait()
        asyncio.get_running_loop().call_soon(self._tried.set)  # after this task is done
        if self.start_error is not None:
            raise self.start_error

    async def close(self) -> None:
        self.closed += 1

    async def started(self) -> None:
        """Start, and return when the outcome is known."""
        self.may_start.set()
        await self._tried.wait()

    def app(self, settings: ServiceSettings) -> web.Application:
        app = make_app(settings, self, prometheus_client.CollectorRegistry(), client_max_size=1000)
        add_routes(app, [Route("GET", "/", _open, "A page.", open=True)])
        app.router.add_get("/api/open", _open)
        app.router.add_post("/api/echo", _echo)
        app.router.add_get("/api/busy", _busy)
        app.router.add_get("/api/failed", _failed)
        app.router.add_get("/api/broken", _broken)
        app.router.add_get("/api/slow", self._slow)
        app.router.add_get("/api/socket", _socket)
        return app

    async def _slow(self, request: web.Request) -> web.Response:
        self.entered.set()
        await self.may_answer.wait()
        return web.Response(text="done")


@asynccontextmanager
async def serving(service: TinyService | None = None, **settings: object) -> AsyncIterator[TestClient]:
    service = service or TinyService()
    app = service.app(ServiceSettings(port=0, **settings))  # type: ignore[arg-type]
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def _open(request: web.Request) -> web.Response:
    return web.Response(text="welcome")


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(dict(await read_json(request, BodyLimits(1000, body_s=0.3))))


async def _busy(request: web.Request) -> web.Response:
    raise Busy("the queue is full", retry_after_s=7)


async def _failed(request: web.Request) -> web.Response:
    raise EngineFailed("the engine could not finish")


async def _broken(request: web.Request) -> web.Response:
    raise RuntimeError("a secret detail")


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("welcome")
    await socket.close()
    return socket
