"""The S2S service (port 8002): the page at `/`, WebSocket `/api/chat`, the addresses of the other two services, `/health`,
`/metrics`.

python3 -m web_demo.server.server --model-path pretrained_models/Fun-Audio-Chat-8B --port 8002 --tts-gpu 0
"""

from __future__ import annotations

import sys

import prometheus_client
from aiohttp import web

from web_demo.engines.base import S2sEngine
from web_demo.server.asr import routes as asr
from web_demo.server.common.api.routes import add_routes
from web_demo.server.common.program import run_program
from web_demo.server.common.service import engine_for, make_app
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.page.forward import Target
from web_demo.server.page.page import add_page
from web_demo.server.s2s import routes as s2s
from web_demo.server.s2s.service import SERVICE, S2sService, choose_engine
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.tts import routes as tts


def create_app(settings: S2sSettings, engine: S2sEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose. Raises SetupError."""
    metrics = prometheus_client.CollectorRegistry()
    service = S2sService(settings, *engine_for(settings, engine, choose_engine), S2sMetrics(metrics))
    app = make_app(settings, service, metrics)
    app[SERVICE] = service
    add_routes(app, s2s.ROUTES)
    targets = (Target("asr", settings.asr_url, asr.ROUTES), Target("tts", settings.tts_url, tts.ROUTES))
    add_page(app, targets, service.engine, settings)
    return app


def main(argv: list[str] | None = None) -> int:
    program = "web_demo.server.server"
    return run_program(S2sSettings, create_app, argv, program=program, does="Talk and be answered in speech.")


if __name__ == "__main__":
    sys.exit(main())
