"""What an attack has at hand, and the list of attacks by name.

Attackers come from an address of their own (127.0.0.66), as strangers do, so that what one client may have is theirs alone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

FROM = ("127.0.0.66", 0)


class Scene:
    """`urls` of the services; `pids` of their processes, where they are of this machine. `outcomes` counts what came back."""

    def __init__(
        self, urls: Mapping[str, str], pids: Mapping[str, int], http: aiohttp.ClientSession, seed: int = 0
    ) -> None:
        self.urls = urls
        self.pids = pids
        self.http = http
        self.chance = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.ready = asyncio.Event()  # its material is made: from here it counts

    async def post(self, service: str, path: str, **body: object) -> None:
        await self.ask("POST", service, path, **body)

    async def ask(self, method: str, service: str, path: str, **body: object) -> None:
        """One request, whose status is counted, or that it broke off."""
        try:
            async with self.http.request(method, f"{self.urls[service]}{path}", **body) as response:  # type: ignore[arg-type]
                await response.read()
            self.outcomes[str(response.status)] += 1
        except (aiohttp.ClientError, ConnectionError):
            self.outcomes["broken"] += 1

    def talk(
        self, service: str = "s2s", path: str = "/api/chat"
    ) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        return self.http.ws_connect(f"{self.urls[service]}{path}", max_msg_size=0, compress=0)

    async def raw(self, service: str, head: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection, on which `head` (lines, without the Host) was sent."""
        host, _, port = self.urls[service].removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=FROM)
        if head:
            lines = "\r\n".join((head.strip(), f"Host: {host}"))
            writer.write(f"{lines}\r\n\r\n".encode())
        return reader, writer

    async def forever(self, number: int, act: Callable[[], Awaitable[None]], pause_s: float = 0.0) -> None:
        """`number` at a time, again and again, with a pause between."""

        async def again() -> None:
            while True:
                try:
                    await act()
                except aiohttp.WSServerHandshakeError as error:
                    self.outcomes[str(error.status)] += 1
                except (aiohttp.ClientError, ConnectionError, OSError, asyncio.IncompleteReadError):
                    self.outcomes["broken"] += 1
                await asyncio.sleep(pause_s)

        self.ready.set()
        async with asyncio.TaskGroup() as running:
            for _ in range(number):
                running.create_task(again())


async def read_status(reader: asyncio.StreamReader) -> str:
    """Of the answer that comes; "closed" when none does."""
    with suppress(ConnectionError):
        words = (await reader.readline()).split()
        if len(words) > 1:
            return words[1].decode()
    return "closed"


Run = Callable[[Scene], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Attack:
    """`outcomes`: those that are right; any other breaks the bound. `grows_mb`: what each service may hold more than before,
    with its children, while it lasts. `slows`: whether other users may be slowed (an operator's accident, not a stranger)."""

    row: str  # of the list of attacks that worked once
    name: str
    what: str
    run: Run
    outcomes: frozenset[str]
    grows_mb: Mapping[str, float] = field(default_factory=dict)
    slows: bool = False
    needs_processes: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(
    row: str,
    what: str,
    outcomes: str,
    *,
    slows: bool = False,
    needs_processes: bool = False,
    **grows_mb: float,
) -> Callable[[Run], Run]:
    """Puts an attack on the list, under the name of its function."""

    def add(run: Run) -> Run:
        name = run.__name__
        ATTACKS[name] = Attack(row, name, what, run, frozenset(outcomes.split()), grows_mb, slows, needs_processes)
        return run

    return add
