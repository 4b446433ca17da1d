"""`POST /api/synthesize`, and OpenAI's `POST /v1/audio/speech`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.errors import ServiceError
from web_demo.server.common.forms import BODIES, BodyLimits, boolean, read_form, read_json
from web_demo.server.common.hangup import HungUp, is_gone
from web_demo.server.common.openai import add_models
from web_demo.server.tts import answers, prompts, requests
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.requests import SynthesisRequest
from web_demo.server.tts.service import SERVICE, TtsService
from web_demo.server.tts.speech import SpeechStream, speech

JSON_LIMITS = BodyLimits(2 * prompts.MAX_PROMPT_BYTES)  # base64 takes a third more than the recording
BODIES_BYTES = 256 << 20  # in memory, with the recordings of the requests under way


def add_routes(app: web.Application) -> None:
    app.router.add_post("/api/synthesize", _synthesize)
    app.router.add_post("/v1/audio/speech", _openai_speech)
    add_models(app, app[SERVICE].engine)


async def _synthesize(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    asked = await _asked(request, service)
    if boolean("explain", request.query.get("explain")):
        return web.json_response({"language": asked.language, "pieces": asked.pieces, "success": True})
    wants_file = asked.stream or "audio/wav" in request.headers.get("Accept", "")
    with service.admitted(request) as client, request.app[BODIES].admit(client, asked.prompt_bytes):
        return await _answer(request, service, client, asked, wants_file=wants_file)


async def _asked(request: web.Request, service: TtsService) -> SynthesisRequest:
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    if not request.content_type.startswith("multipart/"):
        return await off_loop(requests.from_api, await read_json(request, JSON_LIMITS), can, limit)
    async with read_form(request, prompts.BODY_LIMITS, file_field="prompt_wav") as form:
        recording = await off_loop(form.file.read) if form.file else b""
        return await off_loop(requests.from_api, form.fields, can, limit, recording)


async def _openai_speech(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    asked = await off_loop(requests.from_openai, await read_json(request, JSON_LIMITS), can, limit)
    with service.admitted(request) as client:
        return await _answer(request, service, client, asked, wants_file=True)


async def _answer(
    request: web.Request, service: TtsService, client: str, asked: SynthesisRequest, *, wants_file: bool
) -> web.StreamResponse:
    outcome = "failed"
    try:
        service.metrics.characters.inc(asked.characters)
        service.metrics.text_failures.inc(asked.text_failures)
        began = time.monotonic()
        async with speech(
            service.engine,
            await service.engine_requests(asked, streamed=wants_file),
            turns=service.turns,
            client=client,
            metrics=service.metrics,
        ) as stream:
            chunks = _timed(stream, began, service.metrics)
            response = await _write(request, asked, chunks, stream.rate, wants_file=wants_file)
        if stream.error is None:
            outcome = "done"
        elif isinstance(stream.error, ServiceError):  # told in an event
            outcome = stream.error.code
        return response
    except ServiceError as error:
        outcome = error.code
        raise
    except (asyncio.CancelledError, HungUp, ConnectionError):
        outcome = "gone" if is_gone(request) else "cancelled"  # by the end of the service
        raise
    finally:
        service.metrics.requests.labels(outcome).inc()


async def _timed(stream: SpeechStream, began: float, metrics: TtsMetrics) -> AsyncGenerator[Samples, None]:
    first = True
    async for chunk in stream.chunks():
        if first:
            metrics.first_audio.observe(time.monotonic() - began)
            first = False
        yield chunk


async def _write(
    request: web.Request, asked: SynthesisRequest, chunks: AsyncGenerator[Samples, None], rate: int, *, wants_file: bool
) -> web.StreamResponse:
    if not wants_file:
        return await answers.whole(chunks, rate)
    if asked.framing == "sse":
        return await answers.events(request, chunks, asked.format, rate)
    return await answers.sound_file(request, chunks, asked.format, rate)
