"""All on this machine, without Ray: engines in supervised processes, files decoded in cages, the rest in this process."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing

from utils.channel import Channel, ChannelClosed
from web_demo.archive.runners.base import Hand
from web_demo.archive.stages import Outcome, Part, Split, Splitter, Stages, Task

SHARES = 2  # of each worker in what waits; it takes one at a time


class LocalRunner:
    """`devices`: one for each worker, "" for what the settings say. A worker gets no batch that was made before, but its share
    of what waits: at once when the run begins, and ever less when it ends, so that all workers end together."""

    def __init__(self, stages: Stages, devices: Sequence[str]) -> None:
        self._splitter: Splitter = stages.splitter()
        self._batch_s = stages.batch_s
        self._hands = [Hand(stages, device) for device in devices]
        self._stopping = False
        self._open = AsyncExitStack()

    @property
    def place(self) -> str:
        count = len(self._hands)
        return f"this machine, {count} worker{'s' if count > 1 else ''}"

    async def __aenter__(self) -> LocalRunner:
        try:
            self._open.push_async_callback(self._splitter.close)
            for hand in self._hands:
                self._open.push_async_callback(hand.close)
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._splitter.start())
                for hand in self._hands:
                    starting.create_task(hand.start())
        except BaseExceptionGroup as errors:
            await self._open.aclose()
            raise errors.exceptions[0] from errors
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def stop(self) -> None:
        self._stopping = True

    async def outcomes(self, groups: Sequence[tuple[Task, ...]]) -> AsyncGenerator[Sequence[Outcome], None]:
        count = len(self._hands)
        left = iter(groups)
        split: Channel[Split] = Channel(math.ceil(1000 * self._batch_s) * SHARES * count, _milliseconds)
        made: Channel[Sequence[Outcome]] = Channel(2 * count)
        running = asyncio.create_task(self._run(left, split, made), name="archive")
        try:
            async for outcomes in made:
                yield outcomes
            await running  # raises what ended it early
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(
        self, groups: Iterator[tuple[Task, ...]], split: Channel[Split], made: Channel[Sequence[Outcome]]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as workers:
                for hand in self._hands:
                    workers.create_task(_work(hand, split, SHARES * len(self._hands), made))
                async with asyncio.TaskGroup() as splitting:
                    for _ in range(len(self._hands) + 1):  # one more than works: there is something when it is wanted
                        splitting.create_task(self._split(groups, split))
                await split.close(heaviest_first=True)  # what is left at the very end is short
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            await made.close()

    async def _split(self, groups: Iterator[tuple[Task, ...]], split: Channel[Split]) -> None:
        for group in groups:  # shared: each takes the next one
            async with aclosing(self._splitter.split(self._wanted(group))) as found:
                async for item in found:
                    await split.put(item)

    def _wanted(self, group: Iterable[Task]) -> Iterator[Task]:
        return itertools.takewhile(lambda _: not self._stopping, group)


async def _work(hand: Hand, split: Channel[Split], shares: int, made: Channel[Sequence[Outcome]]) -> None:
    while batch := await split.share(shares):
        outcomes = await hand.outcomes(batch)
        try:
            await made.put(outcomes)
        except ChannelClosed:  # nobody wants it any more
            return


def _milliseconds(item: Split) -> int:
    return 1 + round(1000 * item.cost_s) if isinstance(item, Part) else 1


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the run, of all that it tore down."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
