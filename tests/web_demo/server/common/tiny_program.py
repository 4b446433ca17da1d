"""The tiny service as a process of its own, with a watchdog of little patience and a request that holds up the event loop."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from aiohttp import web

from tests.web_demo.server.common.tiny_service import TinyService
from web_demo.server.common import program, watchdog
from web_demo.server.common.forms import BodyLimits, read_form, read_json
from web_demo.server.common.settings import ServiceSettings


@dataclass(frozen=True, kw_only=True)
class TinySettings(ServiceSettings):
    kind = "asr"
    port: int = 0


async def _stick(request: web.Request) -> web.Response:
    time.sleep(float(request.query["seconds"]))  # noqa: ASYNC251 - what must not be done
    return web.Response(text="done")


async def _upload(request: web.Request) -> web.Response:
    return web.json_response(dict(await read_json(request)))


async def _form(request: web.Request) -> web.Response:
    async with read_form(request, BodyLimits(32 << 20), file_field="audio"):
        return web.Response(text="done")


def create_app(settings: TinySettings) -> web.Application:
    service = TinyService()
    service.may_start.set()
    app = service.app(settings)
    app.router.add_get("/api/stick", _stick)
    app.router.add_post("/api/upload", _upload)
    app.router.add_post("/api/form", _form)
    return app


if __name__ == "__main__":
    watchdog.LOOK_S, watchdog.STUCK_S, watchdog.STOP_S = 0.1, 0.5, 0.5
    sys.exit(program.run_program(TinySettings, create_app, None, program="tiny", does="A test."))
