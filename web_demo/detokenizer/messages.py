"""What the service and its detokenizer child say to each other, over one ordered duplex channel.

    service -> child   Hello(spec) · Open(turn) · Decode(window) · Close(turn) · Ping · Stop
    child -> service   Ready(…) | StartFailed(why) · Sound(turn, samples) · Done(turn, window) · Failed(turn, why) · Pong

A frame is four bytes of length (big endian) and a pickle. Both ends are ours: the channel is a socket pair that nobody
else can reach.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import cast

from web_demo.audio.samples import Samples
from web_demo.detokenizer.backend import BackendSpec, Window

LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Hello:
    spec: BackendSpec


@dataclass(frozen=True)
class Open:
    turn_id: str
    voice: str


@dataclass(frozen=True)
class Decode:
    window: Window


@dataclass(frozen=True)
class Close:
    """The turn is over or cancelled: drop its windows, send nothing more for it."""

    turn_id: str


@dataclass(frozen=True)
class Ping:
    pass


@dataclass(frozen=True)
class Stop:
    pass


@dataclass(frozen=True)
class Ready:
    backend: str
    sample_rate: int
    hop_tokens: tuple[int, ...]
    max_turns: int


@dataclass(frozen=True)
class StartFailed:
    reason: str


@dataclass(frozen=True, eq=False)
class Sound:
    turn_id: str
    samples: Samples  # float32 [n] at the backend's rate


@dataclass(frozen=True)
class Done:
    turn_id: str
    index: int  # of the window


@dataclass(frozen=True)
class Failed:
    turn_id: str
    reason: str


@dataclass(frozen=True)
class Pong:
    pass


Command = Hello | Open | Decode | Close | Ping | Stop
Reply = Ready | StartFailed | Sound | Done | Failed | Pong


def pack(message: Command | Reply) -> bytes:
    body = pickle.dumps(message, protocol=5)
    return LENGTH.pack(len(body)) + body


def unpack_command(body: bytes) -> Command:
    return cast(Command, pickle.loads(body))  # noqa: S301 - from our own parent


def unpack_reply(body: bytes) -> Reply:
    return cast(Reply, pickle.loads(body))  # noqa: S301 - from our own child
