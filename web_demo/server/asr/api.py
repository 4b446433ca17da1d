"""`POST /api/transcribe`: a recording in a form, its text as JSON."""

from __future__ import annotations

from aiohttp import web

from utils.threads import off_loop
from web_demo.errors import InvalidRequest
from web_demo.server.asr.formats import transcribe_json
from web_demo.server.asr.service import SERVICE
from web_demo.server.common import asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.forms import boolean, read_form


async def transcribe(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.require_room(request)
    async with read_form(request, service.body_limits, file_field="audio") as form:
        if form.file is None:
            raise InvalidRequest(
                "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav"
            )
        options = service.options(
            form.get("language"),
            form.get("hotwords"),
            form.get("itn"),
            asker=asker.language_of(request.headers.get("Accept-Language", "")),
        )
        with_cues = boolean("cues", form.get("cues"))
        with service.admitted(request) as client:
            decoded = await service.decode(form.file)
            transcript = await service.transcriber.transcribe(decoded.audio, options, client)
            label = service.language_label(form.get("language"), transcript.language)
            body = await off_loop(transcribe_json, transcript, label, decoded.audio.seconds, decoded.damage, with_cues)
            return json_response(body)
