#!/usr/bin/env python3
"""Archives: speed against the plain loop over HTTP and against one process, and what many short files cost.

Method. `speed`: the same recordings (those of tests/data/speech, by turns, each a file of its own) go once through the service by
16 clients on a loopback socket, once through an archive's run with one worker, and once with as many as there are cores; all with
the embedded recogniser, engines started before the clock, one after the other in this process, `--rounds` times. `n_times_one`: the
speed with all workers by the number of them times the speed of one. On a machine that does other work, too, the CPU time that a
second of sound costs says more: `cpu_ms_a_second`. `growth`: runs over 100, 1,000, … files of `--seconds` with
an engine that does nothing, and the resident memory of this process after each. `--address local` does the runs on Ray.
Reports as report.py says.

    python3 -m scripts.benchmarks.archive speed --files 60
    python3 -m scripts.benchmarks.archive growth --counts 100,1000,10000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from scripts.benchmarks.load.idle import IdleAsr
from scripts.benchmarks.load.own_service import until_healthy
from scripts.benchmarks.report import Report
from web_demo.archive.listing import RECORDINGS, listed
from web_demo.archive.recognising import Recognition
from web_demo.archive.run import Run, Summary
from web_demo.archive.runners.base import Runner
from web_demo.archive.runners.local import LocalRunner
from web_demo.audio.samples import silence, to_wav
from web_demo.engines.base import AsrEngine
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app

SPEECH = Path(__file__).resolve().parents[2] / "tests" / "data" / "speech"
CLIENTS = 16


class Idle(Recognition):
    def engine(self, device: str = "") -> AsrEngine:
        return IdleAsr()


def settings() -> AsrSettings:
    return AsrSettings(port=0, engine="embedded", processes=1, max_queue=1000)


async def archived(stages: Recognition, source: Path, workers: int, address: str) -> tuple[Summary, float]:
    """And the seconds of CPU of this process and of all below it (of Ray's workers, none)."""
    runner: Runner
    if address:
        from web_demo.archive.runners.cluster import RayRunner

        runner = RayRunner(stages, address, workers)
    else:
        runner = LocalRunner(stages, [""] * workers)
    with tempfile.TemporaryDirectory() as output:
        run = Run(stages, output, quiet=True)
        listing = listed([str(source)], RECORDINGS)
        tasks, before = run.missing(listing)
        async with runner:
            used_s = cpu_s()
            summary = await run.over(listing, runner, tasks, before)
            return summary, cpu_s() - used_s


async def over_http(files: list[Path]) -> tuple[float, float]:
    """Seconds from the first request to the last answer, and of CPU, the clients' among them."""
    app = web.AppRunner(create_app(AsrSettings(port=0, engine="embedded", max_queue=1000)))
    await app.setup()
    try:
        await web.TCPSite(app, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{app.addresses[0][1]}"
        await until_healthy(url)
        left = iter(files)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def client() -> None:
                for path in left:
                    form = aiohttp.FormData()
                    form.add_field("audio", path.read_bytes(), filename="a.wav")
                    async with http.post(f"{url}/api/transcribe", data=form) as response:
                        response.raise_for_status()
                        await response.read()

            began, used_s = time.perf_counter(), cpu_s()
            await asyncio.gather(*(client() for _ in range(CLIENTS)))
            return time.perf_counter() - began, cpu_s() - used_s
    finally:
        await app.cleanup()


async def speed(report: Report, folder: Path, count: int, rounds: int, address: str) -> None:
    names = sorted(SPEECH.glob("*.wav"))
    files = [folder / f"{number:05}.wav" for number in range(count)]
    for number, path in enumerate(files):
        shutil.copy(names[number % len(names)], path)
    cores = os.cpu_count() or 1
    against_http, against_one = [], []
    for _ in range(rounds):
        http_s, http_cpu_s = await over_http(files)
        one, one_cpu_s = await archived(Recognition(settings()), folder, 1, address)
        many, many_cpu_s = await archived(Recognition(settings()), folder, cores, address)
        sound_s = one.sound_s
        against_http.append(http_s / many.took_s)
        against_one.append(one.took_s / many.took_s / cores)
        report.row(
            "speed",
            http_16_clients=round(sound_s / http_s, 2),
            one_worker=round(sound_s / one.took_s, 2),
            workers=cores,
            all_workers=round(sound_s / many.took_s, 2),
            cpu_ms_a_second={
                "http": round(1000 * http_cpu_s / sound_s, 1),
                "one": round(1000 * one_cpu_s / sound_s, 1),
                "all": round(1000 * many_cpu_s / sound_s, 1),
            },
        )
    report.note(
        times_http=round(statistics.median(against_http), 3), n_times_one=round(statistics.median(against_one), 3)
    )


async def growth(report: Report, folder: Path, counts: list[int], seconds: float, address: str) -> None:
    short = to_wav(silence(seconds, 16_000))
    for count in counts:
        source = folder / str(count)
        source.mkdir()
        for number in range(count):
            (source / f"{number:06}.wav").write_bytes(short)
        before_mb = resident_mb()
        summary, used_s = await archived(Idle(settings()), source, os.cpu_count() or 1, address)
        assert summary.done == count
        report.row(
            "growth",
            files=count,
            seconds=round(summary.took_s, 2),
            ms_a_file=round(1000 * summary.took_s / count, 2),
            cpu_ms_a_file=round(1000 * used_s / count, 2),
            driver_mb_before=before_mb,
            driver_mb_after=resident_mb(),
        )
        shutil.rmtree(source)


def cpu_s() -> float:
    """Of this process and all that it started, and they, whether they live or were waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        number = int(stat.parent.name)
        parents[number], ticks[number] = int(words[1]), sum(map(int, words[11:15]))
    ours = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks.get(number, 0) for number in ours) / os.sysconf("SC_CLK_TCK")


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Archives.")
    parser.add_argument("what", choices=("speed", "growth"))
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=0.5, help="growth: of each file (default 0.5)")
    parser.add_argument("--address", default="", help="Ray's (default: without Ray)")
    args = parser.parse_args()
    report = Report("archive", what=args.what, address=args.address or "none", load=os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as folder:
        if args.what == "speed":
            asyncio.run(speed(report, Path(folder), args.files, args.rounds, args.address))
        else:
            counts = [int(count) for count in args.counts.split(",")]
            asyncio.run(growth(report, Path(folder), counts, args.seconds, args.address))
    report.end()
    return 0


if __name__ == "__main__":
    from scripts.benchmarks.archive import (
        main as importable,  # its classes go to other processes by their module's name
    )

    sys.exit(importable())
