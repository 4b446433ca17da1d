"""`POST /api/transcribe`: a recording in a form, its text as JSON."""

from __future__ import annotations

from aiohttp import web

from utils.threads import off_loop
from web_demo.errors import InvalidRequest
from web_demo.server.asr.formats import transcribe_json
from web_demo.server.asr.service import SERVICE
from web_demo.server.common.forms import boolean, read_form


def add_routes(app: web.Application) -> None:
    app.router.add_post("/api/transcribe", _transcribe)


async def _transcribe(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    with service.admitted(request) as client:
        form = await read_form(request, service.form_limits, file_field="audio")
        if "audio" not in form.files:
            raise InvalidRequest(
                "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav"
            )
        options = service.options(form.get("language"), form.get("hotwords"), form.get("itn"))
        with_cues = boolean("cues", form.get("cues"))
        decoded = await service.decode(form.files["audio"])
        transcript = await service.transcriber.transcribe(decoded.audio, options, client)
        label = service.language_label(form.get("language"), transcript.language)
        body = await off_loop(transcribe_json, transcript, label, decoded.audio.seconds, decoded.damage, with_cues)
        return web.json_response(body)
