#!/usr/bin/env python3
"""Archives: speed against the plain loop over HTTP and against one process, and what many short files cost.

Method. `speed`: the same recordings (those of tests/data/speech, by turns, `--joined` of them a file) are transcribed by the
embedded recogniser five times, one after the other, `--rounds` times: by the plain loop in one process (load/plain_loop.py), by as
many of those processes as there are cores, each with its part; through the service by 16 clients on a loopback socket; through an
archive's run with one worker, and with as many as there are cores. Engines and decoders are started before the clock. `speed`:
seconds of sound a second; `cpu_ms`: of the CPU for a second of sound, of all processes that took part; `others`: how many cores did
other work meanwhile, so 0 on a quiet machine; over 0.1, it is done again, up to three times.

The ratios, medians of the rounds: `times_http`, all workers by the service; `n_times_one`, all workers by so many times the plain
loop in one process; `n_processes`, the same of as many plain loops, which share nothing but the machine: it gives no more;
`n_times_one_worker`, all workers by so many times one worker, whose decoders and driver use other cores than its engine's, too.

`growth`: runs over 100, 1,000, … files of `--seconds` with an engine that does nothing, and the resident memory of this process
after each. `--address local` does the runs on Ray. Reports as report.py says.

    python3 -m scripts.benchmarks.archive speed --files 90
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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

from scripts.benchmarks.load.idle import IdleAsr
from scripts.benchmarks.load.own_service import until_healthy
from scripts.benchmarks.report import Report
from web_demo.archive.listing import RECORDINGS, listed
from web_demo.archive.recognising import Recognition
from web_demo.archive.run import Run
from web_demo.archive.runners.base import Runner
from web_demo.archive.runners.local import LocalRunner
from web_demo.audio.samples import SPEECH_RATE, Audio, from_wav, silence, to_wav
from web_demo.engines.base import AsrEngine
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT / "tests" / "data" / "speech"
CLIENTS = 16
QUIET = 0.1  # cores that others may keep busy
TRIES = 4  # … and how often it is hoped for


class Idle(Recognition):
    def engine(self, device: str = "") -> AsrEngine:
        return IdleAsr()


def settings() -> AsrSettings:
    return AsrSettings(port=0, engine="embedded", processes=1, max_queue=1000)


@dataclass
class Cost:
    """Of what is done in the block."""

    took_s: float = 0.0
    cpu_s: float = 0.0  # of this process and of all below it (of Ray's workers, none)
    others: float = 0.0  # cores that did something else meanwhile

    def __enter__(self) -> Cost:
        self._began = time.perf_counter(), cpu_s(), busy_s()
        return self

    def __exit__(self, *_: object) -> None:
        began, used_s, busy = self._began
        self.took_s, self.cpu_s = time.perf_counter() - began, cpu_s() - used_s
        self.others = (busy_s() - busy - self.cpu_s) / self.took_s


async def archived(stages: Recognition, source: Path, workers: int, address: str) -> Cost:
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
            with Cost() as cost:
                summary = await run.over(listing, runner, tasks, before)
            assert summary.done == len(tasks)
            return cost


async def over_http(files: list[Path]) -> Cost:
    """From the first request to the last answer, the clients' CPU among it."""
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

            with Cost() as cost:
                await asyncio.gather(*(client() for _ in range(CLIENTS)))
            return cost
    finally:
        await app.cleanup()


async def plain_loops(folder: Path, count: int) -> Cost:
    """So many processes, each with its part of the folder."""
    with tempfile.TemporaryDirectory() as output:
        loops = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "scripts.benchmarks.load.plain_loop", str(folder), output, f"{number}/{count}"),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for number in range(count)
        ]
        lines = [(loop.stdin, loop.stdout) for loop in loops if loop.stdin and loop.stdout]
        for _, said in lines:
            assert await said.readline() == b"ready\n"
        with Cost() as cost:
            for asked, _ in lines:
                asked.write(b"\n")
            for _, said in lines:
                assert await said.readline() == b"done\n"
        for loop in loops:
            await loop.wait()
        return cost


async def speed(report: Report, folder: Path, count: int, joined: int, rounds: int, address: str) -> None:
    spoken = [from_wav(path.read_bytes()).samples for path in sorted(SPEECH.glob("*.wav"))]
    files = [folder / f"{number:05}.wav" for number in range(count)]
    sound_s = 0.0
    for number, path in enumerate(files):
        parts = [spoken[at % len(spoken)] for at in range(number * joined, (number + 1) * joined)]
        audio = Audio(np.concatenate(parts), SPEECH_RATE)
        path.write_bytes(to_wav(audio))
        sound_s += audio.seconds
    cores = os.cpu_count() or 1
    measures: dict[str, Callable[[], Awaitable[Cost]]] = {
        "one process": lambda: plain_loops(folder, 1),
        f"{cores} processes": lambda: plain_loops(folder, cores),
        f"HTTP, {CLIENTS} clients": lambda: over_http(files),
        "archive, 1 worker": lambda: archived(Recognition(settings()), folder, 1, address),
        f"archive, {cores} workers": lambda: archived(Recognition(settings()), folder, cores, address),
    }
    ratios: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        costs: dict[str, Cost] = {}
        for name, measure in measures.items():
            for _ in range(TRIES):
                cost = costs[name] = await measure()
                if cost.others <= QUIET:
                    break
            report.row(
                "speed",
                round=number,
                what=name,
                speed=round(sound_s / cost.took_s, 2),
                cpu_ms=round(1000 * cost.cpu_s / sound_s, 1),
                others=round(cost.others, 2),
            )
        one, processes, http, worker, workers = (cost.took_s for cost in costs.values())
        for name, ratio in {
            "times_http": http / workers,
            "n_times_one": one / cores / workers,
            "n_processes": one / cores / processes,
            "n_times_one_worker": worker / cores / workers,
        }.items():
            ratios.setdefault(name, []).append(ratio)
    report.note(**{name: round(statistics.median(found), 3) for name, found in ratios.items()})


async def growth(report: Report, folder: Path, counts: list[int], seconds: float, address: str) -> None:
    short = to_wav(silence(seconds, SPEECH_RATE))
    for count in counts:
        source = folder / str(count)
        source.mkdir()
        for number in range(count):
            (source / f"{number:06}.wav").write_bytes(short)
        before_mb = resident_mb()
        cost = await archived(Idle(settings()), source, os.cpu_count() or 1, address)
        report.row(
            "growth",
            files=count,
            seconds=round(cost.took_s, 2),
            ms_a_file=round(1000 * cost.took_s / count, 2),
            cpu_ms_a_file=round(1000 * cost.cpu_s / count, 2),
            others=round(cost.others, 2),
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


def busy_s() -> float:
    """Seconds in which the machine's cores did something, since it began."""
    words = list(map(int, Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:8]))
    idle, waits_for_disks = words[3:5]
    return (sum(words) - idle - waits_for_disks) / os.sysconf("SC_CLK_TCK")


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Archives.")
    parser.add_argument("what", choices=("speed", "growth"))
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--joined", type=int, default=1, help="speed: recordings, of 3 s, a file (default 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=0.5, help="growth: of each file (default 0.5)")
    parser.add_argument("--address", default="", help="Ray's (default: without Ray)")
    args = parser.parse_args()
    report = Report("archive", what=args.what, address=args.address or "none", load=os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as folder:
        if args.what == "speed":
            asyncio.run(speed(report, Path(folder), args.files, args.joined, args.rounds, args.address))
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
