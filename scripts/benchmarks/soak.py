#!/usr/bin/env python3
"""Does anything grow? Mixed traffic for a long time, and the slopes of memory, descriptors, threads and tasks of each process.

    python3 scripts/benchmarks/soak.py --minutes 60 --every-s 1

Method. The three services run as their own programs with the embedded engines. Every `--every-s` seconds one of the acts below
begins, in random order (`--seed`), whatever is still under way, at most `--at-once` at a time: whole turns, turns that are
interrupted, hands-free ones, people who hang up in the middle of anything, recordings of several formats, live captions,
synthesis in every format, through the page's address and directly, and what services should refuse (damaged files and messages,
wrong fields, half bodies). Most acts take seconds where people take minutes: an hour is worth many of ordinary use.

Each `--sample-s` the processes are looked at; the first fifth of the run, in which caches and pools fill, counts for nothing. The
slope is Theil and Sen's, the median of the slopes between all pairs of samples, which a peak does not move. A service's children
are one row (`s2s+`).

    mb_1000   resident memory, MB for 1000 acts
    growth    of the whole measured time by that slope: the run fails (exit status 1) above `--growth-mb`, or `--growth`
              descriptors, threads or tasks; or when a process died, a right request got a wrong answer, or a log has an uncaught
              error

Reports as report.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

import aiohttp

from scripts.benchmarks.load.own_service import until_healthy
from scripts.benchmarks.load.stack import READY_S, OwnStack
from scripts.benchmarks.load.traffic import ACTS, Guest
from scripts.benchmarks.load.users import Refused, Wrong
from scripts.benchmarks.report import Report

WARM_UP = 0.2  # of the run
FIGURES = ("memory_mb", "descriptors", "threads", "tasks")
PAIRS_OF = 300  # samples, taken evenly, whose pairs are looked at


@dataclass
class Series:
    """One figure of one process over the time. Pure."""

    at_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, at_s: float, value: float) -> None:
        self.at_s.append(at_s)
        self.values.append(value)

    def slope(self, from_s: float) -> float:
        """A second, of what came from `from_s` on; 0.0 of less than two samples."""
        points = [point for point in zip(self.at_s, self.values, strict=True) if point[0] >= from_s]
        points = points[:: max(1, len(points) // PAIRS_OF)]
        slopes = [(y - x) / (t - s) for (s, x), (t, y) in combinations(points, 2) if t > s]
        return median(slopes) if slopes else 0.0

    def growth(self, from_s: float) -> float:
        return self.slope(from_s) * max(self.at_s[-1] - from_s, 0.0) if self.at_s else 0.0


async def soak(stack: OwnStack, args: argparse.Namespace, report: Report) -> bool:
    """Whether nothing grew."""
    for url in stack.urls.values():
        await until_healthy(url, READY_S)
    chance = random.Random(args.seed)
    outcomes: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    series: dict[tuple[str, str], Series] = {}
    places = asyncio.Semaphore(args.at_once)
    began = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as running:
        guest = Guest(http, stack.urls, chance)
        sampling = running.create_task(_sample(stack, http, series, began, args.sample_s))
        while time.monotonic() - began < 60 * args.minutes:
            act = chance.choice(ACTS)
            await places.acquire()
            running.create_task(_perform(guest, act.__name__, outcomes, wrong, places))
            await asyncio.sleep(args.every_s)
        for _ in range(args.at_once):  # all are done
            await places.acquire()
        sampling.cancel()
    return _judge(stack, args, series, outcomes, wrong, time.monotonic() - began, report)


async def _perform(
    guest: Guest, name: str, outcomes: Counter[str], wrong: Counter[str], places: asyncio.Semaphore
) -> None:
    try:
        await getattr(guest, name)()
        outcomes[name] += 1
    except Refused:
        outcomes["refused"] += 1
    except Wrong as error:
        wrong[f"{name}: {error}"] += 1
    finally:
        places.release()


async def _sample(
    stack: OwnStack,
    http: aiohttp.ClientSession,
    series: dict[tuple[str, str], Series],
    began: float,
    every_s: float,
) -> None:
    while True:
        await asyncio.sleep(every_s)
        at_s = time.monotonic() - began
        for name, usage in (await asyncio.to_thread(stack.usage)).items():
            for figure in FIGURES[:3]:
                series.setdefault((name, figure), Series()).add(at_s, getattr(usage, figure))
        for name, url in stack.urls.items():
            series.setdefault((name, "tasks"), Series()).add(at_s, await _tasks(http, url))


async def _tasks(http: aiohttp.ClientSession, url: str) -> float:
    async with http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("service_tasks "))


def _judge(
    stack: OwnStack,
    args: argparse.Namespace,
    series: dict[tuple[str, str], Series],
    outcomes: Counter[str],
    wrong: Counter[str],
    lasted_s: float,
    report: Report,
) -> bool:
    acts = outcomes.total() + wrong.total()
    from_s = WARM_UP * lasted_s
    measured = acts * (1 - WARM_UP)
    good = True
    for name in dict.fromkeys(process for process, _ in series):
        memory = series[name, "memory_mb"]
        growth = {figure: round(of.growth(from_s), 1) for (process, figure), of in series.items() if process == name}
        within = growth["memory_mb"] <= args.growth_mb and all(
            value <= args.growth for figure, value in growth.items() if figure != "memory_mb"
        )
        good &= within
        report.row(
            process=name,
            first_mb=round(memory.values[0]),
            last_mb=round(memory.values[-1]),
            peak_mb=round(max(memory.values)),
            mb_1000=round(1000 * growth["memory_mb"] / max(measured, 1), 2),
            growth={figure.removesuffix("_mb"): growth.get(figure, 0.0) for figure in FIGURES},
            last={figure: series[name, figure].values[-1] for figure in ("descriptors", "threads")},
            within="yes" if within else "NO",
        )
    mistakes, died = stack.mistakes(), stack.died()
    report.note(
        minutes=round(lasted_s / 60, 1),
        acts=acts,
        wrong=wrong.total(),
        uncaught=sum(mistakes.values()),
        died=len(died),
        stop_s=round(stack.stop(), 2) if not died else float("nan"),
        kinds=dict(sorted(outcomes.items())),
        wrongs=dict(wrong.most_common(10)),
    )
    return good and not wrong and not died and not any(mistakes.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every-s", type=float, default=1.0, help="between the beginnings of two acts")
    parser.add_argument("--at-once", type=int, default=8, help="acts under way")
    parser.add_argument("--sample-s", type=float, default=10.0)
    parser.add_argument("--growth-mb", type=float, default=16.0, help="of a process, in the measured time")
    parser.add_argument("--growth", type=float, default=2.0, help="of descriptors, threads and tasks, as well")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = Report(
        "soak", engine="embedded", every_s=args.every_s, at_once=args.at_once, growth_mb=args.growth_mb, seed=args.seed
    )
    with OwnStack() as stack:
        good = asyncio.run(soak(stack, args, report))
    report.end()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
