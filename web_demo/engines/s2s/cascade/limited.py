"""A responder that cannot be told how much to write, held to `TurnRequest.max_tokens` all the same."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from web_demo.engines.base import LimitReached, TurnRequest
from web_demo.engines.s2s.cascade.responder import Part, Responder

# A word, or one character of a script without spaces, with the space before it.
_TOKEN = re.compile(r"\s*(?:[\u2e80-\uffef]|[^\s\u2e80-\uffef]+)")


class LimitedResponder:
    """Round `responder`. A word counts as a token, and so does each character of a script without spaces."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    @property
    def name(self) -> str:
        return self._responder.name

    @property
    def better(self) -> Mapping[str, str]:
        return self._responder.better

    @property
    def follows_instructions(self) -> bool:
        return self._responder.follows_instructions

    async def start(self) -> None:
        await self._responder.start()

    async def close(self) -> None:
        await self._responder.close()

    async def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[Part, None]:
        left = turn.max_tokens
        async with aclosing(self._responder.reply(heard, turn)) as parts:
            async for part in parts:
                if turn.max_tokens and isinstance(part, str):
                    ends = [token.end() for token in _TOKEN.finditer(part)]
                    if len(ends) > left:
                        yield part[: ends[left - 1] if left else 0]
                        yield LimitReached()
                        return
                    left -= len(ends)
                yield part
