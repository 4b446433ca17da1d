#!/usr/bin/env python3
"""How soon speech begins, and how fast it is made: the TTS service at 1, 4 and 16 clients.

    python3 scripts/benchmarks/tts.py                          # the embedded engine, in a service of its own
    python3 scripts/benchmarks/tts.py --engine null            # an engine that costs nothing: the service's own overhead
    python3 scripts/benchmarks/tts.py --url http://host:8004   # a service that runs already, with any engine

Method. The service runs in a process of its own, the clients in this one, on the loopback address. Every client asks for
one text after the other, over kept connections; the texts differ in length and language. Each request is asked for as a
stream (`Accept: audio/wav`) or whole (the JSON object).

    first     from sending the request to the first byte of sound (streams only; median and 95th percentile)
    total     from sending the request to the last byte (median)
    rtf       seconds a client waited for a second of its speech, and seconds the whole service took for a second of speech
    memory    resident memory of the service and its children at the end (own service only, Linux)

The overhead of the service over an engine's own first chunk is what `--engine null` shows as first. Reports as report.py
says.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass

import aiohttp
import numpy as np
from aiohttp import web

from scripts.benchmarks.load.own_service import OwnService, serve, until_healthy
from scripts.benchmarks.report import Report, quantile_ms
from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.engines.base import Capabilities, SpeechRequest
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app

TEXTS = (
    "Good morning.",
    "你好，我是语音助手，很高兴认识你。",
    "The quick brown fox jumps over the lazy dog, and then it goes home to sleep.",
    "今天的天气很好。我们去公园散步吧，然后一起吃晚饭。",
    "This is a longer text. It has several sentences in it. Each of them is spoken in its turn, and the first one is heard "
    "while the others are still to be made. That is what streaming is for.",
)


class NullTts:
    """Gives 50 ms of silence a character at once, in chunks of 200 ms."""

    name = "null"
    model = "silence"
    device = "cpu"
    sample_rate = WIRE_RATE
    capabilities = Capabilities(max_concurrency=64)

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def fault(self) -> str | None:
        return None

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        for _ in range(max(1, len(request.text) // 4)):
            yield np.zeros(WIRE_RATE // 5, np.float32)


def app_of(engine: str) -> web.Application:
    settings = TtsSettings(port=0, engine="embedded", max_requests=256)
    return create_app(settings, NullTts() if engine == "null" else None)


# --- the clients ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    first_s: float  # NaN for a whole answer
    total_s: float
    audio_s: float


@dataclass(frozen=True)
class Row:
    mode: str
    clients: int
    requests: int
    failures: int
    first_ms: float
    first_p95_ms: float
    total_ms: float
    rtf_client: float
    rtf_service: float


async def ask(client: aiohttp.ClientSession, text: str, *, stream: bool) -> Asked:
    """Raises aiohttp.ClientError when it fails."""
    began = time.perf_counter()
    headers = {"Accept": "audio/wav"} if stream else {}
    async with client.post("/api/synthesize", json={"text": text}, headers=headers) as answer:
        answer.raise_for_status()
        if not stream:
            duration = float((await answer.json())["duration"])
            return Asked(math.nan, time.perf_counter() - began, duration)
        await answer.content.readexactly(45)  # the header and a byte of sound
        first_s = time.perf_counter() - began
        rest = len(await answer.read())
        return Asked(first_s, time.perf_counter() - began, (rest + 1) / 2 / WIRE_RATE)


async def load(url: str, clients: int, requests: int, *, stream: bool) -> Row:
    """`requests` of each of `clients`, one after the other."""
    done: list[Asked] = []
    failures = 0

    async def one(number: int) -> None:
        nonlocal failures
        for turn in range(requests):
            try:
                done.append(await ask(client, TEXTS[(number + turn) % len(TEXTS)], stream=stream))
            except aiohttp.ClientError as error:
                failures += 1
                print(f"failed: {error}", file=sys.stderr)

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(base_url=url, connector=connector) as client:
        await ask(client, TEXTS[0], stream=stream)  # the connection and the first voice are there
        began = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(clients)))
        wall_s = time.perf_counter() - began
    audio_s = sum(asked.audio_s for asked in done)
    first = [asked.first_s for asked in done] if stream else []
    return Row(
        mode="stream" if stream else "whole",
        clients=clients,
        requests=len(done),
        failures=failures,
        first_ms=quantile_ms(first, 0.5),
        first_p95_ms=quantile_ms(first, 0.95),
        total_ms=quantile_ms([asked.total_s for asked in done], 0.5),
        rtf_client=round(sum(asked.total_s for asked in done) / audio_s, 4),
        rtf_service=round(wall_s / audio_s, 4),
    )


async def measure(url: str, clients: Sequence[int], requests: int, report: Report) -> int:
    """How many requests failed."""
    await until_healthy(url)
    failures = 0
    for stream in (True, False):
        for count in clients:
            row = await load(url, count, requests, stream=stream)
            report.row(**asdict(row))
            failures += row.failures
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Latency and speed of the TTS service.")
    parser.add_argument("--engine", choices=("embedded", "null"), default="embedded")
    parser.add_argument("--url", help="a service that runs already")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--requests", type=int, default=20, help="of each client (default 20)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        asyncio.run(serve(app_of(args.serve)))
        return 0
    report = Report("tts", engine=args.url or args.engine)
    if args.url:
        failures = asyncio.run(measure(args.url, args.clients, args.requests, report))
    else:
        with OwnService("scripts.benchmarks.tts", "--serve", args.engine) as service:
            failures = asyncio.run(measure(service.url, args.clients, args.requests, report))
            if service.measurable:
                report.note(memory_mb=round(service.memory_mb(), 1))
    report.end()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
