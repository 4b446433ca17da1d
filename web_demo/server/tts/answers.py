"""The three shapes of an answer: bytes of a sound file as it is made, server-sent events, and one JSON object."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.errors import EngineFailed, ServiceError
from web_demo.server.common.hangup import HungUp
from web_demo.server.tts.encode import CONTENT_TYPES, Encoder, encoder, join, whole_wav

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 60.0  # a client that takes nothing for so long is gone


async def whole(chunks: AsyncIterator[Samples], rate: int) -> web.Response:
    """The JSON object of `/api/synthesize`."""
    samples = join([chunk async for chunk in chunks])
    if not len(samples):
        raise EngineFailed("the engine made no sound of this text")
    audio = await off_loop(lambda: base64.b64encode(whole_wav(samples, rate)).decode())
    duration = round(len(samples) / rate, 3)
    return web.json_response({"audio": audio, "sample_rate": rate, "duration": duration, "success": True})


async def sound_file(
    request: web.Request, chunks: AsyncGenerator[Samples, None], kind: str, rate: int
) -> web.StreamResponse:
    """The file itself. Nothing is sent before there is sound, so that an early failure still has its own status."""
    first = await _first(chunks)
    response = _response(CONTENT_TYPES[kind], {"X-Sample-Rate": str(rate)})
    await response.prepare(request)
    codec = encoder(kind, rate)
    await _write(request, response, await _encode(codec, kind, first))
    async for chunk in chunks:
        await _write(request, response, await _encode(codec, kind, chunk))
    await _write(request, response, codec.finish())
    await response.write_eof()
    return response


async def events(
    request: web.Request, chunks: AsyncGenerator[Samples, None], kind: str, rate: int
) -> web.StreamResponse:
    """OpenAI's `stream_format: sse`: `speech.audio.delta` events with base64 audio, then `speech.audio.done`."""
    first = await _first(chunks)
    response = _response("text/event-stream", {})
    await response.prepare(request)
    codec = encoder(kind, rate)
    try:
        await _send_delta(request, response, await _encode(codec, kind, first))
        async for chunk in chunks:
            await _send_delta(request, response, await _encode(codec, kind, chunk))
        await _send_delta(request, response, codec.finish())
    except ServiceError as error:
        log.error("speech failed under way: %s", error)
        await _send(request, response, {"type": "error", "error": {"code": error.code, "message": error.message}})
    else:
        await _send(request, response, {"type": "speech.audio.done"})
    await response.write_eof()
    return response


async def _first(chunks: AsyncGenerator[Samples, None]) -> Samples:
    async for chunk in chunks:
        if len(chunk):
            return chunk
    raise EngineFailed("the engine made no sound of this text")


def _response(content_type: str, headers: Mapping[str, str]) -> web.StreamResponse:
    return web.StreamResponse(
        headers={"Content-Type": content_type, "Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers}
    )


async def _encode(codec: Encoder, kind: str, samples: Samples) -> bytes:
    if kind in ("wav", "pcm"):
        return codec.encode(samples)
    return await off_loop(codec.encode, samples)  # some milliseconds for each second of sound


async def _write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    if not data:
        return
    try:
        await asyncio.wait_for(response.write(data), WRITE_TIMEOUT_S)
    except TimeoutError as error:
        if request.transport is not None:
            request.transport.abort()
        raise HungUp from error


async def _send_delta(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    if data:
        await _send(request, response, {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


async def _send(request: web.Request, response: web.StreamResponse, event: Mapping[str, Any]) -> None:
    await _write(request, response, f"data: {json.dumps(event)}\n\n".encode())
