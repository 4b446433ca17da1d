"""The recorded session of tests/data/public-client."""

import functools
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "data" / "public-client" / "session.json.gz"


@dataclass(frozen=True)
class Sent:
    """One message of the client, `at_s` seconds after it connected."""

    at_s: float
    data: bytes


@dataclass(frozen=True)
class Session:
    path: str
    query: dict[str, str]
    origin: str
    messages: tuple[Sent, ...]


@functools.cache
def session() -> Session:
    recorded = json.loads(gzip.decompress(FILE.read_bytes()))
    messages = tuple(Sent(message["t"], bytes.fromhex(message["hex"])) for message in recorded["messages"])
    return Session(messages=messages, **recorded["connection"])
