#!/usr/bin/env python3
"""Speed of the ASR service: audio seconds per second and latency at several numbers of clients, against the engine alone.

Method: the service runs in this process on a loopback socket; each client posts recordings one after the other for a
fixed number of requests (the first of each client is not counted); the engine alone is called with the same recordings
and the same concurrency. A ticker on the event loop records the longest time during which the loop did not come round.
`--checkpoint` runs the funasr engine on that folder, batched and with batches of one; `--random` first writes one of the released
size with random weights there, if there is none (2 GB): they say nothing about text, but their speed is real, and
`--max-tokens` limits the length of its output. Reports as report.py says.

    python3 scripts/benchmarks/asr.py                       # the embedded engine
    python3 scripts/benchmarks/asr.py --random /dev/shm/funasr --device cuda:0 --clients 1,8,32 --max-tokens 40
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from scripts.benchmarks.load import random_funasr
from scripts.benchmarks.load.own_service import until_healthy
from scripts.benchmarks.report import Report, quantile_ms
from web_demo.audio.samples import Audio, from_wav
from web_demo.engines.asr import embedded
from web_demo.engines.asr.batching import BatchLimits
from web_demo.engines.asr.funasr import FunAsr
from web_demo.engines.base import AsrEngine
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app

ROOT = Path(__file__).resolve().parents[2]

SPEECH = ROOT / "tests" / "data" / "speech"

Request = Callable[[int], Awaitable[float]]  # number of a recording -> its seconds


@dataclass(frozen=True)
class Row:
    engine: str
    path: str  # "engine" called directly, or "service" over HTTP
    clients: int
    audio_s_per_s: float
    latency_p50_ms: float
    latency_p95_ms: float
    loop_blocked_ms: float


class LoopTicker:
    """The longest pause between two turns of the event loop, beyond the 1 ms that it sleeps."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - 0.001)
            last = now


async def measure(engine: str, path: str, clients: int, requests: int, send: Request) -> Row:
    latencies: list[float] = []
    heard = 0.0

    async def client(number: int) -> None:
        nonlocal heard
        for index in range(requests):
            began = time.perf_counter()
            seconds = await send(number + index)
            latencies.append(time.perf_counter() - began)
            heard += seconds

    await asyncio.gather(*(send(number) for number in range(clients)))
    ticker = LoopTicker()
    ticking = asyncio.create_task(ticker.run())
    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    wall = time.perf_counter() - began
    ticking.cancel()
    return Row(
        engine,
        path,
        clients,
        round(heard / wall, 2),
        quantile_ms(latencies, 0.5),
        quantile_ms(latencies, 0.95),
        round(ticker.longest_s * 1e3, 1),
    )


async def bench(name: str, engine: AsrEngine, clients: Sequence[int], requests: int, report: Report) -> None:
    files = sorted(SPEECH.glob("*.wav"))
    wavs = [path.read_bytes() for path in files]
    sounds: list[Audio] = [from_wav(wav) for wav in wavs]
    app = create_app(AsrSettings(port=0, max_queue=1000), engine)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await until_healthy(url)

            async def direct(number: int) -> float:
                sound = sounds[number % len(sounds)]
                await engine.transcribe(sound)
                return sound.seconds

            async def over_http(number: int) -> float:
                form = aiohttp.FormData()
                form.add_field("audio", wavs[number % len(wavs)], filename="a.wav")
                async with http.post(f"{url}/api/transcribe", data=form) as response:
                    response.raise_for_status()
                    return float((await response.json())["duration"])

            for count in clients:
                report.row(**asdict(await measure(name, "engine", count, requests, direct)))
                report.row(**asdict(await measure(name, "service", count, requests, over_http)))
    finally:
        await runner.cleanup()


def _engines(args: argparse.Namespace) -> list[tuple[str, AsrEngine]]:
    if args.checkpoint is None:
        return [("embedded", embedded.create())]
    tokens = args.max_tokens
    return [
        ("funasr batched", FunAsr(args.checkpoint, args.device, max_tokens=tokens)),
        ("funasr unbatched", FunAsr(args.checkpoint, args.device, max_tokens=tokens, limits=BatchLimits(0.0, 1))),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of the ASR service.")
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--requests", type=int, default=6, help="of each client (default 6)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--checkpoint", type=Path, help="folder of a Fun-ASR-Nano checkpoint")
    where.add_argument("--random", type=Path, help="the same, written first if it is not there")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-tokens", type=int, default=40)
    args = parser.parse_args()
    logging.basicConfig(level="WARNING")
    if args.random:
        args.checkpoint = args.random
        if not (args.random / "model.pt").is_file():
            random_funasr.write(args.random, sizes=random_funasr.RELEASED)
    clients = [int(count) for count in args.clients.split(",")]
    report = Report("asr", device=args.device, checkpoint=str(args.checkpoint or "none"))
    for name, engine in _engines(args):
        asyncio.run(bench(name, engine, clients, args.requests, report))
    report.note(
        process_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        largest_worker_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    )
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
