"""`POST /api/transcribe`: a recording in a form, its text as JSON; with `stream`, its segments as
server-sent events."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest
from web_demo.media.decoders import Decoding
from web_demo.server.asr.formats import segment_json, transcribe_json
from web_demo.server.asr.service import SERVICE, AsrService, warning
from web_demo.server.asr.transcriber import TranscriptionOptions, join_transcripts
from web_demo.server.common.forms import boolean, read_form
from web_demo.server.common.openai import send_events


def add_routes(app: web.Application) -> None:
    app.router.add_post("/api/transcribe", _transcribe)


async def _transcribe(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    with service.admitted(request) as client:
        form = await read_form(request, service.form_limits, file_field="audio")
        if "audio" not in form.files:
            raise InvalidRequest(
                "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav"
            )
        options = service.options(form.get("language"), form.get("hotwords"), form.get("itn"))
        stream = boolean("stream", form.get("stream"))
        async with service.decoding(form.files["audio"]) as sound:
            if stream:
                async with aclosing(_events(service, sound, options, client, form.get("language"))) as events:
                    return await send_events(request, events)
            transcript = await service.transcriber.transcribe(sound.blocks(), options, client)
        label = service.language_label(form.get("language"), transcript.language)
        return web.json_response(transcribe_json(transcript, label, sound.seconds, warning(sound, transcript.text)))


async def _events(
    service: AsrService, sound: Decoding, options: TranscriptionOptions, client: str, asked: str
) -> AsyncGenerator[Mapping[str, Any], None]:
    """A segment as soon as it is recognised, then what `/api/transcribe` answers, without the segments."""
    parts: list[Transcript] = []
    async with aclosing(service.transcriber.pieces(sound.blocks(), options, client)) as pieces:
        async for part in pieces:
            for segment in part.segments:
                yield {"type": "segment", **segment_json(segment)}
            parts.append(dataclasses.replace(part, segments=()))
    whole = join_transcripts(parts, options.language or service.transcriber.default_language)
    label = service.language_label(asked, whole.language)
    answer = transcribe_json(whole, label, sound.seconds, warning(sound, whole.text))
    del answer["segments"]
    yield {"type": "done", **answer}
