"""Multipart bodies: fields and files in memory, each with its cap. aiohttp's own reader would write files to disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from web_demo.errors import InvalidRequest, TooLarge

MAX_PARTS = 20
MAX_FIELD_BYTES = 64 << 10


@dataclass
class Form:
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # a part with a file name; the name itself is not used


async def read_form(request: web.Request, max_file_bytes: int) -> Form:
    """Raises InvalidRequest for a broken body, TooLarge above a cap, as soon as it is reached."""
    if not request.content_type.startswith("multipart/"):
        raise InvalidRequest(f"the body must be multipart/form-data, got {request.content_type[:100]!r}")
    form = Form()
    try:
        reader = await request.multipart()
        for _ in range(MAX_PARTS):
            part = await reader.next()
            if part is None:
                return form
            if not isinstance(part, BodyPartReader) or not part.name:
                raise InvalidRequest("every part of the form needs a name, and none may be a form of its own")
            if part.filename is None:
                data = await _read(part, MAX_FIELD_BYTES)
                form.fields[part.name] = data.decode("utf-8")
            else:
                form.files[part.name] = await _read(part, max_file_bytes)
    except ValueError as error:  # of aiohttp's parser; UnicodeDecodeError is one
        raise InvalidRequest(f"the form cannot be read: {error}") from error
    raise InvalidRequest(f"the form has more than {MAX_PARTS} parts")


async def _read(part: BodyPartReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 << 10):
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"the part {part.name!r} of the form has more than {limit} bytes")
    return bytes(data)
