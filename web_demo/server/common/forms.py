"""Bodies of requests: JSON objects, and multipart forms with text fields and one file.

A body is charged as it is read, by what it is when unpacked: to its own cap, and to the bytes that all bodies of one client
and of the service may hold at once. The file of a form is spooled: past a few kilobytes it lies in an unlinked file of the
temp folder, so that an upload costs the service no memory, whoever sends it and however it ends.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from aiohttp import BodyPartReader, web

from utils.threads import off_loop
from web_demo.errors import InvalidRequest, TooLarge, TooSlow, Unavailable, UnsupportedMedia
from web_demo.server.common import hangup
from web_demo.server.common.budgets import Budget, Holding, client_of, half

T = TypeVar("T")

MAX_FIELD_BYTES = 256 * 1024
MAX_TEXT_BYTES = 1 << 20  # of all fields of a form, those that are not kept too
MAX_PARTS = 32
BODY_S = 60.0
MIN_BYTES_PER_S = 16 * 1024
MEMORY_BYTES = 64 * 1024  # of a file that is kept in memory
BODY_COST = 1 << 20  # what a body is charged at its beginning: its buffers, and that there are not too many
DRAIN_S = 2.0  # for a body that is under way when the service shuts down

_CHUNK_BYTES = 256 * 1024
_BOOLEANS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


class Bodies(Budget):
    """What all bodies under way hold, in bytes; one client at most half of `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            lambda: most_bytes, per_client=lambda: half(most_bytes), of="bytes of uploads", retry_after_s=5
        )
        self.under_way: set[Body] = set()
        self.closing = False

    def close(self) -> None:
        """The service shuts down: bodies that are not whole within DRAIN_S are given up."""
        self.closing = True
        for body in self.under_way:
            body.hurry()


@dataclass(frozen=True)
class BodyLimits:
    """A body may take `body_s` seconds, and one more for each `min_bytes_per_s` of it that came."""

    max_bytes: int  # of the JSON object, or of a form's file
    body_s: float = BODY_S
    min_bytes_per_s: int = MIN_BYTES_PER_S


@dataclass(frozen=True)
class FilePart:
    """The content of an uploaded file. `file` is open for reading and stands at its beginning; `file.fileno()` is a
    descriptor of it, an unlinked file, which a child process may be given."""

    size: int
    file: IO[bytes]

    def read(self) -> bytes:
        """All of it. Blocking."""
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True)
class Form:
    """`values` keeps every text of a name, in order; `file` is the one file that the reader of the form asked for."""

    values: Mapping[str, list[str]] = field(default_factory=dict)
    file: FilePart | None = None

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


class Body:
    """A request's body on its way in: the deadline, the cap and the charge of its reads. `cap`: bytes of the whole,
    unpacked. `kept` False: what was read is passed on, and no charge grows with it."""

    def __init__(self, request: web.Request, limits: BodyLimits, cap: int, held: Holding, *, kept: bool) -> None:
        self._request = request
        self._limits = limits
        self._cap = cap
        self._held = held
        self._kept = kept
        self._closing_at = math.inf
        self._timeout: asyncio.Timeout | None = None  # of the read under way
        self._began = asyncio.get_running_loop().time()

    @property
    def came(self) -> int:
        """Bytes so far, unpacked, of which some may not be read yet."""
        return self._request.content.total_bytes

    async def within(self, reading: Awaitable[T]) -> T:
        """The result of one read. Raises TooLarge, TooSlow, Busy, InvalidRequest (malformed) and HungUp."""
        allowed_s = self._limits.body_s + self.came / self._limits.min_bytes_per_s
        try:
            async with asyncio.timeout_at(min(self._began + allowed_s, self._closing_at)) as self._timeout:
                result = await hangup.read(self._request, reading)
        except TimeoutError:
            if self._closing_at < math.inf:
                raise Unavailable("the service is shutting down, and the body is not whole") from None
            raise TooSlow(
                f"the body came too slowly: {self.came} bytes in {allowed_s:.0f} s, and a body has {self._limits.body_s:g} s "
                f"and one more for each {self._limits.min_bytes_per_s} bytes; send it again"
            ) from None
        finally:
            self._timeout = None
        self._charge()
        await asyncio.sleep(0)  # a packed body can be read to its end without one pause: others have their turn
        return result

    def hurry(self) -> None:
        """At most DRAIN_S from now."""
        self._closing_at = asyncio.get_running_loop().time() + DRAIN_S
        if self._timeout is not None and (self._timeout.when() or math.inf) > self._closing_at:
            self._timeout.reschedule(self._closing_at)

    def _charge(self) -> None:
        if self.came > self._cap:
            raise too_large(self._limits.max_bytes, self.came)
        if self._kept:
            self._held.hold(max(self.came, BODY_COST))

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.within(self._request.content.read(_CHUNK_BYTES)):
            yield chunk


BODIES = web.AppKey("bodies", Bodies)


@contextmanager
def body_of(request: web.Request, limits: BodyLimits, cap: int, *, kept: bool = True) -> Iterator[Body]:
    """The body, charged to the client while the block lasts. Raises TooLarge for one that is announced as too large, Busy
    when bodies hold too much already."""
    if request.content_length is not None and request.content_length > cap:
        raise too_large(limits.max_bytes, request.content_length)
    bodies = request.app[BODIES]
    with bodies.holding(client_of(request)) as held:
        held.hold(BODY_COST)
        body = Body(request, limits, cap, held, kept=kept)
        bodies.under_way.add(body)
        if bodies.closing:
            body.hurry()
        try:
            yield body
        finally:
            bodies.under_way.discard(body)


async def read_json(request: web.Request, limits: BodyLimits | None = None) -> Mapping[str, Any]:
    """The body as a JSON object; without limits, the application's cap. Raises TooLarge, TooSlow, Busy, InvalidRequest,
    HungUp."""
    limits = limits or BodyLimits(request.client_max_size)
    content = bytearray()
    with body_of(request, limits, limits.max_bytes) as body:
        try:
            async for chunk in body.chunks():
                content += chunk
            return _json_object(content)
        finally:
            content.clear()  # an error's traceback would keep it until the next full collection


def _json_object(content: bytearray) -> Mapping[str, Any]:
    value: Any = None
    wrong = ""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        wrong = f"the body must be a JSON object in UTF-8: {str(error)[:200]}"
    if wrong:  # raised here: as its context, the error would keep the whole document
        raise InvalidRequest(wrong)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {type(value).__name__}")
    return value


@asynccontextmanager
async def read_form(request: web.Request, limits: BodyLimits, *, file_field: str) -> AsyncIterator[Form]:
    """The form, whose file lives as long as the block. `file_field`: the one part that may be a file, with a file name
    or without. Text fields that nobody knows are kept like the others: clients of other servers send them. Raises
    UnsupportedMedia (no multipart form), TooLarge before the body is read whole, TooSlow, Busy, InvalidRequest, HungUp,
    and Unavailable when the temp folder is full."""
    if request.content_type != "multipart/form-data":
        got = request.headers.get("Content-Type", "no content type")[:100]
        raise UnsupportedMedia(f"send a form (multipart/form-data, as curl -F makes it); got {got!r}")
    with (
        body_of(request, limits, limits.max_bytes + MAX_TEXT_BYTES) as body,
        tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file,
    ):
        try:
            form = await _read_parts(request, body, file, file_field, limits)
        except (ValueError, AssertionError) as error:  # what aiohttp's reader raises for a malformed body
            raise InvalidRequest(f"the multipart body is malformed: {str(error)[:200]}") from None
        except OSError as error:
            raise _not_kept(error) from error
        yield form


@asynccontextmanager
async def spooled(content: bytes) -> AsyncIterator[FilePart]:
    """`content`, which came inside of something else, as the file of a form. Raises Unavailable when the temp folder is full."""
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
        try:
            await off_loop(file.write, content)
            file.seek(0)
        except OSError as error:
            raise _not_kept(error) from error
        yield FilePart(len(content), file)


def _not_kept(error: OSError) -> Unavailable:
    return Unavailable(f"the upload cannot be kept in the temp folder: {error.strerror}")


async def _read_parts(request: web.Request, body: Body, file: IO[bytes], file_field: str, limits: BodyLimits) -> Form:
    reader = await request.multipart()
    values: dict[str, list[str]] = {}
    kept: FilePart | None = None
    texts = 0
    for _ in range(MAX_PARTS + 1):
        part = await body.within(reader.next())
        if part is None:
            return Form(values, kept)
        if not isinstance(part, BodyPartReader) or not part.name:
            raise InvalidRequest("each part of the form needs a name, and none may be a form itself")
        if part.name == file_field:
            if kept is not None:
                raise InvalidRequest(f"the file {part.name!r} came twice; send one a request")
            kept = await _spool(body, part, file, limits)
        elif part.filename is not None:
            raise InvalidRequest(
                f"the part {part.name[:80]!r} is a file, and the only file taken here is {file_field!r}"
            )
        else:
            content = await _read_text(body, part)
            texts += len(content)
            if texts > MAX_TEXT_BYTES:
                raise TooLarge(f"the text fields of the form are over {MAX_TEXT_BYTES} bytes")
            values.setdefault(part.name, []).append(_text(part.name, content))
    raise InvalidRequest(f"a form has at most {MAX_PARTS} parts")


async def _spool(body: Body, part: BodyPartReader, file: IO[bytes], limits: BodyLimits) -> FilePart:
    size = 0
    waiting = bytearray()
    try:
        while not part.at_eof():
            waiting += await body.within(part.read_chunk(_CHUNK_BYTES))
            if size + len(waiting) > limits.max_bytes:
                raise too_large(limits.max_bytes, size + len(waiting))
            if len(waiting) >= _CHUNK_BYTES or part.at_eof():
                await off_loop(file.write, waiting)
                size += len(waiting)
                waiting.clear()
    finally:
        waiting.clear()  # as in read_json
    file.seek(0)
    return FilePart(size, file)


async def _read_text(body: Body, part: BodyPartReader) -> bytes:
    content = bytearray()
    while not part.at_eof():
        content += await body.within(part.read_chunk(_CHUNK_BYTES))
        if len(content) > MAX_FIELD_BYTES:
            raise TooLarge(f"the field {part.name!r:.80} is over {MAX_FIELD_BYTES} bytes")
    return bytes(content)


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the field {name[:80]!r} must be UTF-8 text: {str(error)[:200]}") from None


def too_large(most_bytes: int, came: int) -> TooLarge:
    most, came_mib = most_bytes / 2**20, came / 2**20
    return TooLarge(f"the upload is too large: at most {most:g} MiB are taken, {came_mib:.1f} or more came")
