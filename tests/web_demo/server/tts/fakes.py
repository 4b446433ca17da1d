"""An engine whose sound is known to the sample, the service round it on a real socket, and decoders of its answers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import av
import numpy as np
import soundfile
from aiohttp import web

from web_demo.audio.samples import WIRE_RATE, Audio, Samples
from web_demo.engines.base import Capabilities, SpeechRequest, TtsEngine
from web_demo.errors import EngineFailed
from web_demo.server.common.service import HEALTH
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app

CHUNK = 4800  # 200 ms


class ToneTts:
    """50 ms of one long sine a character, in chunks of 200 ms. "[fail]" in a text raises after its first chunk,
    "[wait]" waits for `go` before it, "[pace]" lets the others run at every chunk."""

    name = "tone"
    model = "sine"
    device = "cpu"
    sample_rate = WIRE_RATE

    def __init__(self, *, cloning: bool = True, max_concurrency: int = 2) -> None:
        self.capabilities = Capabilities(
            voices=("中文女", "中文男"),
            cloning=cloning,
            speeds=(0.25, 4.0),
            instructions=True,
            min_piece_chars=12,
            max_concurrency=max_concurrency,
        )
        self.requests: list[SpeechRequest] = []
        self.chunks = 0
        self.live = 0
        self.go = asyncio.Event()
        self.broken: str | None = None

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def fault(self) -> str | None:
        return self.broken

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        self.requests.append(request)
        self.live += 1
        try:
            if "[wait]" in request.text:
                await self.go.wait()
            sound = tone(len(request.text))
            for start in range(0, len(sound), CHUNK):
                self.chunks += 1
                yield sound[start : start + CHUNK]
                if "[fail]" in request.text:
                    raise EngineFailed("told to fail")
                if "[pace]" in request.text:
                    await asyncio.sleep(0.002)
        finally:
            self.live -= 1


def tone(characters: int) -> Samples:
    time = np.arange(characters * WIRE_RATE // 20) / WIRE_RATE
    return (0.4 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


@asynccontextmanager
async def serving(
    settings: TtsSettings | None = None, engine: TtsEngine | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a service that is ready."""
    app = create_app(settings or TtsSettings(port=0), engine)
    runner = web.AppRunner(
        app, lingering_time=0.2
    )  # as in service.run; aiohttp's TestServer also cancels handlers, which that does not
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/") as client:
            while app[HEALTH].state()[0] == "loading":  # noqa: ASYNC110 - the health is derived, it has no event
                await asyncio.sleep(0.01)
            yield client
    finally:
        await runner.cleanup()


def samples_of(wav: bytes) -> Samples:
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    assert rate == WIRE_RATE
    return np.asarray(samples, np.float32)


def decoded(kind: str, data: bytes) -> Samples:
    """By libsndfile, which had no part in the encoding. It knows no AAC and wants to know the length of a FLAC before its
    end, which a stream cannot say: those are left to libav."""
    if kind == "pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    if kind not in ("aac", "flac"):
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        return Audio(np.asarray(samples, np.float32), rate).at(WIRE_RATE).samples
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("flt", "mono", WIRE_RATE)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames + resampler.resample(None)])
