"""Who may synthesise when. Pure asyncio, no HTTP.

A request is admitted once and then takes one turn for each piece of its text. Turns go round the clients, and within a
client round its requests, so a long text never holds up a short one for more than a piece.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from web_demo.errors import Busy

RETRY_AFTER_S = 2


class FairQueue:
    """`slots` pieces at a time for at most `max_requests` requests, of which one client has at most `max_per_client`."""

    def __init__(self, slots: int, max_requests: int, max_per_client: int) -> None:
        if not 1 <= max_per_client <= max_requests or slots < 1:
            raise ValueError(f"slots {slots}, max_per_client {max_per_client}, max_requests {max_requests}")
        self._free = slots
        self._max_requests = max_requests
        self._max_per_client = max_per_client
        self._admitted: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # none of them empty
        self._served: dict[str, int] = {}  # client -> the number of its latest turn
        self._turns = 0

    @property
    def admitted(self) -> int:
        return sum(self._admitted.values())

    @contextmanager
    def admit(self, client: str) -> Iterator[None]:
        """Counts one request of `client`; raises Busy when there are too many."""
        mine = self._admitted.get(client, 0)
        if mine >= self._max_per_client:
            raise Busy(
                f"{mine} requests of yours are under way, the most that one client may have; wait for one to end",
                RETRY_AFTER_S,
            )
        if self.admitted >= self._max_requests:
            raise Busy(f"all {self._max_requests} places are taken; try again in {RETRY_AFTER_S} s", RETRY_AFTER_S)
        self._admitted[client] = mine + 1
        try:
            yield
        finally:
            self._admitted[client] -= 1
            if not self._admitted[client]:
                del self._admitted[client]
                self._served.pop(client, None)

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """One slot, for one piece."""
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
            self._turns += 1
            self._served[client] = self._turns
            self._free -= 1
            granted.set_result(None)
