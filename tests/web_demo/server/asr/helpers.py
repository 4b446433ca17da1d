"""A scripted recogniser and the ASR service round it on a real socket."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer

from web_demo.audio.samples import Audio, from_wav, to_int16
from web_demo.engines.base import Capabilities, Transcript
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app

SPEECH = Path(__file__).parents[3] / "data" / "speech"
GO = SPEECH / "go_forward_ten_meters.wav"


class ScriptedAsr:
    """Says how long what it heard was, in tenths of a second. `hold` lets requests wait inside the engine."""

    name = "scripted"
    model = "script"
    device = "cpu"

    def __init__(
        self,
        *,
        languages: Sequence[str] = ("zh", "en"),
        max_segment_s: float = 10.0,
        concurrency: int = 2,
        timestamps: str = "segment",
    ) -> None:
        self.capabilities = Capabilities(
            languages=tuple(languages), hotwords=True, timestamps=timestamps, max_concurrency=concurrency
        )
        self.max_segment_s = max_segment_s
        self.asked: list[dict] = []
        self.text = ""  # what it hears, if that is told
        self.error: Exception | None = None
        self.broken: str | None = None
        self.running = self.most_running = self.cancelled = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def fault(self) -> str | None:
        return self.broken

    async def transcribe(self, audio, *, language=None, hotwords=(), itn=True) -> Transcript:
        self.asked.append(
            {"seconds": audio.seconds, "rate": audio.rate, "language": language, "hotwords": hotwords, "itn": itn}
        )
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        text = self.text or f"{round(audio.seconds * 10)} tenths"
        return Transcript(text, language or self.capabilities.languages[0])

    async def in_use(self) -> int:
        return self.running

    def hold(self) -> None:
        self.go_on.clear()


@asynccontextmanager
async def serving(engine=None, **settings) -> AsyncIterator[TestClient]:
    app = create_app(AsrSettings(port=0, **settings), engine or ScriptedAsr())
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        await eventually(lambda: health(client, "status"), "healthy")
        yield client


async def health(client: TestClient, name: str):
    return (await (await client.get("/health")).json())[name]


async def eventually(look: Callable[[], Awaitable], expected, timeout_s: float = 20.0) -> None:
    """Waits until `look()` gives what is expected."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await look() == expected:
                return
            await asyncio.sleep(0.02)


def form(content: bytes | None, field: str = "audio", name: str = "a.wav", **fields: str) -> FormData:
    data = FormData(default_to_multipart=True)
    if content is not None:
        data.add_field(field, content, filename=name, content_type="application/octet-stream")
    for key, value in fields.items():
        data.add_field(key, value)
    data.add_field("unknown_fields_are_ignored", "1")
    return data


async def post(
    client: TestClient, content: bytes | None, *, address: str = "127.0.0.1", **fields: str
) -> tuple[int, dict]:
    """As a client at `address`, for whom a proxy on this machine speaks."""
    headers = {"X-Forwarded-For": address}
    response = await client.post("/api/transcribe", data=form(content, **fields), headers=headers)
    return response.status, json.loads(await response.text())


def go() -> Audio:
    return from_wav(GO.read_bytes())


def speech(times: int, gap_s: float) -> Audio:
    """The same sentence `times` times, `gap_s` of silence after each."""
    one = np.concatenate((go().samples, np.zeros(round(gap_s * 16_000), np.float32)))
    return Audio(np.tile(one, times), 16_000)


async def blocks(audio: Audio) -> AsyncIterator[np.ndarray]:
    """As a decoder gives it."""
    for at in range(0, len(audio.samples), 8_000):
        yield audio.samples[at : at + 8_000]


def encoded(audio: Audio, container: str, codec: str, *, rate: int = 48_000, layout: str = "stereo") -> bytes:
    """The recording in another file format, through FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if codec.startswith("wma"):  # which has no default that works
            stream.bit_rate = 64_000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(to_int16(audio.samples)[None], format="s16", layout="mono")
        frame.sample_rate = audio.rate
        fifo = av.AudioFifo()
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while (chunk := fifo.read(size)) is not None or (chunk := fifo.read()) is not None:
            output.mux(stream.encode(chunk))
        output.mux(stream.encode(None))
    return file.getvalue()
