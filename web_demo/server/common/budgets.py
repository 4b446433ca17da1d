"""Who asks, and who is let in: the same for recordings, texts and conversations.

A `Budget` holds the places: a request takes one when its body is there and keeps it to its end. Those that are in share what
works (an engine) by `utils/turns.py`: a request takes one turn for each piece of its work, so that a long one never holds up a
short one for more than a piece.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from web_demo.errors import Busy

log = logging.getLogger(__name__)

FORWARDED_FOR = "X-Forwarded-For"
LINE_BITS = 64  # of an IPv6 address are one customer's line (RFC 6177), who may use any address in it
PROXIES_TOLD = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Clients:
    """Tells clients apart, for fairness and not for access. A trusted proxy names the client that it speaks for: what is on
    this machine (the page's forwarder, an SSH tunnel's end), and the networks that are given. Nobody else is believed."""

    def __init__(self, proxies: Iterable[Network] = ()) -> None:
        self._proxies = tuple(proxies)
        self._told: set[str] = set()

    def of(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client's address; of an IPv6 one in the Internet, the first of its line. `peer`: who is connected; `forwarded`: the
        values of FORWARDED_FOR. Each proxy appends whom it heard, so they are believed from the end on, as far as proxies go."""
        client = _address(peer)
        if client is None:
            return peer
        named = [word for value in forwarded for word in value.split(",")]
        if named and not self._trusts(client):
            self._tell(peer)
        while named and self._trusts(client):
            before = _address(named.pop())
            if before is None:
                break
            client = before
        if client.version == 6 and client.is_global:
            return str(ipaddress.ip_network((client, LINE_BITS), strict=False).network_address)
        return str(client)

    def _trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return address.is_loopback or any(address in network for network in self._proxies)

    def _tell(self, peer: str) -> None:
        """Once for each, and not for ever: anybody may send the header."""
        if peer not in self._told and len(self._told) < PROXIES_TOLD:
            self._told.add(peer)
            log.warning(
                "%s sends %s and is no trusted proxy: all that comes from it counts as one client. If it is your proxy: "
                "--trusted-proxy %s",
                peer,
                FORWARDED_FOR,
                peer,
            )


CLIENTS = web.AppKey("clients", Clients)


def client_of(request: web.Request) -> str:
    """Who asks, as `Clients` tell."""
    return request.app[CLIENTS].of(request.remote or "", request.headers.getall(FORWARDED_FOR, []))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Some proxies add the port, and a socket for both families writes IPv4 addresses as IPv6 ones."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def half(most: int) -> int:
    """What one client may have where nothing else is said: another one finds as much."""
    return max(1, (most + 1) // 2)


class Budget:
    """`most()` units at a time, of which one client has at most `per_client()`. `of`: what a unit is called; a request is
    one unit unless it is admitted at another cost. `refused` is called for each refusal."""

    def __init__(
        self,
        most: Callable[[], int],
        *,
        per_client: Callable[[], int] | None = None,
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
        if self.taken + cost > self._most():
            raise self._busy(f"all {self._most()} {self._of} are in use; try again in {self._retry_after_s} s")
        mine = self._taken.get(client, 0)
        if self._per_client is not None and mine + cost > (share := self._per_client()):
            raise self._busy(
                f"{mine} {self._of} are yours, and one client may have {share}; wait for yours to come free"
            )

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
