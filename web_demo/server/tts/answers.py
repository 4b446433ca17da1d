"""The shapes of an answer: a sound file, as it is made or whole, server-sent events, and one JSON object."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.engines.tts.word_times import SpokenWord
from web_demo.errors import NoSound
from web_demo.server.common import hangup
from web_demo.server.common.openai import send_events
from web_demo.server.tts.encode import CONTENT_TYPES, WAV_HEADER_BYTES, Encoder, PcmEncoder, encoder
from web_demo.server.tts.requests import SpeechOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """When the words of one piece, which is `text`, are said."""

    text: str
    words: tuple[SpokenWord, ...]


async def json_object(
    items: AsyncGenerator[Samples | Words, None], rate: int, sample_rate: int | None, *, timestamps: bool
) -> web.Response:
    """The JSON object of `/api/synthesize`, with a whole WAV file in it, and the times of words where they were asked for."""
    made_rate = sample_rate or rate
    codec = encoder("wav", made_rate, source_rate=rate, whole=True)
    words: list[Mapping[str, Any]] = []
    async for item in items:
        if isinstance(item, Words):
            words += words_json(item.words)
        else:
            await encode(codec, item)
    wav = codec.finish()
    if len(wav) == WAV_HEADER_BYTES:
        raise NoSound("the voice gave no sound for this text")
    audio = await off_loop(lambda: base64.b64encode(wav).decode())
    duration = round((len(wav) - WAV_HEADER_BYTES) / 2 / made_rate, 3)
    body = {"audio": audio, "sample_rate": made_rate, "duration": duration, "success": True}
    return web.json_response(body | ({"words": words} if timestamps else {}))


def words_json(words: Iterable[SpokenWord]) -> list[Mapping[str, Any]]:
    """As transcripts have them; `estimated` where a time lies between those that are known."""
    return [
        {"word": word.text, "start": word.start_s, "end": word.end_s} | ({"estimated": True} if word.estimated else {})
        for word in words
    ]


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
    async with aclosing(_encoded(_after(first, chunks), codec)) as file:
        async for data in file:
            await hangup.write(request, response, data)
    await response.write_eof()
    return response


async def events(
    request: web.Request, items: AsyncGenerator[Samples | Words, None], asked: SpeechOptions, rate: int
) -> web.StreamResponse:
    """OpenAI's `stream_format: sse`: `speech.audio.delta` events with base64 audio, then `speech.audio.done`; after the sound of
    each piece `speech.audio.words`, where times were asked for."""
    codec = encoder(asked.format, asked.sample_rate or rate, source_rate=rate)
    first = await _first(items)
    async with aclosing(_events(first, items, codec)) as made:
        return await send_events(request, made)


async def _events(
    first: Samples | Words, items: AsyncGenerator[Samples | Words, None], codec: Encoder
) -> AsyncGenerator[Mapping[str, Any], None]:
    async for item in _after(first, items):
        if isinstance(item, Words):
            yield {"type": "speech.audio.words", "text": item.text, "words": words_json(item.words)}
        elif data := await encode(codec, item):
            yield _delta(data)
    if data := codec.finish():
        yield _delta(data)
    yield {"type": "speech.audio.done"}


def _delta(data: bytes) -> Mapping[str, Any]:
    return {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}


async def _after(first: T, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    yield first
    async for item in items:
        yield item


async def _encoded(chunks: AsyncGenerator[Samples, None], codec: Encoder) -> AsyncGenerator[bytes, None]:
    """The bytes of the file, as soon as there are some."""
    async for chunk in chunks:
        if data := await encode(codec, chunk):
            yield data
    if data := codec.finish():
        yield data


async def _whole(chunks: AsyncGenerator[Samples, None], codec: Encoder) -> bytes:
    first = await _first(chunks)
    return b"".join([data async for data in _encoded(_after(first, chunks), codec)])


async def _first(items: AsyncGenerator[T, None]) -> T:
    async for item in items:
        return item
    raise NoSound("the voice gave no sound for this text")


async def encode(codec: Encoder, samples: Samples) -> bytes:
    if isinstance(codec, PcmEncoder):
        return codec.encode(samples)
    return await off_loop(codec.encode, samples)  # some milliseconds for each second of sound
