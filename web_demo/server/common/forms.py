"""Bodies of requests, read with caps: multipart forms with text fields and files, and JSON objects. Nothing is kept beyond the
caps, nothing touches a disk, and a client that stops half way is not waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from web_demo.errors import InvalidRequest, TooLarge, TooSlow, UnsupportedMedia
from web_demo.server.common import hangup

MAX_FIELD_BYTES = 256 * 1024
MAX_PARTS = 32
_CHUNK_BYTES = 256 * 1024
_BOOLEANS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


STALL_S = 30.0  # how long a client may send nothing


@dataclass(frozen=True)
class FormLimits:
    max_file_bytes: int  # of each file
    stall_s: float = STALL_S


@dataclass(frozen=True)
class Form:
    """`values` keeps every text of a name, in order; `files` the content of those parts that came with a file name, or
    under the name that the reader was told."""

    values: Mapping[str, list[str]] = field(default_factory=dict)
    files: Mapping[str, bytearray] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """The last text of each name."""
        return {name: texts[-1] for name, texts in self.values.items()}

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, [default])[-1]


def boolean(name: str, value: Any, *, default: bool = False) -> bool:
    """`value` as a client sent it in a form, a query or a JSON body: true, 1, yes, on or false, 0, no, off in any case.
    Nothing sent (None, or an empty text) is the default. Raises InvalidRequest."""
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else str(value) if isinstance(value, int) else None
    if text == "":
        return default
    if text not in _BOOLEANS:
        raise InvalidRequest(f"{name} must be true or false, got {value!r:.50}")
    return _BOOLEANS[text]


async def read_json(request: web.Request, stall_s: float = STALL_S) -> Mapping[str, Any]:
    """The body as a JSON object. Raises TooLarge above the application's cap, TooSlow, InvalidRequest, HungUp."""
    cap = request.client_max_size
    body = bytearray()
    try:
        while True:
            async with asyncio.timeout(stall_s):
                with hangup.reading(request):
                    chunk = await request.content.read(_CHUNK_BYTES)
            if not chunk:
                break
            body += chunk
            if len(body) > cap:
                raise TooLarge(f"the body is too large: at most {cap} bytes are taken")
    except TimeoutError:
        raise _too_slow(stall_s) from None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InvalidRequest(f"the body must be a JSON object in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(value).__name__}")
    return value


async def read_form(request: web.Request, limits: FormLimits, *, file_field: str = "") -> Form:
    """`file_field`: a part of this name is a file even where it has no file name. Raises UnsupportedMedia (no multipart
    form), TooLarge before the body is read whole, TooSlow, InvalidRequest, HungUp."""
    if request.content_type != "multipart/form-data":
        got = request.headers.get("Content-Type", "no content type")[:100]
        raise UnsupportedMedia(f"send a form (multipart/form-data, as curl -F makes it); got {got!r}")
    allowance = limits.max_file_bytes + MAX_PARTS * MAX_FIELD_BYTES
    if request.content_length is not None and request.content_length > allowance:
        raise _too_large(limits, request.content_length)
    try:
        with hangup.reading(request):
            return await _read_parts(request, file_field, limits)
    except TimeoutError:
        raise _too_slow(limits.stall_s) from None
    except (ValueError, AssertionError) as error:  # what aiohttp's reader raises for a malformed body
        raise InvalidRequest(f"the multipart body is malformed: {error}") from error


async def _read_parts(request: web.Request, file_field: str, limits: FormLimits) -> Form:
    reader = await request.multipart()
    files: dict[str, bytearray] = {}
    values: dict[str, list[str]] = {}
    for _ in range(MAX_PARTS + 1):
        async with asyncio.timeout(limits.stall_s):
            part = await reader.next()
        if part is None:
            return Form(values, files)
        if not isinstance(part, BodyPartReader) or not part.name:
            raise InvalidRequest("each part of the form needs a name, and none may be a form itself")
        if part.filename is None and part.name != file_field:
            text = await _read_part(part, MAX_FIELD_BYTES, limits)
            values.setdefault(part.name, []).append(_text(part.name, text))
        elif part.name in files:
            raise InvalidRequest(f"the file {part.name!r} came twice; send one a request")
        else:
            files[part.name] = await _read_part(part, limits.max_file_bytes, limits)
    raise InvalidRequest(f"a form has at most {MAX_PARTS} parts")


async def _read_part(part: BodyPartReader, cap: int, limits: FormLimits) -> bytearray:
    content = bytearray()
    while not part.at_eof():
        async with asyncio.timeout(limits.stall_s):
            content += await part.read_chunk(_CHUNK_BYTES)
        if len(content) > cap:
            if cap == limits.max_file_bytes:
                raise _too_large(limits, len(content))
            raise TooLarge(f"the field {part.name!r} is over {cap} bytes")
    return content  # not copied: 256 MB of it would hold up the event loop


def _text(name: str, content: bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the field {name!r} must be UTF-8 text: {error}") from error


def _too_large(limits: FormLimits, came: int) -> TooLarge:
    most, came_mib = limits.max_file_bytes / 2**20, came / 2**20
    return TooLarge(f"the upload is too large: at most {most:g} MiB are taken, {came_mib:.1f} or more came")


def _too_slow(stall_s: float) -> TooSlow:
    return TooSlow(f"the upload stood still for {stall_s:g} s; send it again")
