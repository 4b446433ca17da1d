"""Micro-batching: requests that arrive within a few milliseconds of each other share one call of the model.

One thread owns the model. What may share a call (the same prompt, for example) has the same key; a batch is limited by
its padded length in seconds, which is what memory and time depend on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from web_demo.errors import ServiceError, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchLimits:
    window_s: float = 0.005  # how long the first request of a batch waits for company
    max_items: int = 32
    max_padded_s: float = 600.0  # items times the longest of them


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Item]):
    item: Item
    key: Hashable
    seconds: float
    result: asyncio.Future[Any]


class MicroBatcher(Generic[Item, Result]):
    """`run_batch` is called in `thread` with items of one key and gives one result each. When a batch fails, its items
    are run one by one, so that only the guilty one fails. Cancelled items are dropped while they wait."""

    def __init__(
        self,
        run_batch: Callable[[Sequence[Item]], Sequence[Result]],
        thread: ThreadPoolExecutor,
        limits: BatchLimits | None = None,
    ) -> None:
        self._run_batch = run_batch
        self._thread = thread
        self._limits = limits or BatchLimits()
        self._waiting: list[_Waiting[Item]] = []
        self._arrived = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._serve(), name="micro-batcher")

    async def close(self) -> None:
        """Waits for the call that is running; those who still wait get Unavailable."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            self._loop_task = None
        for waiting in self._waiting:
            if not waiting.result.done():
                waiting.result.set_exception(Unavailable("the service is shutting down"))
        self._waiting.clear()

    async def submit(self, item: Item, key: Hashable, seconds: float) -> Result:
        if self._loop_task is None:
            raise Unavailable("the engine is not running")
        waiting = _Waiting(item, key, seconds, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        result: Result = await waiting.result
        return result

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(self._limits.window_s)
            batch = self._take()
            if batch:
                await self._answer(batch)

    def _take(self) -> list[_Waiting[Item]]:
        """The oldest request and those of its key that fit with it, oldest first."""
        waiting = [w for w in self._waiting if not w.result.done()]
        batch: list[_Waiting[Item]] = []
        longest = 0.0
        for candidate in waiting:
            if candidate.key != waiting[0].key or len(batch) == self._limits.max_items:
                continue
            padded = max(longest, candidate.seconds) * (len(batch) + 1)
            if not batch or padded <= self._limits.max_padded_s:
                batch.append(candidate)
                longest = max(longest, candidate.seconds)
        self._waiting = [w for w in waiting if w not in batch]
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _answer(self, batch: list[_Waiting[Item]]) -> None:
        try:
            results = await self._call(batch)
        except Exception as error:  # noqa: BLE001  # whatever the model raises goes to whoever asked for it
            if len(batch) > 1:
                for waiting in batch:
                    await self._answer([waiting])
                return
            _settle(batch[0].result, error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)

    async def _call(self, batch: list[_Waiting[Item]]) -> Sequence[Result]:
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._run_batch, [w.item for w in batch])
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.gather(call, return_exceptions=True)
            for waiting in batch:
                _settle(waiting.result, Unavailable("the service is shutting down"))
            raise


def _settle(result: asyncio.Future[Any], error: Exception) -> None:
    if result.done():
        return
    result.set_exception(error)
    if not isinstance(error, ServiceError):
        result.exception()  # it is logged where it is raised again
