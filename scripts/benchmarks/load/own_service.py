"""A service of a benchmark's own, in a process of its own, and what it takes of the machine.

The benchmark holds an `OwnService`, which runs the benchmark's module again with `--serve …`; there the module builds an
application and gives it to `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

ROOT = Path(__file__).resolve().parents[3]


class OwnService:
    """Lives as long as the block: `with OwnService("scripts.benchmarks.tts", "--serve", "null") as service`.

    `core`: keep it and its children to this one (Linux). What they use is read from /proc: `measurable` says whether it
    can be.
    """

    measurable = Path("/proc/self/statm").exists()

    def __init__(self, module: str, *words: str, core: int | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self) -> OwnService:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=30)  # closes its standard input, which ends it

    def cpu_s(self) -> float:
        """Of the service and its children since they began."""
        ticks = 0
        for pid in family(self._process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def pid(self) -> int:
        return self._process.pid

    def memory_mb(self) -> float:
        return resident_mb(self._process.pid)


async def serve(app: web.Application) -> None:
    """Until standard input ends. Prints the port as the first line."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


async def until_healthy(url: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """What /health says then. Raises SystemExit when it says that it will not be, or nothing good in time."""
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(f"{url}/health") as response:
                    health: dict[str, Any] = await response.json()
                if health["status"] == "healthy":
                    return health
                if health["status"] == "unhealthy":
                    raise SystemExit(f"the service at {url} is unhealthy: {health.get('reason')}")
            await asyncio.sleep(0.05)
    raise SystemExit(f"the service at {url} did not become healthy in {timeout_s:g} s")


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += children.get(one, [])
    return found
