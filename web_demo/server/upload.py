"""Multipart forms with one file, read with caps: nothing is kept beyond them, nothing touches a disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiohttp
from aiohttp import BodyPartReader, web

from web_demo.errors import InvalidRequest, TooLarge, TooSlow, UnsupportedMedia

MAX_FIELD_BYTES = 256 * 1024
MAX_FIELDS = 32
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class UploadLimits:
    max_bytes: int  # of the file
    stall_s: float  # how long a client may send nothing


@dataclass(frozen=True)
class Form:
    """`fields` keeps every value of a name, in order. `file` is the content of the file field, None if there is none."""

    file: bytes | bytearray | None
    fields: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str, default: str = "") -> str:
        return self.fields.get(name, [default])[-1]


async def read_form(request: web.Request, file_field: str, limits: UploadLimits) -> Form:
    """Raises UnsupportedMedia (no multipart form), TooLarge before the body is read whole, TooSlow, InvalidRequest."""
    if request.content_type != "multipart/form-data":
        raise UnsupportedMedia(
            f"send a form (multipart/form-data) with the audio in the field {file_field!r}; "
            f"got {request.headers.get('Content-Type', 'no content type')[:100]!r}"
        )
    allowance = limits.max_bytes + MAX_FIELDS * MAX_FIELD_BYTES
    if request.content_length is not None and request.content_length > allowance:
        raise _too_large(limits, request.content_length)
    try:
        return await _read_parts(request, file_field, limits)
    except TimeoutError:
        raise TooSlow(f"the upload stood still for {limits.stall_s:g} s; send it again") from None
    except (ConnectionError, aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError) as error:
        raise InvalidRequest("the upload ended before its end: the connection was lost") from error
    except (ValueError, AssertionError) as error:  # what aiohttp's reader raises for a malformed body
        raise InvalidRequest(f"the multipart body is malformed: {error}") from error


async def _read_parts(request: web.Request, file_field: str, limits: UploadLimits) -> Form:
    reader = await request.multipart()
    file: bytearray | None = None
    fields: dict[str, list[str]] = {}
    count = 0
    while True:
        async with asyncio.timeout(limits.stall_s):
            part = await reader.next()
        if part is None:
            return Form(file, fields)
        count += 1
        if not isinstance(part, BodyPartReader) or not part.name:
            raise InvalidRequest("each part of the form needs a name, and none may be a form itself")
        if count > MAX_FIELDS:
            raise InvalidRequest(f"a form has at most {MAX_FIELDS} fields")
        if part.name == file_field:
            if file is not None:
                raise InvalidRequest(f"the field {file_field!r} came twice; send one file a request")
            file = await _read_part(part, limits.max_bytes, limits)
        else:
            text = await _read_part(part, MAX_FIELD_BYTES, limits)
            fields.setdefault(part.name, []).append(_text(part.name, text))


async def _read_part(part: BodyPartReader, cap: int, limits: UploadLimits) -> bytearray:
    content = bytearray()
    while not part.at_eof():
        async with asyncio.timeout(limits.stall_s):
            content += await part.read_chunk(_CHUNK_BYTES)
        if len(content) > cap:
            if cap == limits.max_bytes:
                raise _too_large(limits, len(content))
            raise TooLarge(f"the field {part.name!r} is over {cap} bytes")
    return content  # not copied: 256 MB of it would hold up the event loop


def _text(name: str, content: bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the field {name!r} must be UTF-8 text: {error}") from error


def _too_large(limits: UploadLimits, came: int) -> TooLarge:
    return TooLarge(f"the upload is too large: at most {limits.max_bytes} bytes are taken, {came} or more came")
