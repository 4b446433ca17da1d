"""What the OpenAI-compatible faces of the services share: the lists of models and voices, and answers as server-sent events.

https://platform.openai.com/docs/api-reference (read in 2026); the lists under `/v1/audio/` are those that Open WebUI asks for.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from web_demo.engines.base import Engine
from web_demo.errors import NotFound, ServiceError
from web_demo.server.common import errors, hangup
from web_demo.server.common.answers import json_bytes, json_response
from web_demo.server.common.api.routes import Answer, Field, Route

IGNORED_HEADER = "X-Ignored-Parameters"  # names of parameters that came and are without effect

Card = Mapping[str, Any]


def model_card(engine: Engine) -> Card:
    """Of the one model that an engine serves, which it may know only after its start."""
    return {"id": engine.model, "object": "model", "created": 0, "owned_by": engine.name}


class Catalogue(Protocol):
    """What there is to choose from, each with its `id`, for the client that asks."""

    async def models(self, request: web.Request) -> Sequence[Card]: ...
    async def voices(self, request: web.Request) -> Sequence[Card]: ...


class OwnCatalogue:
    """Of a service with one engine; `voices`: their names."""

    def __init__(self, engine: Engine, voices: Callable[[], Iterable[str]] = tuple) -> None:
        self._engine = engine
        self._voices = voices

    async def models(self, request: web.Request) -> Sequence[Card]:
        return [model_card(self._engine)]

    async def voices(self, request: web.Request) -> Sequence[Card]:
        return [{"id": name, "name": name} for name in self._voices()]


def catalogue_routes(catalogue: Catalogue) -> tuple[Route, ...]:
    async def models(request: web.Request) -> web.Response:
        return json_response({"object": "list", "data": list(await catalogue.models(request))})

    async def one_model(request: web.Request) -> web.Response:
        asked = request.match_info["model"].removesuffix("/")
        there = {str(card["id"]): card for card in await catalogue.models(request)}
        if asked not in there:
            raise NotFound(
                f"there is no model {asked[:80]!r} here; there is {', '.join(map(repr, there))}", param="model"
            )
        return json_response(there[asked])

    async def audio_models(request: web.Request) -> web.Response:
        names = [card["id"] for card in await catalogue.models(request)]
        return json_response({"models": [{"id": name, "name": name} for name in names]})

    async def voices(request: web.Request) -> web.Response:
        return json_response({"voices": list(await catalogue.voices(request))})

    card = (
        Field("id", "its name", required=True),
        Field("object", "what it is", choices=("model",), required=True),
        Field("created", "always 0: it is not known", kind="integer", required=True),
        Field("owned_by", "the engine that runs it", required=True),
    )
    named = (Field("id", "to ask for it", required=True), Field("name", "to show", required=True))
    return (
        Route(
            "GET",
            "/v1/models",
            models,
            "The models that are served. Any other name is taken for the one of its kind, as clients send their own.",
            answers=(Answer(about="the models", fields=(_list_of("data", card),)),),
        ),
        Route(
            "GET",
            "/v1/models/{model:.+}",  # an id may have slashes in it
            one_model,
            "One model.",
            answers=(Answer(about="the model", fields=card),),
        ),
        Route(
            "GET",
            "/v1/audio/models",
            audio_models,
            "The models, as Open WebUI asks for them.",
            answers=(Answer(about="the models", fields=(_list_of("models", named),)),),
        ),
        Route(
            "GET",
            "/v1/audio/voices",
            voices,
            "The voices, built in and added; none where nothing speaks.",
            answers=(Answer(about="the voices", fields=(_list_of("voices", named),)),),
        ),
    )


def _list_of(name: str, fields: tuple[Field, ...]) -> Field:
    return Field(name, "all of them", kind="array", required=True, of=fields)


async def send_events(
    request: web.Request, events: AsyncIterable[Mapping[str, Any] | str], told: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Server-sent events as they are made: JSON objects, or a text as it is. The status is out before the first, so an
    error is the last of them. `told`: headers of the answer."""
    headers = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        **(told or {}),
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        async for event in events:
            await _send(request, response, event)
    except ServiceError as error:
        await _send(request, response, {"type": "error", **errors.report(request, error)})
    await response.write_eof()
    return response


async def _send(request: web.Request, response: web.StreamResponse, event: Mapping[str, Any] | str) -> None:
    data = event.encode() if isinstance(event, str) else json_bytes(event)
    await hangup.write(request, response, b"data: " + data + b"\n\n")
