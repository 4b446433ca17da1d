"""`POST /api/synthesize`, and OpenAI's `POST /v1/audio/speech`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.errors import InvalidRequest, ServiceError
from web_demo.server.common.answers import json_response
from web_demo.server.common.forms import BODIES, BodyLimits, boolean, read_form, read_json
from web_demo.server.common.hangup import HungUp, is_gone
from web_demo.server.tts import answers, prompts, requests
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.references import UPLOAD_FIELD
from web_demo.server.tts.requests import SynthesisRequest
from web_demo.server.tts.service import SERVICE, TtsService
from web_demo.server.tts.speech import Piece, Said, SpeechStream, speech

JSON_LIMITS = BodyLimits(2 * prompts.MAX_PROMPT_BYTES)  # base64 takes a third more than the recording
BODIES_BYTES = 256 << 20  # in memory, with the recordings of the requests under way


async def synthesize(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    asked = await _asked(request, service)
    if boolean("explain", request.query.get("explain")):
        return json_response({"language": asked.language, "pieces": asked.pieces, "success": True})
    if "audio/wav" in request.headers.get("Accept", ""):
        asked = replace(asked, stream=True)
    wants_json = not asked.stream and asked.framing == "audio"
    with service.admitted(request) as client, request.app[BODIES].admit(client, asked.recording_bytes):
        return await _answer(request, service, client, asked, wants_json=wants_json)


async def _asked(request: web.Request, service: TtsService) -> SynthesisRequest:
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    if not request.content_type.startswith("multipart/"):
        body = await read_json(request, JSON_LIMITS)
        return await off_loop(requests.from_api, body, can, limit, said_in=service.said_in)
    async with read_form(request, prompts.BODY_LIMITS, file_field=UPLOAD_FIELD) as form:
        recording = await off_loop(form.file.read) if form.file else b""
        return await off_loop(requests.from_api, form.fields, can, limit, recording, service.said_in)


async def openai_speech(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    asked = await off_loop(requests.from_openai, await read_json(request, JSON_LIMITS), can, limit, service.said_in)
    with service.admitted(request) as client, request.app[BODIES].admit(client, asked.recording_bytes):
        return await _answer(request, service, client, asked, wants_json=False)


async def _answer(
    request: web.Request, service: TtsService, client: str, asked: SynthesisRequest, *, wants_json: bool
) -> web.StreamResponse:
    outcome = "failed"
    try:
        service.metrics.characters.inc(asked.characters)
        service.metrics.text_failures.inc(asked.text_failures)
        if asked.timestamps:
            if not wants_json and asked.framing != "sse":
                raise InvalidRequest(
                    "a sound file has no place for timestamps: leave stream out of /api/synthesize, or send stream_format sse"
                )
            await service.require_word_times(asked.language)
        began = time.monotonic()
        async with speech(
            service.engine,
            await service.engine_requests(asked, streamed=not wants_json),
            turns=service.turns,
            client=client,
            metrics=service.metrics,
            timed=asked.timestamps,
        ) as stream:
            rate = stream.rate
            if wants_json or asked.framing == "sse":
                items = _with_words(stream, began, service, client, asked)
                if wants_json:
                    response: web.StreamResponse = await answers.json_object(
                        items, rate, asked.sample_rate, timestamps=asked.timestamps
                    )
                else:
                    response = await answers.events(request, items, asked, rate)
            else:
                response = await answers.sound_file(request, _timed(stream, began, service.metrics), asked, rate)
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


async def _with_words(
    stream: SpeechStream, began: float, service: TtsService, client: str, asked: SynthesisRequest
) -> AsyncGenerator[Samples | answers.Words, None]:
    """As `_timed`, with the times of each piece's words after its sound, where they were asked for."""
    first = True
    async for item in stream.items():
        if isinstance(item, Said):
            words = await service.words(item, client, asked.language)
            yield answers.Words(item.request.text, words)
        elif not isinstance(item, Piece):
            if first:
                service.metrics.first_audio.observe(time.monotonic() - began)
                first = False
            yield item
