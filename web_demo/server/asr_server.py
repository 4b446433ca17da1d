"""The ASR service (port 8003): `POST /api/transcribe`, live captions at `/api/transcribe/stream`, an OpenAI-compatible
face, `/health`, `/metrics`.

python3 -m web_demo.server.asr_server --model-path pretrained_models/Fun-ASR-Nano-2512 --port 8003 --device cuda:0
"""

from __future__ import annotations

import argparse
import sys

import prometheus_client
from aiohttp import web

from web_demo.engines import registry
from web_demo.engines.base import AsrEngine
from web_demo.engines.choice import Choice, choose
from web_demo.errors import InvalidRequest
from web_demo.server.asr import live, openai
from web_demo.server.asr.formats import transcribe_json
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.service import SERVICE, AsrService, AsrSettings
from web_demo.server.common.forms import read_form
from web_demo.server.common.service import make_app, run_program
from web_demo.server.common.settings import add_common_arguments, common_settings


def create_app(settings: AsrSettings, engine: AsrEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose."""
    choice = choose("asr", settings) if engine is None else Choice(engine.name, "given")
    metrics_registry = prometheus_client.CollectorRegistry()
    metrics = AsrMetrics(metrics_registry)
    service = AsrService(settings, engine or registry.factory("asr", choice.name)(settings), choice, metrics)
    app = make_app(settings, health=service.health, start=service.start, close=service.close, registry=metrics_registry)
    app[SERVICE] = service
    app.router.add_post("/api/transcribe", _transcribe)
    app.router.add_get("/api/transcribe/stream", live.handle)
    openai.add_routes(app)
    return app


async def _transcribe(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    with service.admitted():
        form = await read_form(request, service.form_limits, file_field="audio")
        if "audio" not in form.files:
            raise InvalidRequest(
                "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav"
            )
        options = service.options(form.get("language"), form.get("hotwords"), form.get("itn"))
        decoded = await service.decode(form.files["audio"])
        transcript = await service.transcriber.transcribe(decoded.audio, options)
        label = service.language_label(form.get("language"), transcript.language)
        return web.json_response(transcribe_json(transcript, label, decoded.audio.seconds, decoded.damage))


def parse_arguments(argv: list[str] | None = None) -> AsrSettings:
    parser = argparse.ArgumentParser(prog="web_demo.server.asr_server", description="Speech to text over HTTP.")
    add_common_arguments(
        parser, port=8003, engines=registry.names("asr"), model_path="pretrained_models/Fun-ASR-Nano-2512"
    )
    defaults = AsrSettings()
    parser.add_argument("--max-queue", type=int, default=defaults.max_queue, help="requests that may wait (default 32)")
    parser.add_argument("--max-upload-mb", type=int, default=defaults.max_upload_mb, help="largest file (default 256)")
    parser.add_argument(
        "--max-audio-s", type=float, default=defaults.max_audio_s, help="longest recording in seconds (default 7200)"
    )
    parser.add_argument("--max-live", type=int, default=defaults.max_live, help="live streams at once (default 8)")
    parser.add_argument("--use-vllm", action="store_true", help="funasr engine: decode with vLLM (own environment)")
    parser.add_argument("--base-url", default="", help="openai engine: such as http://localhost:8005/v1")
    parser.add_argument("--remote-model", default=defaults.remote_model, help="openai engine: model at --base-url")
    args = parser.parse_args(argv)
    return AsrSettings(
        **common_settings(args),
        max_queue=args.max_queue,
        max_upload_mb=args.max_upload_mb,
        max_audio_s=args.max_audio_s,
        max_live=args.max_live,
        use_vllm=args.use_vllm,
        base_url=args.base_url,
        remote_model=args.remote_model,
    )


def main(argv: list[str] | None = None) -> int:
    return run_program("web_demo.server.asr_server", lambda: parse_arguments(argv), create_app)


if __name__ == "__main__":
    sys.exit(main())
