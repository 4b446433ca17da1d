"""The table of routes as an OpenAPI 3.1 document. Pure.

https://spec.openapis.org/oas/v3.1.1 (read in 2026)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from web_demo.server.common.api.routes import JSON, Answer, Body, Field, Route

Json = dict[str, Any]

VERSION = "1.0"  # of the documents' contents: what clients may rely on
_ERROR: Json = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "stable, for programs"},
                "message": {"type": "string", "description": "what came, what was expected, what to do"},
                "type": {"type": "string", "description": "under /v1: OpenAI's kind of error"},
                "param": {"type": ["string", "null"], "description": "under /v1: the parameter that is wrong"},
            },
        },
    },
}
_KEYS: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key", "description": "of WebSockets, for browsers"},
}


def document(routes: Iterable[Route], *, title: str, keyed: bool) -> Json:
    """`keyed`: the service asks for a key."""
    paths: dict[str, Json] = {}
    for route in routes:
        operations = paths.setdefault(route.address, {})
        if route.method.lower() not in operations:  # of several routes at one address, the first tells of all
            operations[route.method.lower()] = _operation(route, keyed=keyed)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}, "securitySchemes": _KEYS},
    }


def _operation(route: Route, *, keyed: bool) -> Json:
    title, _, more = route.about.partition(". ")
    names = re.findall(r"\{(\w+)\}", route.address)
    parameters = [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names),
        *(_parameter(each, "query") for each in route.query),
        *(_parameter(each, "header") for each in route.headers),
    ]
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.address}").strip("_"),
        "summary": title.rstrip("."),
        "responses": _responses(route),
    }
    if more:
        operation["description"] = more
    if parameters:
        operation["parameters"] = parameters
    if route.bodies:
        operation["requestBody"] = _request_body(route.bodies)
    if keyed:
        ways = [] if not route.needs_key else [name for name in _KEYS if route.socket or name != "query"]
        operation["security"] = [{name: []} for name in ways]
    return operation


def _parameter(each: Field, place: str) -> Json:
    body: Json = {"name": each.name, "in": place, "description": each.about, "schema": _schema(each, described=False)}
    return body | ({"required": True} if each.required else {})


def _request_body(bodies: Sequence[Body]) -> Json:
    return {
        "required": True,
        "description": "; ".join(f"{body.media}: at most {body.max_bytes / 2**20:g} MiB" for body in bodies),
        "content": {body.media: {"schema": _object(body.fields)} for body in bodies},
    }


def _responses(route: Route) -> Json:
    if route.socket:
        told: Json = {"101": {"description": "a WebSocket"}}
    else:
        by_status: dict[int, list[Answer]] = {}
        for answer in route.answers:
            by_status.setdefault(answer.status, []).append(answer)
        told = {
            str(status): {
                "description": "; or ".join(dict.fromkeys(answer.about for answer in answers)),
                "content": {answer.media: {"schema": _answer_schema(answer)} for answer in answers},
            }
            for status, answers in by_status.items()
        }
    error = {"description": "an error", "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
    return {**told, "default": error}


def _answer_schema(answer: Answer) -> Json:
    if answer.media == JSON:
        return _object(answer.fields)
    text = answer.media.startswith("text/") or answer.media.endswith("subrip")
    return {"type": "string"} if text else {"type": "string", "contentMediaType": answer.media}


def _object(fields: Sequence[Field]) -> Json:
    body: Json = {"type": "object", "properties": {each.name: _schema(each) for each in fields}}
    required = [each.name for each in fields if each.required]
    return body | ({"required": required} if required else {})


def _schema(each: Field, *, described: bool = True) -> Json:
    body = dict(_OF_KIND[each.kind])
    if each.kind == "object":
        body = _object(each.of)
    elif each.kind == "array" and each.of:
        body["items"] = _schema(each.of[0]) if len(each.of) == 1 else _object(each.of)
    if each.choices:
        body = (
            {"type": "array", "items": {"enum": list(each.choices)}}
            if each.kind == "array"
            else {"enum": list(each.choices)}
        )
    if each.default is not None:
        body["default"] = each.default
    return body | ({"description": each.about} if described else {})


_OF_KIND: Mapping[str, Json] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "array": {"type": "array"},
    "object": {"type": "object"},
    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    "any": {},
}
