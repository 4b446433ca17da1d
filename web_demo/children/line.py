"""The channel between a service and one child process: whole messages, in order, both ways, over a socket pair.

    service -> child   what the child is to be (and Go, where its start has two parts), then whatever they agree on · Ping · Stop
    child -> service   first Started (or a message of its own that means it) or StartFailed, then the rest · Pong

A frame is four bytes of length (big endian) and a pickle. Both ends are ours, and nobody else can reach the sockets.
"""

from __future__ import annotations

import logging
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Go:
    """What had to be done before the rest of the child's start is done."""


@dataclass(frozen=True)
class Started:
    pass


@dataclass(frozen=True)
class StartFailed:
    reason: str


@dataclass(frozen=True)
class Ping:
    pass


@dataclass(frozen=True)
class Pong:
    pass


@dataclass(frozen=True)
class Stop:
    pass


def pack(message: object) -> bytes:
    body = pickle.dumps(message, protocol=5)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    return pickle.loads(body)  # noqa: S301 - from our own process


class Line:
    """The child's end, with blocking calls. `send` may be called from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def receive(self) -> Any:
        """The next message; None when the parent is gone."""
        head = self._exactly(LENGTH.size)
        body = self._exactly(LENGTH.unpack(head)[0]) if head else None
        return unpack(body) if body else None

    def send(self, message: object) -> None:
        with self._sending:
            self._connection.sendall(pack(message))

    def read(self, accept: Callable[[Any], None]) -> None:
        """Hands over what comes, until the parent is gone, which counts as a Stop; answers pings. For a thread of its
        own, so that a child which is busy still answers."""
        while (message := self.receive()) is not None:
            if isinstance(message, Ping):
                self.send(Pong())
            else:
                accept(message)
        accept(Stop())

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._connection.recv(count - len(data))
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)


def of_this_process() -> Line:
    """A child's beginning: its end, whose number is the program's argument; a log; and Ctrl-C, which goes to the whole group, is
    for the parent to decide."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s %(message)s")
    return Line(socket.socket(fileno=int(sys.argv[1])))
