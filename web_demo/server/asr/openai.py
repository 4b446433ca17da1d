"""The OpenAI-compatible face: `POST /v1/audio/transcriptions`.

https://platform.openai.com/docs/api-reference/audio/createTranscription (read in 2026)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from web_demo.engines.asr.cuts import join_texts
from web_demo.engines.asr.languages import code_of
from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest
from web_demo.server.asr import formats
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.transcriber import join_transcripts
from web_demo.server.common.answers import json_response
from web_demo.server.common.forms import Form, boolean, read_form
from web_demo.server.common.openai import send_events

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
GRANULARITIES = ("segment", "word")
GRANULARITY_FIELDS = ("timestamp_granularities[]", "timestamp_granularities")


async def transcriptions(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    async with read_form(request, service.body_limits, file_field="file") as form:
        if form.file is None:
            raise InvalidRequest("the form has no file; send the audio in the field 'file'")
        shape, granularities = _shape(form, service)
        keywords = "\n".join(form.values.get("keywords[]", ()))
        options = service.options(_language(form, service), keywords, prompt=form.get("prompt"))
        stream = boolean("stream", form.get("stream"))
        with service.admitted(request) as client:
            decoded = await service.decode(form.file)
            if stream:
                async with aclosing(_events(service.transcriber.pieces(decoded.audio, options, client))) as events:
                    return await send_events(request, events)
            transcript = await service.transcriber.transcribe(decoded.audio, options, client)
            return await off_loop(_answer, transcript, decoded.audio.seconds, shape, granularities)


def _language(form: Form, service: AsrService) -> str:
    """The one that is named, else the first of `languages[]` that the engine knows, or their first."""
    known = service.engine.capabilities.languages
    given = [language for language in form.values.get("languages[]", ()) if language.strip()]
    fitting = [language for language in given if not known or code_of(language) in known]
    if named := form.get("language").strip():
        return named
    return next(iter((*fitting, *given)), "")


def _shape(form: Form, service: AsrService) -> tuple[str, list[str]]:
    shape = form.get("response_format") or "json"
    if shape not in FORMATS:
        raise InvalidRequest(f"response_format must be one of {', '.join(FORMATS)}; got {shape[:40]!r}")
    granularities = [value for name in GRANULARITY_FIELDS for value in form.values.get(name, ())]
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
        return json_response(formats.verbose_json(transcript, duration_s, granularities))
    return json_response({"text": transcript.text})


async def _events(pieces: AsyncGenerator[Transcript, None]) -> AsyncGenerator[Mapping[str, Any] | str, None]:
    """A delta for each piece as it is ready, then the whole text."""
    parts: list[Transcript] = []
    text = ""
    async with aclosing(pieces):
        async for part in pieces:
            parts.append(part)
            grown = join_texts((text, part.text))
            if grown != text:
                yield {"type": "transcript.text.delta", "delta": grown[len(text) :]}
            text = grown
    yield {"type": "transcript.text.done", "text": join_transcripts(parts, "").text}
    yield "[DONE]"
