"""The ASR service (port 8003): `POST /api/transcribe`, live captions at `/api/transcribe/stream`, an OpenAI-compatible
face with realtime transcription at `/v1/realtime`, `/health`, `/metrics`.

python3 -m web_demo.server.asr_server --model-path pretrained_models/Fun-ASR-Nano-2512 --port 8003 --device cuda:0
"""

from __future__ import annotations

import sys

import prometheus_client
from aiohttp import web

from web_demo.engines.base import AsrEngine
from web_demo.server.asr import api, live, openai
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.realtime import wire
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.program import run_program
from web_demo.server.common.service import engine_for, make_app


def create_app(settings: AsrSettings, engine: AsrEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose. Raises SetupError."""
    metrics = prometheus_client.CollectorRegistry()
    service = AsrService(settings, *engine_for(settings, engine), AsrMetrics(metrics))
    app = make_app(settings, service, metrics, bodies_bytes=service.bodies_bytes)
    app[SERVICE] = service
    api.add_routes(app)
    live.add_routes(app)
    wire.add_routes(app)
    openai.add_routes(app)
    return app


def main(argv: list[str] | None = None) -> int:
    program = "web_demo.server.asr_server"
    return run_program(AsrSettings, create_app, argv, program=program, does="Speech to text over HTTP.")


if __name__ == "__main__":
    sys.exit(main())
