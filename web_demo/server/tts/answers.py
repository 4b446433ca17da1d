"""The three shapes of an answer: bytes of a sound file as it is made, server-sent events, and one JSON object."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.errors import NoSound
from web_demo.server.common import hangup
from web_demo.server.common.answers import json_response
from web_demo.server.common.openai import send_events
from web_demo.server.tts.encode import CONTENT_TYPES, Encoder, encoder, join_samples, whole_wav


async def whole(chunks: AsyncIterator[Samples], rate: int) -> web.Response:
    """The JSON object of `/api/synthesize`."""
    samples = join_samples([chunk async for chunk in chunks])
    if not len(samples):
        raise NoSound("the voice gave no sound for this text")
    audio = await off_loop(lambda: base64.b64encode(whole_wav(samples, rate)).decode())
    duration = round(len(samples) / rate, 3)
    return json_response({"audio": audio, "sample_rate": rate, "duration": duration, "success": True})


async def sound_file(
    request: web.Request, chunks: AsyncGenerator[Samples, None], kind: str, rate: int, told: Mapping[str, str]
) -> web.StreamResponse:
    """The file itself, with the headers `told`. Nothing is sent before there is sound, so that an early failure still has its own
    status."""
    first = await _first(chunks)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Sample-Rate": str(rate)}
    response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPES[kind], **headers, **told})
    await response.prepare(request)
    async with aclosing(_file(first, chunks, kind, rate)) as file:
        async for data in file:
            await hangup.write(request, response, data)
    await response.write_eof()
    return response


async def events(
    request: web.Request, chunks: AsyncGenerator[Samples, None], kind: str, rate: int, told: Mapping[str, str]
) -> web.StreamResponse:
    """OpenAI's `stream_format: sse`: `speech.audio.delta` events with base64 audio, then `speech.audio.done`."""
    first = await _first(chunks)
    async with aclosing(_events(first, chunks, kind, rate)) as made:
        return await send_events(request, made, told)


async def _events(
    first: Samples, chunks: AsyncGenerator[Samples, None], kind: str, rate: int
) -> AsyncGenerator[Mapping[str, Any], None]:
    async for data in _file(first, chunks, kind, rate):
        yield {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
    yield {"type": "speech.audio.done"}


async def _file(
    first: Samples, chunks: AsyncGenerator[Samples, None], kind: str, rate: int
) -> AsyncGenerator[bytes, None]:
    """The bytes of the file, as soon as there are some."""
    codec = encoder(kind, rate)
    if data := await _encode(codec, kind, first):
        yield data
    async for chunk in chunks:
        if data := await _encode(codec, kind, chunk):
            yield data
    if data := codec.finish():
        yield data


async def _first(chunks: AsyncGenerator[Samples, None]) -> Samples:
    async for chunk in chunks:
        if len(chunk):
            return chunk
    raise NoSound("the voice gave no sound for this text")


async def _encode(codec: Encoder, kind: str, samples: Samples) -> bytes:
    if kind in ("wav", "pcm"):
        return codec.encode(samples)
    return await off_loop(codec.encode, samples)  # some milliseconds for each second of sound
