"""The TTS service (port 8004): `/api/synthesize`, `/api/speakers`, OpenAI's `/v1/audio/speech`, `/health`, `/metrics`.

python3 -m web_demo.server.tts_server --model-path pretrained_models/Fun-CosyVoice3-0.5B-2512 --port 8004 --device cuda:0
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import prometheus_client
from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Samples
from web_demo.engines import registry
from web_demo.engines.base import SpeechRequest, TtsEngine, VoicePrompt
from web_demo.engines.choice import Choice, choose
from web_demo.engines.tts import cosyvoice
from web_demo.errors import InvalidRequest, NotFound, ServiceError, SetupError
from web_demo.server.common.forms import read_form
from web_demo.server.common.health import Health
from web_demo.server.common.service import make_app, read_json, run_program
from web_demo.server.tts import answers, prompts, requests, voices
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.queue import FairQueue
from web_demo.server.tts.requests import SynthesisRequest
from web_demo.server.tts.settings import TtsSettings, parse_arguments
from web_demo.server.tts.speakers import SpeakerStore
from web_demo.server.tts.speech import ClientGone, SpeechStream, speech

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * prompts.MAX_PROMPT_BYTES  # base64 takes a third more than the recording
CLIENT_CLOSED = 499  # nginx's number for it: the answer that nobody reads


class TtsService:
    """The engine, the voices, and who may use them when."""

    def __init__(self, settings: TtsSettings, engine: TtsEngine, choice: Choice, metrics: TtsMetrics) -> None:
        self.settings = settings
        self.engine = engine
        self.choice = choice
        self.metrics = metrics
        self.speakers = SpeakerStore(settings.speakers_dir)
        self.queue = FairQueue(
            engine.capabilities.max_concurrency, settings.max_requests, max(1, settings.max_requests // 2)
        )
        self.health = Health(self.describe, engine.fault)

    async def start(self) -> None:
        began = time.monotonic()
        log.info("engine=%s: %s", self.choice.name, self.choice.reason)
        await self.engine.start()
        log.info(
            "ready engine=%s device=%s seconds=%.1f", self.engine.name, self.engine.device, time.monotonic() - began
        )

    async def close(self) -> None:
        await self.engine.close()

    def describe(self) -> dict[str, Any]:
        return {
            "service": "tts",
            "engine": self.engine.name,
            "engine_reason": self.choice.reason,
            "model": self.engine.model,
            "device": self.engine.device,
            "vllm_enabled": self.settings.use_vllm and self.engine.name == "cosyvoice",
            "cloning": self.engine.capabilities.cloning,
            "keeps_voices": self.settings.speakers_dir is not None,
            "requests": self.queue.admitted,
            "max_requests": self.settings.max_requests,
        }

    async def engine_requests(self, asked: SynthesisRequest) -> list[SpeechRequest]:
        """One request for the engine for each piece of the text, all with the same voice."""
        voice, prompt = asked.voice, None
        if asked.has_prompt:
            prompt = await self._prompt(asked)
        elif asked.prompt_text:
            raise InvalidRequest("prompt_text came without prompt_wav, the recording in which it is said")
        elif voice in self.speakers:
            prompt = await off_loop(self.speakers.prompt, voice)
        else:
            voice = self._known_voice(voice)
        return [SpeechRequest(piece, voice, asked.speed, prompt, asked.instruction) for piece in asked.pieces]

    async def _prompt(self, asked: SynthesisRequest) -> VoicePrompt:
        voices.require_cloning(self.engine)
        if not asked.prompt_text:
            raise InvalidRequest("prompt_wav needs prompt_text: what is said in the recording, word for word")
        if len(asked.prompt_text) > prompts.MAX_PROMPT_CHARS:
            raise InvalidRequest(
                f"prompt_text has {len(asked.prompt_text)} characters; 30 s of speech have at most "
                f"{prompts.MAX_PROMPT_CHARS}"
            )
        audio = await off_loop(prompts.decode, await off_loop(self._recording, asked))
        return VoicePrompt(audio, asked.prompt_text)

    def _recording(self, asked: SynthesisRequest) -> bytes:
        if asked.prompt_audio:
            return asked.prompt_audio
        if asked.prompt_wav.startswith("data:"):
            return prompts.from_base64(asked.prompt_wav)
        if "://" in asked.prompt_wav:
            raise InvalidRequest("prompt_wav cannot be a URL: send the recording itself, as data:audio/wav;base64,…")
        return prompts.from_path(asked.prompt_wav, self.settings.prompt_dir)

    def _known_voice(self, voice: str) -> str:
        known = self.engine.capabilities.voices
        if not known or voice in known:  # an engine that lists none decides itself
            return voice
        if (alias := requests.OPENAI_VOICES.get(voice)) in known:
            return str(alias)
        added = tuple(speaker.name for speaker in self.speakers.list())
        raise NotFound(f"there is no voice {voice[:100]!r}; there are: {', '.join((*added, *known))}")


SERVICE = web.AppKey("tts", TtsService)


async def _synthesize(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.health.require()
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    if request.content_type.startswith("multipart/"):
        form = await read_form(request, prompts.FORM_LIMITS)
        asked = requests.from_api(form.fields, can, limit, bytes(form.files.get("prompt_wav", b"")))
    else:
        asked = requests.from_api(await read_json(request), can, limit)
    wants_file = asked.stream or "audio/wav" in request.headers.get("Accept", "")
    return await _answer(request, service, asked, wants_file=wants_file)


async def _openai_speech(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.health.require()
    can, limit = service.engine.capabilities, service.settings.max_text_chars
    asked = requests.from_openai(await read_json(request), can, limit)
    return await _answer(request, service, asked, wants_file=True)


async def _answer(
    request: web.Request, service: TtsService, asked: SynthesisRequest, *, wants_file: bool
) -> web.StreamResponse:
    client = request.remote or ""
    outcome = "failed"
    try:
        with service.queue.admit(client), service.metrics.under_way.track_inprogress():
            service.metrics.characters.inc(asked.characters)
            began = time.monotonic()
            async with speech(
                service.engine,
                await service.engine_requests(asked),
                queue=service.queue,
                client=client,
                gone=lambda: request.transport is None or request.transport.is_closing(),
                metrics=service.metrics,
            ) as stream:
                chunks = _timed(stream, began, service.metrics)
                response = await _write(request, asked, chunks, stream.rate, wants_file=wants_file)
        outcome = "done"
        return response
    except (ClientGone, ConnectionError):
        outcome = "gone"
        log.info("client went away path=%s peer=%s", request.path, request.remote)
        return web.Response(status=CLIENT_CLOSED)
    except ServiceError as error:
        outcome = error.code
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"  # by the end of the service
        raise
    finally:
        service.metrics.requests.labels(outcome).inc()


async def _timed(stream: SpeechStream, began: float, metrics: TtsMetrics) -> AsyncGenerator[Samples, None]:
    first = True
    async for chunk in stream.chunks():
        if first:
            metrics.first_audio.observe(time.monotonic() - began)
            first = False
        yield chunk


async def _write(
    request: web.Request, asked: SynthesisRequest, chunks: AsyncGenerator[Samples, None], rate: int, *, wants_file: bool
) -> web.StreamResponse:
    if not wants_file:
        return await answers.whole(chunks, rate)
    if asked.framing == "sse":
        return await answers.events(request, chunks, asked.format, rate)
    return await answers.sound_file(request, chunks, asked.format, rate)


async def _openai_models(request: web.Request) -> web.Response:
    engine = request.app[SERVICE].engine
    model = {"id": engine.model, "object": "model", "created": 0, "owned_by": engine.name}
    return web.json_response({"object": "list", "data": [model]})


def _choose(settings: TtsSettings) -> Choice:
    """As `choose`, but what only the cosyvoice engine can do asks for that one first. Raises SetupError."""
    wanted = ["--use-vllm"] * settings.use_vllm + ["--use-trt"] * settings.use_trt
    if not wanted:
        return choose("tts", settings)
    if settings.engine not in ("auto", "cosyvoice"):
        raise SetupError(f"{wanted[0]} works with --engine cosyvoice only, not with --engine {settings.engine}")
    why_not = cosyvoice.unavailable(settings)
    if settings.engine == "cosyvoice" or why_not is None:
        return Choice("cosyvoice", f"the engine for {wanted[0]}")
    other = choose("tts", settings)
    log.warning("%s is without effect: %s", wanted[0], why_not)
    return Choice(other.name, f"cosyvoice, for {wanted[0]}: {why_not}; {other.reason}")


def create_app(settings: TtsSettings, engine: TtsEngine | None = None) -> web.Application:
    """`engine`: run this one instead of what the settings choose. Raises SetupError."""
    choice = _choose(settings) if engine is None else Choice(engine.name, "given")
    metrics_registry = prometheus_client.CollectorRegistry()
    engine = engine or registry.factory("tts", choice.name)(settings)
    service = TtsService(settings, engine, choice, TtsMetrics(metrics_registry))
    app = make_app(
        settings,
        health=service.health,
        start=service.start,
        close=service.close,
        registry=metrics_registry,
        client_max_size=MAX_BODY_BYTES,
    )
    app[SERVICE] = service
    app.router.add_post("/api/synthesize", _synthesize)
    app.router.add_post("/v1/audio/speech", _openai_speech)
    app.router.add_get("/v1/models", _openai_models)
    voices.add_routes(app, service.health, service.engine, service.speakers, settings)
    return app


def main(argv: list[str] | None = None) -> int:
    return run_program("web_demo.server.tts_server", lambda: parse_arguments(argv), create_app)


if __name__ == "__main__":
    sys.exit(main())
