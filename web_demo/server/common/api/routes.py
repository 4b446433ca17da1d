"""One table a service: what answers where, who may ask, what may come, and what goes out.

From a `Route` come the address in the application, whether a key is asked for, how large a body may be that is passed on
to another service, and the service's page of documents (`openapi.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from web_demo.errors import NotFound

Kind = Literal["string", "number", "integer", "boolean", "array", "object", "file", "any"]
FORM = "multipart/form-data"
JSON = "application/json"


@dataclass(frozen=True)
class Field:
    """A parameter of a request, or a field of an answer. `of`: what an array holds, or the fields of an object. `unused`: clients
    send it, and nothing depends on it."""

    name: str
    about: str
    kind: Kind = "string"
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    of: tuple[Field, ...] = ()
    unused: bool = False


@dataclass(frozen=True)
class Body:
    """One way to send what is asked. `max_bytes`: the most that any service takes; its settings may say less."""

    fields: tuple[Field, ...]
    max_bytes: int
    media: str = JSON


@dataclass(frozen=True)
class Answer:
    """One form of the answer; `fields` of a JSON object."""

    media: str = JSON
    about: str = "the answer"
    fields: tuple[Field, ...] = ()
    status: int = 200


@dataclass(frozen=True)
class Route:
    """`path` as aiohttp has it. `about`: a line for a reader, whose first sentence is a title. `open`: needs no key. `public`: nor
    is it asked by what name or from which web origin it is called, as it has nothing of anybody's. `socket`: a WebSocket, whose
    messages have at most `message_bytes`. `only`: what the query must say for a request to come here, where several routes have
    one address; the one that asks for most is asked first. `behind`: the same, where another service passes requests on to this
    one and has an answer of its own at that address."""

    method: str
    path: str
    handler: Handler
    about: str
    query: tuple[Field, ...] = ()
    headers: tuple[Field, ...] = ()
    bodies: tuple[Body, ...] = ()
    answers: tuple[Answer, ...] = ()
    socket: bool = False
    open: bool = False
    public: bool = False
    message_bytes: int = 1 << 20
    only: Mapping[str, str] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)

    @property
    def max_bytes(self) -> int:
        return max((body.max_bytes for body in self.bodies), default=0)

    @property
    def needs_key(self) -> bool:
        return not (self.open or self.public)

    @property
    def address(self) -> str:
        """The path with the bare names of its parameters: /v1/models/{model}."""
        return re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", self.path)


class Table:
    """The routes of an application, in order."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], list[Route]] = {}
        self._open: set[web.AbstractResource] = set()
        self._public: set[web.AbstractResource] = set()

    def __iter__(self) -> Iterator[Route]:
        return iter([route for routes in self._at.values() for route in routes])

    def is_open(self, request: web.Request) -> bool:
        """Whether it needs no key. What is at no address of ours needs one."""
        return request.match_info.route.resource in self._open

    def is_public(self, request: web.Request) -> bool:
        return request.match_info.route.resource in self._public

    def add(self, app: web.Application, route: Route) -> None:
        there = self._at.setdefault((route.method, route.path), [])
        there.append(route)
        there.sort(key=lambda each: -len(each.only))
        if len(there) == 1:
            self._register(app, route, there)

    def _register(self, app: web.Application, route: Route, there: list[Route]) -> None:
        handler = _choosing(there)
        also = () if route.path.endswith("/") or _is_greedy(route.path) else (f"{route.path}/",)
        for path in (route.path, *also):
            resource = app.router.add_resource(path)
            resource.add_route(route.method, handler, expect_handler=_expected)
            if route.method == "GET" and not route.socket:
                resource.add_route("HEAD", handler, expect_handler=_expected)
            if not route.needs_key:
                self._open.add(resource)
            if route.public:
                self._public.add(resource)


TABLE: web.AppKey[Table] = web.AppKey("table", Table)


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    for route in routes:
        app[TABLE].add(app, route)


async def _expected(request: web.Request) -> None:
    """What `Expect` asks for (RFC 9110, 10.1.1). Raises HTTPExpectationFailed for what nobody knows, in words of our own: those of
    the request may be no text, which aiohttp's handler fails over."""
    if request.version < HttpVersion11:
        return
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="the one expectation that is met is 100-continue")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # nothing of the answer itself was sent: an error may still take its place


def _choosing(there: list[Route]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        for route in there:
            if all(request.query.get(name) == value for name, value in route.only.items()):
                return await route.handler(request)
        wanted = " or ".join("&".join(f"{name}={value}" for name, value in route.only.items()) for route in there)
        raise NotFound(f"{request.path} answers only with {wanted} in its query")

    return handle


def _is_greedy(path: str) -> bool:
    return re.search(r"\{\w+:[^{}]*\}$", path) is not None
