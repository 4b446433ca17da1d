"""What answers in the cascade: see `built_in.py` and `language_model.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from web_demo.engines.base import ToolCall, TurnRequest


class Responder(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def follows_instructions(self) -> bool: ...  # of a system prompt
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[str | ToolCall, None]:
        """The reply's text, in deltas as they come, and calls of the client's functions."""
        ...
