"""What answers in the cascade: see `built_in.py` and `language_model.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from web_demo.engines.base import LimitReached, ToolCall, TurnRequest

Part = str | ToolCall | LimitReached


class Responder(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def better(self) -> Mapping[str, str]: ...  # as an engine's
    @property
    def follows_instructions(self) -> bool: ...  # of a system prompt
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[Part, None]:
        """The reply's text, in deltas as they come, calls of the client's functions, and where `turn.max_tokens` ended it, that."""
        ...
