"""Who may call: by which name, from which web origins, with which key.

A browser lets any page open a WebSocket to, or post a form at, a server on the visitor's own machine, so a request that
carries an `Origin` is let in only from this service's own pages, or from an origin that the operator allowed. A page can also
make its own name resolve to this machine (DNS rebinding): then it is of the same origin as the service, and no `Origin` comes
with a GET. So every request is asked by what name it came, and only names that no stranger can own are let in unasked. The files
of the page are everybody's, so that it comes up under any name and says itself what is refused, and the cure.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import Forbidden, Unauthorized
from web_demo.server.common.api.routes import TABLE
from web_demo.server.common.settings import ServiceSettings

log = logging.getLogger(__name__)

MAX_TOLD = 100  # names and origins whose refusal is logged, each once
LOCAL_SUFFIXES = (
    ".localhost",
    ".local",
    ".lan",
    ".home",
    ".internal",
    ".intranet",
    ".home.arpa",
)  # in nobody's public DNS
ASKED_HEADERS = {
    "accept",
    "accept-language",
    "api-key",
    "authorization",
    "content-type",
    "idempotency-key",
    "x-api-key",
}
ASKED_PREFIXES = ("openai-", "x-stainless-")  # what OpenAI's clients tell of themselves
TOLD_HEADERS = "Retry-After, X-Audio-Warning, X-Ignored-Parameters, X-Sample-Rate"  # which a page may read
KEY_SUBPROTOCOL = "openai-insecure-api-key."


def middleware(settings: ServiceSettings):  # type: ignore[no-untyped-def]  # aiohttp's decorator type is private
    told: set[str] = set()

    def check_page(request: web.Request) -> None:
        try:
            check_host(request, settings)
            check_origin(request, settings)
        except Forbidden as error:
            if error.message not in told and len(told) < MAX_TOLD:
                told.add(error.message)
                log.warning("refused, and not logged again: %s", error.message)
            raise

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.app[TABLE].is_public(request):
            check_page(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(request)
        if settings.api_key and not request.app[TABLE].is_open(request):
            check_key(request, settings.api_key)
        return await handler(request)

    return check


def refusal(request: web.Request, settings: ServiceSettings) -> str:
    """What keeps a page from talking here: "host", "origin", "key_missing", "key_wrong"; "": nothing."""
    try:
        check_host(request, settings)
    except Forbidden:
        return "host"
    try:
        check_origin(request, settings)
    except Forbidden:
        return "origin"
    if not settings.api_key:
        return ""
    given = _given_key(request)
    if _is_key(given, settings.api_key):
        return ""
    return "key_wrong" if given else "key_missing"


def _preflight(request: web.Request) -> web.Response:
    """Browsers ask before they send what a form could not. Of an origin that is let in."""
    asked = request.headers.get("Access-Control-Request-Headers", "").lower()
    names = (name.strip() for name in asked.split(","))
    allowed = sorted({name for name in names if name in ASKED_HEADERS or name.startswith(ASKED_PREFIXES)})
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": ", ".join(allowed or sorted(ASKED_HEADERS)),
            "Access-Control-Max-Age": "600",
        },
    )


def let_allowed_origins_read(settings: ServiceSettings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """For `on_response_prepare`: a browser shows an answer to a page of another origin only when it says so."""

    async def add_header(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and _is_allowed(origin, settings):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = TOLD_HEADERS
            response.headers.add("Vary", "Origin")

    return add_header


def check_key(request: web.Request, api_key: str) -> None:
    """`Authorization: Bearer KEY`, `X-API-Key: KEY` or `api-key: KEY`; browsers cannot set headers on a WebSocket: there
    `?api_key=`, or OpenAI's subprotocol `openai-insecure-api-key.KEY`."""
    given = _given_key(request)
    if not given:
        raise Unauthorized("this service needs an API key: send it as the header 'Authorization: Bearer KEY'")
    if not _is_key(given, api_key):
        raise Unauthorized("the API key is wrong")


def _is_key(given: str, api_key: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), api_key.encode())


def _given_key(request: web.Request) -> str:
    given: str = request.headers.get("X-API-Key") or request.headers.get("api-key") or ""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = token.strip()
    if not given and request.headers.get("Upgrade", "").lower() == "websocket":
        given = request.query.get("api_key", "") or _key_in_subprotocols(request)
    return given


def subprotocols(request: web.Request) -> list[str]:
    """Those that the client of a WebSocket offers."""
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [name.strip() for line in lines for name in line.split(",")]


def _key_in_subprotocols(request: web.Request) -> str:
    offered = subprotocols(request)
    return next((name.removeprefix(KEY_SUBPROTOCOL) for name in offered if name.startswith(KEY_SUBPROTOCOL)), "")


def check_host(request: web.Request, settings: ServiceSettings) -> None:
    """Raises Forbidden for a name in `Host` that may be a stranger's. A program that sends no `Host` passes."""
    host = request.headers.get("Host")
    if host is None or "*" in settings.allowed_hosts:
        return
    name = _name(host)
    if name and (_is_local(name) or any(_matches(name, allowed) for allowed in settings.allowed_hosts)):
        return
    raise Forbidden(
        f"this service is not known as {host[:200]!r}: use its address or a local name, or let the operator allow it with "
        f"--allowed-host {name[:200] or 'NAME'}"
    )


def check_origin(request: web.Request, settings: ServiceSettings) -> None:
    """Raises Forbidden when a browser page of another origin is calling. Programs send no Origin and pass."""
    origin = request.headers.get("Origin")
    if origin is None or _is_allowed(origin, settings):
        return
    if _netloc(origin) == request.host.lower():
        return
    raise Forbidden(
        f"the web origin {origin[:200]!r} is not allowed here; the operator can allow it with --allowed-origin {origin[:200]}"
    )


def _is_allowed(origin: str, settings: ServiceSettings) -> bool:
    return "*" in settings.allowed_origins or origin in settings.allowed_origins


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # "http://[" is not an address
        return None


def _name(host: str) -> str:
    """The name or address of a `Host` header, without its port; "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_local(name: str) -> bool:
    """An address, which cannot be made to lead elsewhere; a name without a dot (localhost, a container's); or one under a
    suffix that is kept for local networks."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return ("." not in name and ":" not in name) or name.endswith(LOCAL_SUFFIXES)
    return True


def _matches(name: str, allowed: str) -> bool:
    allowed = allowed.lower().rstrip(".")
    return name == allowed or (allowed.startswith(".") and name.endswith(allowed))
