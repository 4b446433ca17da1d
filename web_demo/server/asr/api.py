"""`POST /api/transcribe`: a recording in a form, its text as JSON; with `stream`, its segments as server-sent events."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from aiohttp import web

from utils.threads import off_loop
from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest
from web_demo.media.decoders import Decoding
from web_demo.server.asr.formats import Json, language_label, segment_json, transcribe_json
from web_demo.server.asr.service import SERVICE, warning
from web_demo.server.asr.transcriber import Transcriber, TranscriptionOptions
from web_demo.server.common import asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.api.chinese import said_in
from web_demo.server.common.forms import boolean, read_form
from web_demo.server.common.openai import send_events


async def transcribe(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.require_room(request)
    async with read_form(request, service.body_limits, file_field="audio") as form:
        if form.file is None:
            raise InvalidRequest(
                "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav"
            )
        reader = asker.language_of(request.headers.get("Accept-Language", ""))
        options = service.options(form.get("language"), form.get("hotwords"), form.get("itn"), asker=reader)
        stream, with_cues = boolean("stream", form.get("stream")), boolean("cues", form.get("cues"))
        with service.admitted(request) as client:
            async with service.decoding(form.file) as sound:
                answer = partial(_answer, sound, form.get("language"), with_cues, reader)
                if stream:
                    events = _events(service.transcriber, sound, options, client, answer, keep=with_cues)
                    async with aclosing(events):
                        return await send_events(request, events)
                transcript = await service.transcriber.transcribe(sound.blocks(), options, client)
            return json_response(await off_loop(answer, transcript))


def _answer(sound: Decoding, language: str, with_cues: bool, reader: str, transcript: Transcript) -> Json:
    """`language`: as the client asked; `reader`: of who reads the warnings. `sound` was heard to its end."""
    label = language_label(language, transcript.language)
    damage = said_in(reader, warning(sound, transcript.text))
    return transcribe_json(transcript, label, sound.seconds, damage, with_cues)


async def _events(
    transcriber: Transcriber,
    sound: Decoding,
    options: TranscriptionOptions,
    client: str,
    answer: Callable[[Transcript], Json],
    *,
    keep: bool,
) -> AsyncGenerator[Json, None]:
    """A segment as soon as it is recognised, then the whole `answer` without the segments, which needs them if `keep`."""
    parts: list[Transcript] = []
    async with aclosing(transcriber.pieces(sound.blocks(), options, client)) as pieces:
        async for part in pieces:
            for segment in part.segments:
                yield {"type": "segment", **segment_json(segment)}
            parts.append(part if keep else dataclasses.replace(part, segments=()))
    body = await off_loop(answer, transcriber.joined(parts, options))
    del body["segments"]
    yield {"type": "done", **body}
