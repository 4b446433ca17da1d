"""The OpenAI-compatible face: `POST /v1/audio/transcriptions` and `/v1/audio/translations`.

https://platform.openai.com/docs/api-reference/audio/createTranscription (read in 2026)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.engines.asr.cuts import join_texts
from web_demo.engines.asr.languages import code_of
from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest
from web_demo.media.decoders import Decoding
from web_demo.server.asr import formats
from web_demo.server.asr.service import SERVICE, AsrService, warning
from web_demo.server.common import asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.forms import BodyLimits, Form, boolean, read_form, read_json_form
from web_demo.server.common.openai import send_events

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
WARNING_HEADER = "X-Audio-Warning"  # for answers that have no room for a warning
GRANULARITIES = ("segment", "word")
STREAMED = ("json", "text", "verbose_json")  # a subtitle file has no parts that a client could show
JSON_LIMITS = BodyLimits(
    34 << 20, cost=8
)  # 25 MiB of sound in base64, OpenAI's limit; kept in memory until it is a file


async def transcriptions(request: web.Request) -> web.StreamResponse:
    return await _recognised(request, translate=False)


async def translations(request: web.Request) -> web.StreamResponse:
    """Into English."""
    engine = request.app[SERVICE].engine
    if not engine.capabilities.translation:
        raise InvalidRequest(
            f"the engine {engine.name} does not translate; --engine openai does, in front of a server with Whisper"
        )
    return await _recognised(request, translate=True)


async def _recognised(request: web.Request, *, translate: bool) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    async with _form(request, service) as form:
        if form.file is None:
            raise InvalidRequest(
                "there is no recording: send it in the field 'file' of a form, or as 'input_audio' of a JSON object",
                param="file",
            )
        shape, granularities = _shape(form, service)
        stream = boolean("stream", form.get("stream"))
        if stream and shape not in STREAMED:
            raise InvalidRequest(
                f"response_format={shape} cannot be streamed; use {' or '.join(STREAMED)}, or leave stream away",
                param="stream",
            )
        options = service.options(
            "" if translate else _language(form, service),
            "\n".join(_all(form, "keywords")),
            prompt=form.get("prompt"),
            asker=asker.language_of(request.headers.get("Accept-Language", "")),
        )
        options = replace(options, translate=translate)
        with service.admitted(request) as client:
            async with service.decoding(form.file) as sound:
                if stream:
                    pieces = service.transcriber.pieces(sound.blocks(), options, client)
                    async with aclosing(_events(pieces, sound)) as events:
                        return await send_events(request, events)
                transcript = await service.transcriber.transcribe(sound.blocks(), options, client)
            said = warning(sound, transcript.text)
            if translate:
                transcript = replace(transcript, language="english")  # as OpenAI calls it
            return await off_loop(_answer, transcript, sound.seconds, shape, granularities, translate, said)


def _form(request: web.Request, service: AsrService) -> AbstractAsyncContextManager[Form]:
    if request.content_type == "application/json":
        return read_json_form(request, JSON_LIMITS, file_field="input_audio")
    return read_form(request, service.body_limits, file_field="file")


def _all(form: Form, name: str) -> list[str]:
    """All texts of a list, which clients send as `name[]` and as `name`."""
    return [*form.values.get(f"{name}[]", ()), *form.values.get(name, ())]


def _language(form: Form, service: AsrService) -> str:
    """The one that is named, else the first of `languages[]` that the engine knows, or their first."""
    known = service.engine.capabilities.languages
    given = [language for language in _all(form, "languages") if language.strip()]
    fitting = [language for language in given if not known or code_of(language) in known]
    if named := form.get("language").strip():
        return named
    return next(iter((*fitting, *given)), "")


def _shape(form: Form, service: AsrService) -> tuple[str, list[str]]:
    shape = form.get("response_format") or "json"
    if shape not in FORMATS:
        raise InvalidRequest(
            f"response_format must be one of {', '.join(FORMATS)}; got {shape[:40]!r}", param="response_format"
        )
    granularities = _all(form, "timestamp_granularities")
    wrong = ""
    for name in granularities:
        if name not in GRANULARITIES:
            wrong = f"timestamp_granularities[] takes {' and '.join(GRANULARITIES)}; got {name[:40]!r}"
    if not wrong and granularities and shape != "verbose_json":
        wrong = f"timestamp_granularities[] needs response_format=verbose_json, got {shape}"
    if not wrong and "word" in granularities and service.engine.capabilities.timestamps != "word":
        wrong = f"the engine {service.engine.name} has no word times; ask for segment"
    if wrong:
        raise InvalidRequest(wrong, param="timestamp_granularities")
    return shape, granularities or ["segment"]


def _answer(
    transcript: Transcript, duration_s: float, shape: str, granularities: list[str], translate: bool, said: str
) -> web.Response:
    headers = {WARNING_HEADER: said} if said else {}
    if shape == "text":
        return web.Response(text=transcript.text + "\n", headers=headers)
    if shape == "srt":
        return web.Response(text=formats.srt(transcript), content_type="application/x-subrip", headers=headers)
    if shape == "vtt":
        return web.Response(text=formats.vtt(transcript), content_type="text/vtt", headers=headers)
    body: formats.Json = {"text": transcript.text, "usage": formats.usage(duration_s)}
    if shape == "verbose_json":
        task = "translate" if translate else "transcribe"
        body = formats.verbose_json(transcript, duration_s, granularities, task)
    return json_response(body | {"warning": said} if said else body)


async def _events(
    pieces: AsyncGenerator[Transcript, None], sound: Decoding
) -> AsyncGenerator[Mapping[str, Any] | str, None]:
    """The segments of each piece as it is ready and what the text grows by, then the whole text."""
    texts: list[str] = []
    count = 0
    async with aclosing(pieces):
        async for part in pieces:
            for segment in part.segments:
                times = {"start": segment.start_s, "end": segment.end_s, "text": segment.text}
                yield {"type": "transcript.text.segment", "id": f"seg_{count}", **times}
                count += 1
            last = texts[-1] if texts else ""
            if delta := join_texts((last, part.text))[len(last) :]:
                yield {"type": "transcript.text.delta", "delta": delta}
                texts.append(part.text.strip())
    text = join_texts(texts)
    done = {"type": "transcript.text.done", "text": text}
    said = warning(sound, text)
    yield done | {"warning": said} if said else done
    yield "[DONE]"
