"""The TTS service (port 8004): `/api/synthesize`, `/api/speakers`, OpenAI's `/v1/audio/speech`, `/health`, `/metrics`.

python3 -m web_demo.server.tts_server --model-path pretrained_models/Fun-CosyVoice3-0.5B-2512 --port 8004 --device cuda:0
"""

from __future__ import annotations

import sys

import prometheus_client
from aiohttp import web

from web_demo.engines.base import TtsEngine
from web_demo.server.common.program import run_program
from web_demo.server.common.service import engine_for, make_app
from web_demo.server.tts import api, voices
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.service import SERVICE, TtsService, choose_engine
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.stream import session as stream


def create_app(settings: TtsSettings, engine: TtsEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose. Raises SetupError."""
    metrics = prometheus_client.CollectorRegistry()
    service = TtsService(settings, *engine_for(settings, engine, choose_engine), TtsMetrics(metrics))
    app = make_app(settings, service, metrics, bodies_bytes=api.BODIES_BYTES)
    app[SERVICE] = service
    api.add_routes(app)
    stream.add_routes(app)
    voices.add_routes(app, service.health, service.engine, service.speakers, service.decoders, settings)
    return app


def main(argv: list[str] | None = None) -> int:
    program = "web_demo.server.tts_server"
    return run_program(TtsSettings, create_app, argv, program=program, does="Text to speech over HTTP.")


if __name__ == "__main__":
    sys.exit(main())
