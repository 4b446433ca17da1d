"""The OpenAI-compatible face: `POST /v1/audio/transcriptions` and `GET /v1/models`.

https://platform.openai.com/docs/api-reference/audio/createTranscription (read in 2026)
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from web_demo.audio.samples import Audio
from web_demo.engines.asr.cuts import join_texts
from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest, NotFound, ServiceError
from web_demo.server.asr import formats
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.transcriber import Options, join
from web_demo.server.common.forms import Form, read_form
from web_demo.server.common.service import error_body

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
GRANULARITIES = ("segment", "word")


def add_routes(app: web.Application) -> None:
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/v1/models/{model:.+}", _model)
    app.router.add_post("/v1/audio/transcriptions", _transcriptions)


def _card(service: AsrService) -> dict[str, Any]:
    return {"id": service.engine.model, "object": "model", "created": 0, "owned_by": service.engine.name}


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_card(request.app[SERVICE])]})


async def _model(request: web.Request) -> web.Response:
    card, asked = _card(request.app[SERVICE]), request.match_info["model"]
    if asked != card["id"]:
        raise NotFound(f"there is no model {asked[:80]!r} here; there is {card['id']!r}")
    return web.json_response(card)


async def _transcriptions(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    with service.admitted():
        form = await read_form(request, service.form_limits, file_field="file")
        if "file" not in form.files:
            raise InvalidRequest("the form has no file; send the audio in the field 'file'")
        shape, granularities = _shape(form, service)
        options = service.options(form.get("language"), form.get("prompt"))
        decoded = await service.while_connected(request, service.decode(form.files["file"]))
        if form.get("stream").lower() == "true":
            return await _stream(request, service, decoded.audio, options)
        transcript = await service.while_connected(request, service.transcriber.transcribe(decoded.audio, options))
        return _answer(transcript, decoded.audio.seconds, shape, granularities)


def _shape(form: Form, service: AsrService) -> tuple[str, list[str]]:
    shape = form.get("response_format") or "json"
    if shape not in FORMATS:
        raise InvalidRequest(f"response_format must be one of {', '.join(FORMATS)}; got {shape[:40]!r}")
    granularities = form.values.get("timestamp_granularities[]") or form.values.get("timestamp_granularities") or []
    for name in granularities:
        if name not in GRANULARITIES:
            raise InvalidRequest(f"timestamp_granularities[] takes {' and '.join(GRANULARITIES)}; got {name[:40]!r}")
    if granularities and shape != "verbose_json":
        raise InvalidRequest(f"timestamp_granularities[] needs response_format=verbose_json, got {shape}")
    if "word" in granularities and service.engine.capabilities.timestamps != "word":
        raise InvalidRequest(f"the engine {service.engine.name} has no word times; ask for segment")
    return shape, granularities or ["segment"]


def _answer(transcript: Transcript, duration_s: float, shape: str, granularities: list[str]) -> web.Response:
    if shape == "text":
        return web.Response(text=transcript.text + "\n")
    if shape == "srt":
        return web.Response(text=formats.srt(transcript), content_type="application/x-subrip")
    if shape == "vtt":
        return web.Response(text=formats.vtt(transcript), content_type="text/vtt")
    if shape == "verbose_json":
        return web.json_response(formats.verbose_json(transcript, duration_s, granularities))
    return web.json_response({"text": transcript.text})


async def _stream(request: web.Request, service: AsrService, audio: Audio, options: Options) -> web.StreamResponse:
    """Server-sent events: a delta for each piece as it is ready, then the whole text."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    try:
        await service.while_connected(request, _send_pieces(response, service.transcriber.pieces(audio, options)))
    except ServiceError as error:  # the status has been sent: the error is an event
        if request.transport is not None:
            await _event(response, {"type": "error", **error_body(error.code, error.message)})
    return response


async def _send_pieces(response: web.StreamResponse, pieces: AsyncGenerator[Transcript, None]) -> None:
    parts: list[Transcript] = []
    text = ""
    async with aclosing(pieces):
        async for part in pieces:
            parts.append(part)
            grown = join_texts((text, part.text))
            if grown != text:
                await _event(response, {"type": "transcript.text.delta", "delta": grown[len(text) :]})
            text = grown
    await _event(response, {"type": "transcript.text.done", "text": join(parts, "").text})
    await response.write(b"data: [DONE]\n\n")


async def _event(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
