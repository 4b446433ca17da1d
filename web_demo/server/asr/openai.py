"""The OpenAI-compatible face: `POST /v1/audio/transcriptions` and `GET /v1/models`.

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
from web_demo.media.decoders import Decoding
from web_demo.server.asr import formats
from web_demo.server.asr.service import SERVICE, AsrService, warning
from web_demo.server.common.forms import Form, boolean, read_form
from web_demo.server.common.openai import add_models, send_events

FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
WARNING_HEADER = "X-Audio-Warning"  # for answers that have no room for a warning
GRANULARITIES = ("segment", "word")


def add_routes(app: web.Application) -> None:
    add_models(app, app[SERVICE].engine)
    app.router.add_post("/v1/audio/transcriptions", _transcriptions)


async def _transcriptions(request: web.Request) -> web.StreamResponse:
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
            async with service.decoding(form.file) as sound:
                if stream:
                    pieces = service.transcriber.pieces(sound.blocks(), options, client)
                    async with aclosing(_events(pieces, sound)) as events:
                        return await send_events(request, events)
                transcript = await service.transcriber.transcribe(sound.blocks(), options, client)
            said = warning(sound, transcript.text)
            return await off_loop(_answer, transcript, sound.seconds, shape, granularities, said)


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
    granularities = form.values.get("timestamp_granularities[]") or form.values.get("timestamp_granularities") or []
    for name in granularities:
        if name not in GRANULARITIES:
            raise InvalidRequest(f"timestamp_granularities[] takes {' and '.join(GRANULARITIES)}; got {name[:40]!r}")
    if granularities and shape != "verbose_json":
        raise InvalidRequest(f"timestamp_granularities[] needs response_format=verbose_json, got {shape}")
    if "word" in granularities and service.engine.capabilities.timestamps != "word":
        raise InvalidRequest(f"the engine {service.engine.name} has no word times; ask for segment")
    return shape, granularities or ["segment"]


def _answer(transcript: Transcript, duration_s: float, shape: str, granularities: list[str], said: str) -> web.Response:
    headers = {WARNING_HEADER: said} if said else {}
    if shape == "text":
        return web.Response(text=transcript.text + "\n", headers=headers)
    if shape == "srt":
        return web.Response(text=formats.srt(transcript), content_type="application/x-subrip", headers=headers)
    if shape == "vtt":
        return web.Response(text=formats.vtt(transcript), content_type="text/vtt", headers=headers)
    body = {"text": transcript.text}
    if shape == "verbose_json":
        body = formats.verbose_json(transcript, duration_s, granularities)
    return web.json_response(body | {"warning": said} if said else body)


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
