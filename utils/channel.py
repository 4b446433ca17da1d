"""A bounded channel between tasks that can be closed: "finished" arrives in order, it is never guessed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosed(Exception):
    """The channel was closed: nothing can be put any more."""


class Channel(Generic[T]):
    """`put` waits while the channel is full; `async for` ends when it is closed and empty.

    It is full when the weights of its items reach `size`, so the last one that goes in may be heavier than what was left.

    Without a lock, since nothing here awaits between a look and the act: a wait is only entered when there is nothing to
    do, and everybody who waits looks again after each change.
    """

    def __init__(self, size: int, weight: Callable[[T], int] = lambda item: 1) -> None:
        if size < 1:
            raise ValueError(f"a channel holds at least one item, got size {size}")
        self._size = size
        self._weight = weight
        self._items: deque[T] = deque()
        self._inside = 0  # the weight of all of them
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []

    async def put(self, item: T) -> None:
        while self._inside >= self._size and not self._closed:
            await self._change()
        if self._closed:
            raise ChannelClosed
        self._items.append(item)
        self._inside += self._weight(item)
        self._changed()

    async def close(self, *, heaviest_first: bool = False) -> None:
        """No more items; those inside are still delivered, in their order or the heaviest first. Wakes a waiting `put`, which
        raises ChannelClosed."""
        self._closed = True
        if heaviest_first:
            self._items = deque(sorted(self._items, key=self._weight, reverse=True))
        self._changed()

    def __len__(self) -> int:
        return len(self._items)

    async def __aiter__(self) -> AsyncIterator[T]:
        while await self._something():
            yield self._pop()

    async def share(self, among: int) -> tuple[T, ...]:
        """The oldest items that together weigh at most one `among`-th of all that are inside, or the oldest alone where it weighs
        more; none when the channel is closed and empty."""
        await self._something()
        left = self._inside / among
        items: list[T] = []
        while self._items and (not items or self._weight(self._items[0]) <= left):
            items.append(self._pop())
            left -= self._weight(items[-1])
        return tuple(items)

    def _pop(self) -> T:
        item = self._items.popleft()
        self._inside -= self._weight(item)
        self._changed()
        return item

    async def _something(self) -> bool:
        """Waits for an item; False when none will come."""
        while not self._items and not self._closed:
            await self._change()
        return bool(self._items)

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
