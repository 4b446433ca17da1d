#!/usr/bin/env python3
"""Each known attack in turn, with an ordinary user beside it: does anybody notice, and does anything grow past its budget?

    python3 scripts/benchmarks/attacks.py                                # its own stack, embedded engines; about eight minutes
    python3 scripts/benchmarks/attacks.py --only hours_of_opus,heads     # some of them
    python3 scripts/benchmarks/attacks.py --url http://127.0.0.1:8002 --asr-url http://127.0.0.1:8003 --tts-url http://127.0.0.1:8004
    python3 scripts/benchmarks/attacks.py --short                        # for CI: one of each kind; answers and memory, no speed
    python3 scripts/benchmarks/attacks.py --fuzz 100000                  # that many fuzzed messages and requests instead

Method. The three services run as their own programs. One user does everything through the page's one address, one thing
after the other: a turn (to its first audio), a transcription, a synthesis. Attackers run in a process of their own, under
another address (127.0.0.66) and at the lowest priority, since on a real network their own work would not be this machine's.
The user is measured in quiet before and after each attack (`--quiet-s`) and in between beside it (`--seconds`): so what else
the machine does is in both.

    turn, transcription, synthesis
             median with the attack ÷ median in quiet. Bound: 2, or 0.1 s more, which nobody notices. Where it is broken, the row is
             measured twice more, and the median of the three decides
    grew     most resident memory of a service with its children beyond what it had before, MB. Bound: the attack's own
    left     the same, some seconds after the attack. Bound: 30 MB
    saw      what came back to the attackers. Bound: only what is right
    lines    of all logs a second

Accidents of an operator (killed processes, no descriptors) may disturb others while they last; afterwards a user must be served
within 30 s. With fewer cores than busy processes a user shares them with the attacker's admitted work; the bound of 2 is then what
fair shares give at best, and a loaded machine goes beyond it now and then: hence the medians.

At the end the stack is asked to stop while uploads drip and connections are silent: it has 10 s. Exit status 1 when a bound is
broken, a process died or a log has an uncaught error. Reports as report.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from scripts.benchmarks.load import fuzz, hostile_http, hostile_sound  # noqa: F401  # they put their attacks on the list
from scripts.benchmarks.load.own_service import ROOT, until_healthy
from scripts.benchmarks.load.scene import ATTACKS, FROM, Attack, Scene
from scripts.benchmarks.load.stack import READY_S, STOP_S, OwnStack, ended
from scripts.benchmarks.load.traffic import Guest
from scripts.benchmarks.load.users import Refused, User, Wrong
from scripts.benchmarks.report import Report, quantile

TIMES = 2.0  # of the quiet time
UNNOTICED_S = 0.1
GROWS_MB = 60.0  # at least: what the user himself needs, with a decoder of his recording
LEFT_MB = 30.0
REST_S = 2.0  # after an attack, before the user is measured in quiet
AGAIN_S = 30.0  # after an accident, until the user is served
SPARE_DESCRIPTORS = 40
ACTS = ("turn", "transcription", "synthesis")
SHORT = (
    "packed_parts",
    "broken_off",
    "slow_uploads",
    "unread_answers",
    "other_host",
    "broken_gzip",
    "wild_rate",
    "hours_of_opus",
    "heads",
    "claimed_samples",
    "long_flac",
    "many_sessions",
)
AT_THE_END = ("slow_uploads", "silent_bodies")

Seconds = dict[str, list[float]]  # of each act


@dataclass
class Measured:
    """One attack, once."""

    quiet: Seconds
    beside: Seconds
    wrong: list[str]
    grew_mb: dict[str, float] = field(default_factory=dict)
    left_mb: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    lines_a_s: float = 0.0

    def times(self, act: str) -> float:
        """The median beside the attack ÷ that in quiet; 1.0 where nobody would notice the difference."""
        quiet, beside = (quantile(seconds[act], 0.5) for seconds in (self.quiet, self.beside))
        return 1.0 if beside <= quiet + UNNOTICED_S else beside / quiet


def broken(attack: Attack, runs: list[Measured], *, speed: bool) -> list[str]:
    """What of the bounds is broken; nothing when all are kept. Pure."""
    found = []
    latest = runs[-1]
    if speed and not attack.slows:
        found += [act for act in ACTS if quantile([run.times(act) for run in runs], 0.5) > TIMES]
    if not attack.slows:
        found += latest.wrong
    found += [
        f"grew {name}" for name, mb in latest.grew_mb.items() if mb > max(attack.grows_mb.get(name, 0.0), GROWS_MB)
    ]
    found += [f"left {name}" for name, mb in latest.left_mb.items() if mb > LEFT_MB and not attack.slows]
    found += [f"saw {outcome}" for outcome in latest.outcomes if outcome not in attack.outcomes]
    return found


# --- the user ---------------------------------------------------------------------------------------------------------


async def measure(user: User, seconds: float, wrong: list[str]) -> Seconds:
    """Rounds of the three acts for so long, one at least. What went wrong is told and has no time."""
    found: Seconds = {act: [] for act in ACTS}
    until = time.monotonic() + seconds
    while True:
        for act in ACTS:
            try:
                found[act].append(await getattr(user, act)())
            except (Wrong, Refused) as error:
                wrong.append(f"{act}: {error}")
                await asyncio.sleep(0.1)
        if time.monotonic() >= until:
            return found


async def until_served(user: User) -> None:
    """Raises SystemExit when the user is not served within AGAIN_S."""
    until = time.monotonic() + AGAIN_S
    wrong = ["not tried"]
    while wrong:
        if time.monotonic() > until:
            raise SystemExit(f"a user is not served {AGAIN_S:g} s after the attack: {wrong[-1]}")
        wrong.clear()
        await measure(user, 0.0, wrong)


# --- the attackers, in a process of their own -----------------------------------------------------------------------------


@asynccontextmanager
async def attackers(name: str, urls: Mapping[str, str], stack: OwnStack | None) -> AsyncIterator[dict[str, int]]:
    """At work while the block lasts, which begins when they are ready; then what they saw."""
    pids = {name: program.process.pid for name, program in stack.programs.items()} if stack else {}
    words = ("--attack", name, "--urls", json.dumps(urls), "--pids", json.dumps(pids))
    process = subprocess.Popen(  # noqa: ASYNC220  # a fork, once an attack
        [sys.executable, "-m", "scripts.benchmarks.attacks", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    saw: dict[str, int] = {}
    with ended(process):
        assert process.stdout is not None
        if not await asyncio.to_thread(process.stdout.readline):
            raise SystemExit(f"the attack {name} did not begin")
        yield saw
        out, _ = await asyncio.to_thread(process.communicate, "")
        saw |= json.loads(out)


async def be_the_attacker(name: str, urls: Mapping[str, str], pids: Mapping[str, int]) -> None:
    """Until standard input ends; then one line of what came back."""
    os.nice(19)
    connector = aiohttp.TCPConnector(limit=0, local_addr=FROM)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        scene = Scene(urls, pids, http)
        at_work = asyncio.create_task(ATTACKS[name].run(scene))
        await asyncio.wait({at_work, asyncio.ensure_future(scene.ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if at_work.done():
            at_work.result()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        at_work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await at_work
        print(json.dumps(scene.outcomes))


# --- what the services take ---------------------------------------------------------------------------------------------


class Memory:
    """The most that each service with its children holds, MB, looked at all the time in a thread."""

    def __init__(self, stack: OwnStack | None) -> None:
        self._stack = stack
        self.before = self.now()
        self.most = dict(self.before)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self) -> dict[str, float]:
        held: dict[str, float] = {}
        for name, usage in (self._stack.usage() if self._stack else {}).items():
            held[name.rstrip("+")] = held.get(name.rstrip("+"), 0.0) + usage.memory_mb
        return held

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for name, held in self.now().items():
                self.most[name] = max(self.most.get(name, 0.0), held)

    def beyond(self, held: Mapping[str, float]) -> dict[str, float]:
        return {name: round(max(mb - self.before.get(name, 0.0), 0.0), 1) for name, mb in held.items()}


def lines(stack: OwnStack | None) -> int:
    return sum(program.log.count("\n") for program in stack.programs.values()) if stack else 0


@contextmanager
def few_descriptors(stack: OwnStack) -> Iterator[None]:
    """The S2S service may open SPARE_DESCRIPTORS more than it has, while the block lasts."""
    program = stack.programs["s2s"]
    limits = resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)
    few = program.usage().descriptors + SPARE_DESCRIPTORS
    resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, limits)


# --- the run ----------------------------------------------------------------------------------------------------------


class Run:
    def __init__(
        self, http: aiohttp.ClientSession, urls: Mapping[str, str], stack: OwnStack | None, args: argparse.Namespace
    ) -> None:
        self._user = User(http, urls["s2s"])
        self._guest = Guest(http, urls, random.Random(args.seed))
        self._urls = urls
        self._stack = stack
        self._args = args
        self._quiet: Seconds = {}

    async def begin(self) -> None:
        """Raises SystemExit when the user is not served in quiet."""
        await until_served(self._user)
        for act in (self._guest.hands_free_turn, self._guest.captions):  # what is loaded once is no attack's
            await act()
        self._quiet = await self._in_quiet()

    async def _in_quiet(self) -> Seconds:
        wrong: list[str] = []
        found = await measure(self._user, self._args.quiet_s, wrong)
        if wrong:
            raise SystemExit(f"a user is not served in quiet: {wrong[0]}")
        return found

    async def once(self, attack: Attack) -> Measured:
        measured = Measured(self._quiet, {}, [])
        few = (
            few_descriptors(self._stack)
            if attack.name == "no_descriptors" and self._stack
            else contextlib.nullcontext()
        )
        with Memory(self._stack) as memory, few:
            before, began = lines(self._stack), time.monotonic()
            async with attackers(attack.name, self._urls, self._stack) as saw:
                measured.beside = await measure(self._user, self._args.seconds, measured.wrong)
            measured.outcomes = saw
            measured.lines_a_s = round((lines(self._stack) - before) / (time.monotonic() - began), 1)
        if attack.slows:
            await until_served(self._user)
        else:
            await asyncio.sleep(0.2 if self._args.short else REST_S)
        after = await self._in_quiet()
        measured.quiet = {act: self._quiet[act] + after[act] for act in ACTS}
        self._quiet = after
        measured.grew_mb = memory.beyond(memory.most)
        measured.left_mb = memory.beyond(memory.now())
        return measured

    async def row(self, attack: Attack, report: Report) -> bool:
        """Whether the attack did no harm."""
        speed = not self._args.short
        runs = [await self.once(attack)]
        while broken(attack, runs, speed=speed) and len(runs) < self._args.tries:
            runs.append(await self.once(attack))
        harm = broken(attack, runs, speed=speed)
        latest = runs[-1]
        report.row(
            row=attack.row,
            attack=attack.name,
            **{act: round(quantile([run.times(act) for run in runs], 0.5), 2) for act in ACTS} if speed else {},
            grew={name: latest.grew_mb.get(name, float("nan")) for name in ("s2s", "asr", "tts")},
            left=max(latest.left_mb.values(), default=float("nan")),
            lines=latest.lines_a_s,
            runs=len(runs),
            kept="yes" if not harm else "NO",
            saw=" ".join(f"{outcome}:{number}" for outcome, number in sorted(latest.outcomes.items())),
            harm="; ".join(dict.fromkeys(harm))[:300],
        )
        return not harm


async def run_attacks(
    urls: Mapping[str, str], stack: OwnStack | None, args: argparse.Namespace, report: Report
) -> bool:
    chosen = [ATTACKS[name] for name in args.only.split(",")] if args.only else list(ATTACKS.values())
    async with aiohttp.ClientSession() as http:
        run = Run(http, urls, stack, args)
        await run.begin()
        kept = [await run.row(attack, report) for attack in chosen if stack or not attack.needs_processes]
    if stack is None:
        return all(kept)
    async with contextlib.AsyncExitStack() as at_the_end:
        for name in AT_THE_END:
            await at_the_end.enter_async_context(attackers(name, urls, stack))
        await asyncio.sleep(1.0)
        uncaught, died = stack.mistakes(), stack.died()
        stop_s = await asyncio.to_thread(stack.stop)
    report.note(rows=len(kept), broken=kept.count(False), uncaught=uncaught, died=died, stop_s=round(stop_s, 2))
    return all(kept) and not died and not any(uncaught.values()) and stop_s < STOP_S


async def run_fuzz(urls: Mapping[str, str], stack: OwnStack | None, args: argparse.Namespace, report: Report) -> bool:
    async with aiohttp.ClientSession() as http:
        user = User(http, urls["s2s"])
        await until_served(user)
        memory = Memory(stack)
        began = time.monotonic()
        with memory:
            saw = await fuzz.fuzz(urls, args.fuzz, args.seed)
        took_s = time.monotonic() - began
        await until_served(user)
    wrong = {outcome: number for outcome, number in saw.items() if outcome.startswith(fuzz.WRONG)}
    uncaught = stack.mistakes() if stack else {}
    died = stack.died() if stack else []
    grew, left = memory.beyond(memory.most), memory.beyond(memory.now())
    report.note(
        messages=args.fuzz,
        took_s=round(took_s, 1),
        saw=dict(sorted(saw.items())),
        grew_mb=grew,
        left_mb=left,
        uncaught=uncaught,
        died=died,
        stop_s=round(await asyncio.to_thread(stack.stop), 2) if stack and not died else float("nan"),
    )
    return not wrong and not died and not any(uncaught.values()) and all(mb < fuzz.GROWS_MB for mb in left.values())


def main() -> int:
    args = arguments().parse_args()
    if args.attack:
        asyncio.run(be_the_attacker(args.attack, json.loads(args.urls), json.loads(args.pids)))
        return 0
    if args.short:
        args.seconds, args.quiet_s, args.tries = 0.5, 0.0, 2
        args.only = args.only or ",".join(SHORT)
    unknown = [name for name in args.only.split(",") if name and name not in ATTACKS]
    if unknown:
        raise SystemExit(f"there is no attack {unknown[0]!r}; there are: {', '.join(ATTACKS)}")
    conditions: dict[str, Any] = (
        {"fuzz": args.fuzz, "seed": args.seed}
        if args.fuzz
        else {
            "seconds": args.seconds,
            "quiet_s": args.quiet_s,
        }
    )
    report = Report("attacks", engine="embedded" if not args.url else args.url, **conditions)
    with contextlib.ExitStack() as own:
        stack = None if args.url else own.enter_context(OwnStack())
        urls = stack.urls if stack else {"s2s": args.url, "asr": args.asr_url, "tts": args.tts_url}
        good = asyncio.run(_all(urls, stack, args, report))
    report.end()
    return 0 if good else 1


async def _all(urls: Mapping[str, str], stack: OwnStack | None, args: argparse.Namespace, report: Report) -> bool:
    for url in urls.values():
        await until_healthy(url, READY_S)
    return await (run_fuzz if args.fuzz else run_attacks)(urls, stack, args, report)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"some attacks, with commas, of: {', '.join(ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=8.0, help="each attack")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="before and after each")
    parser.add_argument("--tries", type=int, default=3, help="runs of a row whose bound is broken")
    parser.add_argument(
        "--short", action="store_true", help="one of each kind, half a second each, and nothing about speed"
    )
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="N fuzzed messages and requests instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", default="", help="a running S2S service, whose processes are not looked at")
    parser.add_argument("--asr-url", default="http://127.0.0.1:8003")
    parser.add_argument("--tts-url", default="http://127.0.0.1:8004")
    for hidden in ("--attack", "--urls", "--pids"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
