"""Where the stages of an archive run: the interface of all runners, and what they share."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from web_demo.archive.stages import Batch, Ended, Failed, Outcome, Part, Result, Stages, Task, Worker, WorkerLost
from web_demo.children.pool import WorkerPool
from web_demo.errors import EngineFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

READY_S = 900.0  # an engine may load weights for so long
PATIENCE_S = 1800.0  # and be started again for so long before its work is given up

Works = tuple[Part, ...]
Made = tuple[Result | Failed, ...]


class Runner(Protocol):
    """Runs the first two stages. `async with` holds its processes, or its part of a cluster."""

    async def __aenter__(self) -> Runner: ...
    async def __aexit__(self, *_: object) -> None: ...

    def outcomes(self, groups: Sequence[tuple[Task, ...]]) -> AsyncGenerator[Sequence[Outcome], None]:
        """What came of the groups' entries, in any order; an entry's may come more than once. Raises SetupError."""
        ...

    def stop(self) -> None:
        """Entries that were not begun yet are left; the others are brought to their end. From the event loop's thread."""
        ...

    @property
    def place(self) -> str:
        """Where the work is done, for people."""
        ...


class LoopThread:
    """An event loop in a thread, for code that is called by what knows none. Raises RuntimeError where loops are not asyncio's."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        if not isinstance(self._loop, asyncio.SelectorEventLoop):
            # uvloop, which Ray installs where it is, closes descriptors of pipes that others have closed, and have again.
            raise RuntimeError(f"stages need asyncio's own event loop, not {type(self._loop).__module__}'s")
        threading.Thread(target=self._loop.run_forever, name="stages", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        try:
            while (item := self.run(following())) is not end:
                yield item
        finally:
            self.run(items.aclose())


def build_worker(stages: Stages, device: str) -> Callable[[Works], Made]:
    """A worker's engine in a child process, and the handler of its batches (for a WorkerPool)."""
    loop = LoopThread()
    worker: Worker = stages.worker(device)
    loop.run(worker.start())

    def work(parts: Works) -> Made:
        try:
            return tuple(loop.run(worker.work(parts)))
        except WorkerLost as error:
            log.error("%s: this process ends, and another one is started", error)
            os._exit(70)  # EX_SOFTWARE

    return work


class Hand:
    """One engine in a process of its own, which is started again when it dies."""

    def __init__(self, stages: Stages, device: str = "") -> None:
        build = functools.partial(build_worker, stages, device)
        self._pool: WorkerPool[Works, Made] = WorkerPool(
            "archive", build, 1, ready_timeout_s=READY_S, patience_s=PATIENCE_S
        )

    async def start(self) -> None:
        await self._pool.start()

    async def close(self) -> None:
        await self._pool.close()

    async def outcomes(self, batch: Batch) -> Sequence[Outcome]:
        """Of a whole batch. A part over which the process dies twice, or that the engine cannot do, is a Failed; the others of its
        batch are done without it. Raises Unavailable when no process comes to stay."""
        parts = tuple(item for item in batch if isinstance(item, Part))
        rest = [item for item in batch if isinstance(item, Ended | Failed)]
        return [*(await self._made(parts)), *rest] if parts else rest

    async def _made(self, parts: Works) -> Made:
        try:
            return await self._pool.run(parts, tries=1 if len(parts) > 1 else 2)
        except EngineFailed as error:
            if len(parts) == 1:
                return (Failed(parts[0].number, error.message),)
            middle = len(parts) // 2
            return (*(await self._made(parts[:middle])), *(await self._made(parts[middle:])))
