"""CPU work off the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Codecs let go of the interpreter for every packet, and to take it back waits for so long beside a busy event loop, as that does
# beside them. Python's 5 ms were a hundred for a second of sound.
sys.setswitchinterval(0.0005)

NICE = 5  # of the thread for long work: beside a process that computes it gets a quarter of a core


def _yield() -> None:
    """Linux has a priority of its own for each thread, other systems for whole processes only."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(os.nice(0) + NICE, 19))


_pool = ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="cpu")
_background = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cpu-background")
_behind = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cpu-behind", initializer=_yield)


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a short piece of CPU work in a thread.

    A cancelled caller still waits for it to end: what the work changes is never changed by two threads at once.
    """
    return await _run(_pool, lambda: work(*args, **kwargs))


async def in_background(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `off_loop`, for what is wanted in a second or so: it does not stand before what somebody waits for."""
    return await _run(_background, lambda: work(*args, **kwargs))


async def behind(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `off_loop`, for a piece of work that is one of very many: one such piece at a time in this process, which on Linux
    leaves the processors to whatever else computes on the machine."""
    return await _run(_behind, lambda: work(*args, **kwargs))


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    future = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
