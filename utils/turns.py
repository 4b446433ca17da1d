"""Turns at what can only do so much at once, in fair order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CLIENTS_REMEMBERED = 1024


class Turns:
    """`slots` turns at a time, which go round the clients, and within a client round its requests."""

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self._free = slots
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # none of them empty
        self._served: dict[str, int] = {}  # client -> the number of its latest turn, the oldest first
        self._count = 0

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """A slot while the block lasts."""
        await self._take(client)
        try:
            yield
        finally:
            self._free += 1
            self._hand_out()

    async def _take(self, client: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        self._hand_out()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # it came at the same moment: pass it on
                self._free += 1
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        """Free slots to the clients whose latest turn is the longest ago."""
        while self._free and self._waiting:
            client = min(self._waiting, key=lambda name: self._served.get(name, 0))
            granted = self._waiting[client].popleft()
            if not self._waiting[client]:
                del self._waiting[client]
            if granted.cancelled():
                continue
            self._count += 1
            self._served.pop(client, None)
            self._served[client] = self._count
            if len(self._served) > CLIENTS_REMEMBERED:
                del self._served[next(iter(self._served))]
            self._free -= 1
            granted.set_result(None)
