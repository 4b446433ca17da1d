"""What a long recording costs the ASR service in memory, and whether its voice is found and cut.

The service runs in a process of its own with an engine that does nothing, so that what is measured is reading, decoding,
voice activity and cutting. `--minutes` of a human reading with pauses of a second, as FLAC at 16 kHz, are posted to
`/api/transcribe`, by one client and by several at once; the resident memory of the service's process is read every 50 ms.
Its decoders are a column of their own: the memory that they do not share. `voice_s` is what the engine got, in how many pieces,
the longest of which. `--behind` puts noise or music behind the voice, `--below-db` under it. Linux only.

    python3 scripts/benchmarks/long_audio.py --minutes 62 --clients 1,6 --behind music
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import statistics
import sys
import time
from pathlib import Path

import aiohttp
import av
import numpy as np
from aiohttp import web

from scripts.benchmarks.load.backgrounds import level, music, noise
from scripts.benchmarks.load.idle import IdleAsr
from scripts.benchmarks.load.own_service import OwnService, serve, until_healthy
from scripts.benchmarks.report import Report
from web_demo.audio.samples import SPEECH_RATE, Samples, from_wav, to_int16
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app

READING = Path(__file__).resolve().parents[2] / "tests" / "data" / "speech" / "librivox_0870.wav"
BEHIND = {"noise": noise, "music": music}
FRAME = 4096
LOOK_S = 0.05
SETTLE_S = 1.0


def app() -> web.Application:
    return create_app(AsrSettings(port=0, max_audio_s=36_000.0, max_upload_mb=1024), IdleAsr())


def reading() -> Samples:
    return np.concatenate((from_wav(READING.read_bytes()).samples, np.zeros(SPEECH_RATE, np.float32)))


def flac(minutes: float, behind: str, below_db: float) -> bytes:
    samples = reading()
    if behind != "silence":
        loudness = 10 * np.log10(np.square(samples).mean())
        samples = samples + level(BEHIND[behind](len(samples)), loudness - below_db)
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=SPEECH_RATE, layout="mono")
        for _ in range(round(minutes * 60 * SPEECH_RATE / len(samples))):
            for start in range(0, len(samples), FRAME):
                part = to_int16(samples[start : start + FRAME])
                frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
                frame.sample_rate = SPEECH_RATE
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def own_mb(pid: int) -> float:
    """Resident memory of the process alone, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def decoders_mb(pid: int) -> float:
    """Of all processes below `pid`, what they do not share."""
    total = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
            total += sum(int(kb) for kb in re.findall(r"Private_\w+:\s+(\d+)", rollup)) / 1024
            total += decoders_mb(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return total


async def post(session: aiohttp.ClientSession, data: bytes) -> tuple[float, list[float]]:
    """Seconds of sound that the service says it heard, and those of the pieces that its engine got."""
    form = aiohttp.FormData()
    form.add_field("audio", io.BytesIO(data), filename="long.flac")
    async with session.post("/api/transcribe", data=form) as answer:
        body = await answer.json()
        if answer.status != 200:
            raise SystemExit(f"the service answered {answer.status}: {body}")
        return float(body["duration"]), [float(word) for word in body["text"].split()]


async def measure(service: OwnService, data: bytes, clients: list[int], report: Report) -> None:
    pid = service.pid
    await until_healthy(service.url)
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(service.url, timeout=timeout) as session:
        await post(session, READING.read_bytes())  # whatever is loaded by the first request
        idle = own_mb(pid)
        report.note(file_mb=round(len(data) / 2**20, 1), idle_mb=round(idle, 1))
        for count in clients:
            began = time.monotonic()
            work = asyncio.gather(*(post(session, data) for _ in range(count)))
            seen, beside = [], []
            while not work.done():
                seen.append(own_mb(pid))
                beside.append(decoders_mb(pid))
                await asyncio.sleep(LOOK_S)
            seconds = time.monotonic() - began
            await asyncio.sleep(SETTLE_S)
            heard = work.result()
            pieces = heard[0][1]
            report.row(
                clients=count,
                heard_s=round(min(seconds for seconds, _ in heard), 1),
                voice_s=round(sum(pieces), 1),
                pieces=len(pieces),
                longest_s=max(pieces, default=0.0),
                took_s=round(seconds, 1),
                peak_over_idle_mb=round(max(seen) - idle, 1),
                median_over_idle_mb=round(statistics.median(seen) - idle, 1),
                left_mb=round(own_mb(pid) - idle, 1),
                decoders_mb=round(max(beside), 1),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=62.0)
    parser.add_argument("--clients", default="1,6", help="how many at once, one row each")
    parser.add_argument("--behind", choices=("silence", *BEHIND), default="silence")
    parser.add_argument("--below-db", type=float, default=10.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(app()))
        return 0
    report = Report("long_audio", minutes=asked.minutes, behind=asked.behind, below_db=asked.below_db)
    data = flac(asked.minutes, asked.behind, asked.below_db)
    with OwnService("scripts.benchmarks.long_audio", "--serve") as service:
        clients = [int(count) for count in asked.clients.split(",")]
        asyncio.run(measure(service, data, clients, report))
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
