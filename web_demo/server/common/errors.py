"""Errors as answers, in one shape: `{"success": false, "error": {"code", "message"}}`, and under `/v1/` with the `type` and
the `param` that OpenAI's clients read besides.

The classes are those of `web_demo.errors`. Each error that is answered is counted by its code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import Busy, ServiceError, UnsupportedMedia
from web_demo.server.common import asker
from web_demo.server.common.answers import json_response
from web_demo.server.common.api.chinese import said_in

log = logging.getLogger(__name__)

ERRORS = web.AppKey("errors", prometheus_client.Counter)
OPENAI_PATHS = "/v1/"

_BEGAN = web.RequestKey("began", bool)  # a status has been sent
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}


def add_errors(app: web.Application, registry: prometheus_client.CollectorRegistry) -> None:
    """What `middleware` needs."""
    app[ERRORS] = prometheus_client.Counter("service_errors", "Errors answered, by code", ["code"], registry=registry)
    app.on_response_prepare.append(_remember_that_it_began)


async def _remember_that_it_began(request: web.Request, _: web.StreamResponse) -> None:
    request[_BEGAN] = True


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error after an answer began breaks the transfer off: nothing else can say that the answer is not whole."""
    response = await _answer_or_error(request, handler)
    if response.status >= 400 and not response.prepared and _BEGAN in request and request.transport is not None:
        request.transport.abort()
    return response


async def _answer_or_error(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServiceError as error:
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else {}
        return json_response(report(request, error), status=_status(request, error), headers=headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = _HTTP_CODES.get(error.status, "invalid_request" if error.status < 500 else "internal_error")
        message = f"{request.method} {request.path}: {error.text or error.reason}"
        kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return json_response(_report(request, error.status, code, message), status=error.status, headers=kept)
    except Exception:
        log.exception("request failed method=%s path=%s", request.method, request.path)
        message = "the service made a mistake; its log says more"
        return json_response(_report(request, 500, "internal_error", message), status=500)


def report(request: web.Request, error: ServiceError) -> Mapping[str, Any]:
    """The body that tells `error`, which is counted, and logged where it is the service's own."""
    if error.status >= 500:
        log.error("request failed method=%s path=%s code=%s: %s", request.method, request.path, error.code, error)
    return _report(request, _status(request, error), error.code, error.message, error.param)


def _status(request: web.Request, error: ServiceError) -> int:
    """Where OpenAI's clients ask, what cannot be read is what they catch: a bad request."""
    return 400 if isinstance(error, UnsupportedMedia) and _is_openai(request) else error.status


def _report(request: web.Request, status: int, code: str, message: str, param: str | None = None) -> Mapping[str, Any]:
    request.app[ERRORS].labels(code).inc()
    language = asker.language_of(request.headers.get("Accept-Language", ""))
    error: dict[str, Any] = {"code": code, "message": said_in(language, message)}
    if _is_openai(request):
        error |= {"type": _openai_type(status), "param": param}
    return {"success": False, "error": error}


def _is_openai(request: web.Request) -> bool:
    return request.path.startswith(OPENAI_PATHS)


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
