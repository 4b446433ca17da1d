"""The web page at `/`: its files, and where the other services are.

The files are read once at start. `/client/VERSION/…` holds the hash of all of them, so browsers may keep what they got for
ever; only the small page itself is asked for again each time. A request names an entry of a table, never a file.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from web_demo.engines.base import Engine
from web_demo.server.common import access, asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.api.routes import Answer, Field, Route, add_routes
from web_demo.server.common.fetch import read_json_answer
from web_demo.server.common.openai import catalogue_routes
from web_demo.server.common.service import HEALTH
from web_demo.server.common.settings import ServiceSettings
from web_demo.server.page.advice import start_command
from web_demo.server.page.catalogue import SharedCatalogue
from web_demo.server.page.forward import FORWARDER, Forwarder, Target, forwarded

CLIENT = Path(__file__).parents[2] / "client"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEALTH_TIMEOUT_S = 2.0
MAX_HEALTH_BYTES = 64 * 1024

HEADERS = {
    # The line may go to another server of the user's choice (ws: wss:); nothing else leaves, nothing comes from elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One file of the page, as it is sent."""

    content_type: str
    body: bytes
    etag: str = field(init=False)
    gzipped: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", hashlib.sha256(self.body).hexdigest()[:16])
        object.__setattr__(self, "gzipped", gzip.compress(self.body, mtime=0))

    def response(self, request: web.Request, cache: str) -> web.Response:
        headers = {**HEADERS, "Cache-Control": cache, "Vary": "Accept-Encoding", "Content-Type": self.content_type}
        if any(tag.value in (self.etag, "*") for tag in request.if_none_match or ()):
            answer = web.Response(status=304, headers=headers)
        elif "gzip" in request.headers.get("Accept-Encoding", ""):
            answer = web.Response(body=self.gzipped, headers={**headers, "Content-Encoding": "gzip"})
        else:
            answer = web.Response(body=self.body, headers=headers)
        answer.etag = self.etag
        return answer


class PageFiles:
    """All files of the page, by their path below the folder. Reads them at its making, which blocks."""

    def __init__(self, folder: Path = CLIENT) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in CONTENT_TYPES)
        bodies = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        whole = hashlib.sha256()
        for name, body in bodies.items():
            whole.update(name.encode() + b"\0" + hashlib.sha256(body).digest())
        self.version = whole.hexdigest()[:12]
        index = bodies.pop("index.html").replace(b"{{version}}", self.version.encode())
        self.index = Asset(CONTENT_TYPES[".html"], index)
        self.assets = {name: Asset(CONTENT_TYPES[Path(name).suffix], body) for name, body in bodies.items()}

    async def handle_index(self, request: web.Request) -> web.Response:
        return self.index.response(request, "no-cache")

    async def handle_icon(self, request: web.Request) -> web.Response:
        return self.assets["icon.svg"].response(request, "max-age=86400")

    async def handle_asset(self, request: web.Request) -> web.Response:
        asset = self.assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound(text="the page has no such file")
        # A page that was opened before an update may still load the rest of itself: it gets the files of today.
        current = request.match_info["version"] == self.version
        return asset.response(request, FOREVER if current else "no-cache")


def add_page(app: web.Application, targets: Sequence[Target], engine: Engine, settings: ServiceSettings) -> None:
    """Serves the page on `app`, and the other services at its address; `engine` and `settings`: this service's own."""
    forwarder = Forwarder(targets)
    app[FORWARDER] = forwarder
    add_routes(app, _routes(PageFiles(), settings))
    add_routes(app, catalogue_routes(SharedCatalogue(forwarder, engine)))
    for target in targets:
        add_routes(app, forwarded(target))

    async def forwarder_context(_: web.Application) -> AsyncIterator[None]:
        async with forwarder:
            yield

    app.cleanup_ctx.append(forwarder_context)


def _routes(page: PageFiles, settings: ServiceSettings) -> tuple[Route, ...]:
    async def handle_access(request: web.Request) -> web.Response:
        """A page learns nothing from a WebSocket that is refused, and its origin is not told with a GET."""
        refused = access.refusal(request, settings)
        return json_response({"refused": refused, "success": True}, headers={"Cache-Control": "no-store"})

    html = (Answer("text/html", "the page"),)
    return (
        Route("GET", "/", page.handle_index, "The page.", answers=html, public=True),
        Route(
            "GET",
            "/favicon.ico",
            page.handle_icon,
            "The page's icon.",
            answers=(Answer("image/svg+xml", "the icon"),),
            public=True,
        ),
        Route(
            "GET",
            "/client/{version}/{name:.+}",
            page.handle_asset,
            "A file of the page.",
            answers=(
                Answer("text/javascript", "a module"),
                Answer("text/css", "a style"),
                Answer("image/svg+xml", "a picture"),
            ),
            public=True,
        ),
        Route(
            "POST",
            "/api/access",
            handle_access,
            "Whether the page that asks may talk here, and what keeps it from it.",
            answers=(
                Answer(
                    about="what is refused",
                    fields=(
                        Field(
                            "refused",
                            "empty: nothing is",
                            choices=("", "host", "origin", "key_missing", "key_wrong"),
                            required=True,
                        ),
                        Field("success", "true", kind="boolean", required=True),
                    ),
                ),
            ),
            public=True,
        ),
        Route(
            "GET",
            "/api/services",
            _services,
            "How the three services are.",
            answers=(
                Answer(about="their health", fields=(Field("services", "by name", kind="object", required=True),)),
            ),
        ),
    )


async def _services(request: web.Request) -> web.Response:
    """Where the services are and how they are; `status` is that of their `/health`, or "down" when nothing answers: with
    the command that starts it."""
    forwarder = request.app[FORWARDER]
    names = list(forwarder.targets)
    language = asker.language_of(request.headers.get("Accept-Language", ""))
    reports = await asyncio.gather(*(_health_of(forwarder, name, language) for name in names))
    services = {"s2s": request.app[HEALTH].report(language), **dict(zip(names, reports, strict=True))}
    return json_response({"services": services}, headers={"Cache-Control": "no-store"})


async def _health_of(forwarder: Forwarder, name: str, language: str) -> Mapping[str, Any]:
    url = forwarder.targets[name]
    timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
    try:
        async with forwarder.client.get(
            f"{url}/health", headers={"Accept-Language": language}, timeout=timeout
        ) as response:
            report = await read_json_answer(response, MAX_HEALTH_BYTES)
        if not isinstance(report, dict) or report.get("status") not in ("healthy", "loading", "unhealthy"):
            raise ValueError("what answers there is none of our services")
    except (aiohttp.ClientConnectionError, TimeoutError):
        return {"status": "down", "url": url, "start": start_command(name, url)}
    except (aiohttp.ClientError, ValueError) as error:
        return {"status": "unhealthy", "url": url, "reason": str(error)}
    return {**report, "url": url}
