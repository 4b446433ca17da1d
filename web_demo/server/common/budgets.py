"""Who is let in, and who may work when: the same for recordings, texts and conversations.

A `Budget` holds the places: a request takes one when its body is there and keeps it to its end. `Turns` share what works
(an engine) among those that are in: a request takes one turn for each piece of its work, so that a long one never holds
up a short one for more than a piece.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from web_demo.errors import Busy

FORWARDED_FOR = "X-Forwarded-For"
CLIENTS_REMEMBERED = 1024


def client_of(request: web.Request) -> str:
    """The address of who asks. The page's forwarder and a proxy on this machine name their client; nobody else is believed.
    For fairness, not for access."""
    peer = request.remote or ""
    named = (
        request.headers.getall(FORWARDED_FOR, [""])[-1].rpartition(",")[2].strip()
    )  # the last one is the proxy's own
    try:
        return str(ipaddress.ip_address(named)) if ipaddress.ip_address(peer).is_loopback else peer
    except ValueError:
        return peer


class Budget:
    """`most()` units at a time, of which one client has at most `per_client`. `of`: what a unit is called; a request is
    one unit unless it is admitted at another cost. `refused` is called for each refusal."""

    def __init__(
        self,
        most: Callable[[], int],
        *,
        per_client: int | None = None,
        of: str = "places",
        retry_after_s: int = 2,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._most = most
        self._per_client = per_client
        self._of = of
        self._retry_after_s = retry_after_s
        self._refused = refused
        self._taken: dict[str, int] = {}

    @property
    def taken(self) -> int:
        return sum(self._taken.values())

    @contextmanager
    def admit(self, client: str, cost: int = 1) -> Iterator[None]:
        """`cost` units while the block lasts. Raises Busy when they are not there."""
        with self.holding(client) as held:
            held.hold(cost)
            yield

    @contextmanager
    def holding(self, client: str) -> Iterator[Holding]:
        """Units whose number becomes known by and by; all of them come back at the end of the block."""
        held = Holding(self, client)
        try:
            yield held
        finally:
            held.hold(0)

    def require_room(self, client: str, cost: int = 1) -> None:
        """Raises Busy unless `cost` units are there now; takes none."""
        mine = self._taken.get(client, 0)
        if self._per_client is not None and mine + cost > self._per_client:
            raise self._busy(
                f"{mine} {self._of} are yours, and one client may have {self._per_client}; wait for yours to come free"
            )
        if self.taken + cost > self._most():
            raise self._busy(f"all {self._most()} {self._of} are in use; try again in {self._retry_after_s} s")

    def _move(self, client: str, more: int) -> None:
        if more > 0:
            self.require_room(client, more)
        self._taken[client] = self._taken.get(client, 0) + more
        if not self._taken[client]:
            del self._taken[client]

    def _busy(self, message: str) -> Busy:
        self._refused()
        return Busy(message, self._retry_after_s)


class Holding:
    """What one request has of a budget."""

    def __init__(self, budget: Budget, client: str) -> None:
        self._budget = budget
        self._client = client
        self._units = 0

    def hold(self, units: int) -> None:
        """`units` in all. Raises Busy when they are not there; what was held before stays held then."""
        if units != self._units:
            self._budget._move(self._client, units - self._units)
            self._units = units


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
