"""What the OpenAI-compatible faces of the services share: the list of models, and answers as server-sent events.

https://platform.openai.com/docs/api-reference (read in 2026)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Mapping
from typing import Any

from aiohttp import web

from web_demo.engines.base import Engine
from web_demo.errors import NotFound, ServiceError
from web_demo.server.common import errors, hangup


def add_models(app: web.Application, engine: Engine) -> None:
    """`GET /v1/models` and `GET /v1/models/{id}`: the one model that is served."""

    def card() -> dict[str, Any]:  # on each request: an engine may know its model only after its start
        return {"id": engine.model, "object": "model", "created": 0, "owned_by": engine.name}

    async def every(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [card()]})

    async def one(request: web.Request) -> web.Response:
        asked = request.match_info["model"]
        if asked != engine.model:
            raise NotFound(f"there is no model {asked[:80]!r} here; there is {engine.model!r}")
        return web.json_response(card())

    app.router.add_get("/v1/models", every)
    app.router.add_get("/v1/models/{model:.+}", one)  # an id may have slashes in it


async def send_events(request: web.Request, events: AsyncIterable[Mapping[str, Any] | str]) -> web.StreamResponse:
    """Server-sent events as they are made: JSON objects, or a text as it is. The status is out before the first, so an
    error is the last of them."""
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        async for event in events:
            await _send(request, response, event)
    except ServiceError as error:
        await _send(request, response, {"type": "error", **errors.report(request, error)})
    await response.write_eof()
    return response


async def _send(request: web.Request, response: web.StreamResponse, event: Mapping[str, Any] | str) -> None:
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    await hangup.write(request, response, f"data: {text}\n\n".encode())
