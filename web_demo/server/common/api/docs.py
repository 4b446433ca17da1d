"""`/openapi.json`, and the same for people at `/docs`: one small page without scripts, made of the document."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from aiohttp import web

from web_demo.server.common.answers import json_response
from web_demo.server.common.api.openapi import document
from web_demo.server.common.api.routes import TABLE, Answer, Route, Table
from web_demo.server.common.settings import ServiceSettings

TITLES = {"s2s": "Speech to speech", "asr": "Speech to text", "tts": "Text to speech"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { font-size: 1.1rem; margin: 2.5rem 0 0.3rem; padding-top: 1rem; border-top: 1px solid #ccc; overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1rem 0 0.2rem }
code { font-size: 0.95em } table { border-collapse: collapse; width: 100% }
td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; vertical-align: top }
nav a { margin-right: 1rem; white-space: nowrap }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } a { color: #8bf } td, h2 { border-color: #444 } }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def routes(settings: ServiceSettings) -> tuple[Route, ...]:
    def described(request: web.Request) -> dict[str, Any]:
        title = TITLES.get(settings.kind, "A service")
        table: Table = request.app[TABLE]
        return document(table, title=title, keyed=bool(settings.api_key))

    async def as_json(request: web.Request) -> web.Response:
        return json_response(described(request))

    async def as_page(request: web.Request) -> web.Response:
        return web.Response(text=page(described(request)), content_type="text/html", headers=HEADERS)

    return (
        Route(
            "GET",
            "/openapi.json",
            as_json,
            "What this service answers, in OpenAPI 3.1.",
            answers=(Answer(about="the document"),),
            open=True,
        ),
        Route(
            "GET",
            "/docs",
            as_page,
            "What this service answers, for people.",
            answers=(Answer("text/html", "a page"),),
            open=True,
        ),
    )


def page(told: Mapping[str, Any]) -> str:
    """The HTML of an OpenAPI document as `openapi.document` makes it."""
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in sorted(told["paths"].items(), key=lambda item: not item[0].startswith(("/api/", "/v1/")))
        for method, operation in methods.items()
    ]
    title = escape(told["info"]["title"])
    links = "".join(f'<a href="#{operation["operationId"]}">{escape(name)}</a> ' for name, operation in operations)
    body = "".join(part for name, operation in operations for part in _operation(name, operation))
    key = (
        ""
        if not any(o.get("security") for _, o in operations)
        else ("<p>This service asks for a key: <code>Authorization: Bearer KEY</code>.</p>")
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{key}"
        f'<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI {escape(told["openapi"])}).</p>'
        f"<nav>{links}</nav>{body}</html>"
    )


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{operation["operationId"]}"><code>{escape(name)}</code></h2><p>{escape(operation["summary"])}.'
    yield f" {escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        rows = (
            (each["name"], each["in"], each["schema"], each.get("required", False), each.get("description", ""))
            for each in parameters
        )
        yield f"<h3>Parameters</h3>{_table(rows)}"
    if request := operation.get("requestBody"):
        yield f"<h3>Body</h3><p>{escape(request['description'])}</p>"
        for media, content in request["content"].items():
            yield f"<p><code>{escape(media)}</code></p>{_fields(content['schema'])}"
    yield "<h3>Answers</h3>"
    for status, answer in operation["responses"].items():
        media = ", ".join(answer.get("content", ()))
        yield f"<p><code>{escape(status)}</code> {escape(answer['description'])} <code>{escape(media)}</code></p>"
        for content in answer.get("content", {}).values() if status != "default" else ():
            if content["schema"].get("properties"):
                yield _fields(content["schema"])


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (name, "", each, name in required, each.get("description", "")) for name, each in schema["properties"].items()
    )
    return _table(rows)


def _table(rows: Iterator[tuple[str, str, Mapping[str, Any], bool, str]]) -> str:
    lines = (
        f"<tr><td><code>{escape(name)}</code><td>{escape(place)}<td>{escape(_kind(schema))}"
        f"<td>{'required' if required else ''}<td>{escape(about)}</tr>"
        for name, place, schema, required, about in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    kind = " | ".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", "any"))
    if kind == "array" and "enum" in (items := schema.get("items", {})):
        kind = f"any of {' | '.join(items['enum'])}"
    if "default" in schema:
        return f"{kind}, by default {json.dumps(schema['default'], ensure_ascii=False)}"
    return kind
