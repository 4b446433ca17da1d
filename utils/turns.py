"""Turns at what can only do so much at once, in fair order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

CLIENTS_REMEMBERED = 1024


class Turn:
    """What a client has while its work is done. `background`: it yields to turns that are not."""

    def __init__(self, client: str, *, background: bool) -> None:
        self.client = client
        self.background = background
        self._work: asyncio.Future[Any] | None = None

    def lasts_until(self, work: asyncio.Future[Any]) -> None:
        """The turn is over when this is done, too, and not before: work may go on when nobody wants it any more."""
        self._work = work

    @property
    def work(self) -> asyncio.Future[Any] | None:
        """What still goes on."""
        return None if self._work is None or self._work.done() else self._work


class Turns:
    """`slots` turns at a time, which go round the clients, and within a client round its requests.

    `background`: so many more, for who has a slot already. Where there are some, no client has two slots: what it wants beyond
    the first is done in the background, and whoever comes next finds a slot free.
    """

    def __init__(self, slots: int, background: int = 0) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self._free = {False: slots, True: background}
        self._per_client = 1 if background else slots
        self._held: Counter[str] = Counter()  # slots, by client
        self._waiting: dict[str, deque[asyncio.Future[Turn]]] = {}  # none of them empty
        self._served: dict[str, int] = {}  # client -> the number of its latest turn, the oldest first
        self._count = 0

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[Turn]:
        """A turn while the block lasts, and until the work is done that `Turn.lasts_until` was told."""
        turn = await self._take(client)
        try:
            yield turn
        finally:
            if turn.work is None:
                self._end(turn)
            else:
                turn.work.add_done_callback(lambda _: self._end(turn))

    async def _take(self, client: str) -> Turn:
        granted: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        self._hand_out()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # it came at the same moment: pass it on
                self._end(granted.result())
            raise

    def _end(self, turn: Turn) -> None:
        self._free[turn.background] += 1
        if not turn.background:
            self._held[turn.client] -= 1
            if not self._held[turn.client]:
                del self._held[turn.client]
        self._hand_out()

    def _hand_out(self) -> None:
        while (turn := self._next()) is not None:
            granted = self._waiting[turn.client].popleft()
            if not self._waiting[turn.client]:
                del self._waiting[turn.client]
            if granted.cancelled():
                continue
            self._count += 1
            self._served.pop(turn.client, None)
            self._served[turn.client] = self._count
            if len(self._served) > CLIENTS_REMEMBERED:
                del self._served[next(iter(self._served))]
            self._free[turn.background] -= 1
            if not turn.background:
                self._held[turn.client] += 1
            granted.set_result(turn)

    def _next(self) -> Turn | None:
        """For the client whose latest turn is the longest ago, of those who may have what is free."""
        for background, free in self._free.items():
            if free and (clients := [c for c in self._waiting if (self._held[c] >= self._per_client) is background]):
                return Turn(min(clients, key=lambda name: self._served.get(name, 0)), background=background)
        return None
