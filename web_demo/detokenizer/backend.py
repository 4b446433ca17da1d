"""The contract of the detokenizer's backend, which lives in the child process, and what the child is told about it.

No aiohttp, no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from web_demo.audio.samples import Samples


@dataclass(frozen=True)
class BackendSpec:
    """Where the child finds its backend: a factory as "package.module:callable", called with `options`."""

    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)


def load(reference: str) -> Callable[..., Any]:
    """The callable behind "package.module:name"."""
    module, _, attribute = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


@dataclass(frozen=True)
class Mark:
    """The voice comes to the character at `position` of a text `start_s` seconds after the beginning of its sound."""

    position: int
    start_s: float


@dataclass(frozen=True)
class Window:
    """One piece of work for the detokenizer: the next codes of a turn, or a piece of text.

    `deadline` is the time (time.monotonic(), the same clock in parent and child) at which the listener runs dry, so
    that a backend which serves several turns at once takes the most urgent first; a turn's first window has 0.
    `last` closes the turn's speech: what the backend held back as look-ahead comes out with it. `marked`: its marks are
    wanted, where the backend knows any.
    """

    turn_id: str
    index: int  # 0, 1, … within the turn
    codes: tuple[int, ...] = ()
    text: str = ""
    voice: str = ""
    last: bool = False
    deadline: float = 0.0
    speed: float = 1.0  # of text; a backend of codes has its speed from the codes
    marked: bool = False


class DetokenizerBackend(Protocol):
    """Runs in the detokenizer child, called from one thread.

    `decode` gets at most `max_batch` windows, at most one of each turn, oldest window of the turn first, and yields
    (turn id, float32 [n] at `sample_rate`) as the sound is made, in order within a turn, and (turn id, marks) after the sound of a
    window that is to be marked. It is closed early when all of its turns were cancelled. `close` frees a turn's state, after its
    last window as after a cancellation.

    An error in `open` or `decode` fails the turns that it was for. After DeviceLost in `decode` the child ends, and the
    service starts another one.
    """

    @property
    def name(self) -> str: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def max_turns(self) -> int: ...  # that can be open at once: a service admits no more sessions than that
    @property
    def hop_tokens(
        self,
    ) -> tuple[int, ...]: ...  # codes per window: first, second, …; the last one repeats; () for text

    def open(self, turn_id: str, voice: str) -> None: ...
    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples | tuple[Mark, ...]]]: ...
    def close(self, turn_id: str) -> None: ...
