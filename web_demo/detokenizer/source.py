"""What a conversation speaks with: the detokenizer child, or anything else that makes the sound of turns.

A `SpeechSource` is started once and serves many turns at the same time; a `TurnSpeech` is the sound of one of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, Self

from web_demo.audio.samples import Samples
from web_demo.detokenizer.backend import Mark
from web_demo.detokenizer.messages import Ready


class TurnSpeech(Protocol):
    """Leaving its `async with`, or `close`, frees the turn at once, also while work for it is under way."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def say(
        self,
        *,
        text: str = "",
        codes: tuple[int, ...] = (),
        voice: str = "",
        last: bool = False,
        deadline: float = 0.0,
        speed: float = 1.0,
        marks: list[Mark] | None = None,
    ) -> AsyncIterator[Samples]:
        """The sound of one window (see `Window`), float32 [n] at `ready.sample_rate`, as it is made. One at a time. Where the
        voice knows them, what it says when is in `marks` at the end. Raises the errors of `web_demo.errors`."""
        ...


class SpeechSource(Protocol):
    @property
    def ready(self) -> Ready: ...  # what it says of itself, from its start on
    @property
    def max_turns(self) -> int: ...  # that can be open at once; 0 before the start

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def fault(self) -> str | None: ...  # as of an engine

    async def open(self, turn_id: str, voice: str = "") -> TurnSpeech:
        """`voice` "": the default. Raises Unavailable when it cannot speak now."""
        ...
