"""JSON as it leaves a service: in UTF-8, with letters of every language as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web


def json_bytes(value: Any) -> bytes:
    """Half a character (an unpaired surrogate, which JSON can ask for) has no UTF-8 and stays the escape that it came as."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json_bytes(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )
