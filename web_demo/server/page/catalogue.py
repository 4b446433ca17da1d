"""The models and voices of all three services, for clients that know one address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from web_demo.engines.base import Engine
from web_demo.server.common.openai import Card, model_card
from web_demo.server.page.forward import Forwarder


class SharedCatalogue:
    """What a service that does not answer has is left out."""

    def __init__(self, forwarder: Forwarder, engine: Engine) -> None:
        self._forwarder = forwarder
        self._engine = engine

    async def models(self, request: web.Request) -> Sequence[Card]:
        others = await self._of_all(request, "/v1/models", "data")
        return list({card["id"]: card for card in (model_card(self._engine), *others)}.values())

    async def voices(self, request: web.Request) -> Sequence[Card]:
        return await self._of_all(request, "/v1/audio/voices", "voices")

    async def _of_all(self, request: web.Request, path: str, name: str) -> list[Card]:
        answers = await asyncio.gather(*(self._forwarder.ask(request, each, path) for each in self._forwarder.targets))
        return [card for answer in answers for card in _cards(answer, name)]


def _cards(answer: Any, name: str) -> Iterator[Card]:
    """Those that are what they should be: what answers there may be no service of ours."""
    found = answer.get(name) if isinstance(answer, dict) else None
    for card in found if isinstance(found, list) else ():
        if isinstance(card, dict) and isinstance(card.get("id"), str):
            yield card
