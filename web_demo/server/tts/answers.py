"""The shapes of an answer: a sound file, as it is made or whole, server-sent events, and one JSON object."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.errors import NoSound
from web_demo.server.common import hangup
from web_demo.server.common.openai import send_events
from web_demo.server.tts.encode import CONTENT_TYPES, WAV_HEADER_BYTES, Encoder, PcmEncoder, encoder
from web_demo.server.tts.requests import SpeechOptions


async def json_object(chunks: AsyncGenerator[Samples, None], rate: int, sample_rate: int | None) -> web.Response:
    """The JSON object of `/api/synthesize`, with a whole WAV file in it."""
    made_rate = sample_rate or rate
    wav = await _whole(chunks, encoder("wav", made_rate, source_rate=rate, whole=True))
    audio = await off_loop(lambda: base64.b64encode(wav).decode())
    duration = round((len(wav) - WAV_HEADER_BYTES) / 2 / made_rate, 3)
    return web.json_response({"audio": audio, "sample_rate": made_rate, "duration": duration, "success": True})


async def sound_file(
    request: web.Request, chunks: AsyncGenerator[Samples, None], asked: SpeechOptions, rate: int
) -> web.StreamResponse:
    """The file itself, as it is made or whole. Nothing is sent before there is sound, so that an early failure still has its own
    status."""
    made_rate = asked.sample_rate or rate
    codec = encoder(asked.format, made_rate, source_rate=rate, whole=not asked.stream)
    headers = {
        "Content-Type": CONTENT_TYPES[asked.format],
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Sample-Rate": str(made_rate),
    }
    if not asked.stream:
        return web.Response(body=await _whole(chunks, codec), headers=headers)
    first = await _first(chunks)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    async with aclosing(encoded(first, chunks, codec)) as file:
        async for data in file:
            await hangup.write(request, response, data)
    await response.write_eof()
    return response


async def events(
    request: web.Request, chunks: AsyncGenerator[Samples, None], asked: SpeechOptions, rate: int
) -> web.StreamResponse:
    """OpenAI's `stream_format: sse`: `speech.audio.delta` events with base64 audio, then `speech.audio.done`."""
    codec = encoder(asked.format, asked.sample_rate or rate, source_rate=rate)
    first = await _first(chunks)
    async with aclosing(_events(encoded(first, chunks, codec))) as made:
        return await send_events(request, made)


async def _events(file: AsyncGenerator[bytes, None]) -> AsyncGenerator[Mapping[str, Any], None]:
    async with aclosing(file):
        async for data in file:
            yield {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
    yield {"type": "speech.audio.done"}


async def encoded(first: Samples, chunks: AsyncGenerator[Samples, None], codec: Encoder) -> AsyncGenerator[bytes, None]:
    """The bytes of the file, as soon as there are some."""
    if data := await encode(codec, first):
        yield data
    async for chunk in chunks:
        if data := await encode(codec, chunk):
            yield data
    if data := codec.finish():
        yield data


async def _whole(chunks: AsyncGenerator[Samples, None], codec: Encoder) -> bytes:
    first = await _first(chunks)
    return b"".join([data async for data in encoded(first, chunks, codec)])


async def _first(chunks: AsyncGenerator[Samples, None]) -> Samples:
    async for chunk in chunks:
        if len(chunk):
            return chunk
    raise NoSound("the voice gave no sound for this text")


async def encode(codec: Encoder, samples: Samples) -> bytes:
    if isinstance(codec, PcmEncoder):
        return codec.encode(samples)
    return await off_loop(codec.encode, samples)  # some milliseconds for each second of sound
