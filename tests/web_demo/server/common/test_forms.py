"""Bodies over a real socket: charged by what they are when unpacked, spooled out of memory, and gone afterwards."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import prometheus_client
import pytest
from aiohttp import web

from tests.web_demo.server.common.tiny_service import TinyService
from web_demo.server.common.forms import BODIES, BODY_COST, BodyLimits, read_form, read_json
from web_demo.server.common.service import make_app
from web_demo.server.common.settings import ServiceSettings

FILE = b"\x01" * (300 << 10)
MIB = 1 << 20
LIMITS = BodyLimits(4 * MIB)
CONTENTS = web.AppKey("contents", list[aiohttp.StreamReader])  # of requests that were answered and asked for it


@asynccontextmanager
async def reading(
    limits: BodyLimits = LIMITS, bodies_bytes: int = 64 * MIB, lingering_s: float = 0.1
) -> AsyncIterator[tuple[web.Application, str]]:
    """A service that says what came in `POST /form` and `POST /json`."""

    async def form(request: web.Request) -> web.Response:
        async with read_form(request, limits, file_field="audio") as came:
            assert came.file is not None
            unlinked = os.fstat(came.file.file.fileno()).st_nlink == 0
            told = {"fields": came.fields, "size": came.file.size, "same": came.file.read() == FILE}
            return web.json_response(told | {"unlinked": unlinked})

    async def whole(request: web.Request) -> web.Response:
        return web.json_response({"names": list(await read_json(request, limits))})

    async def remember(request: web.Request, _: web.StreamResponse) -> None:
        if "X-Keep" in request.headers:
            request.app[CONTENTS].append(request.content)

    app = make_app(
        ServiceSettings(port=0), TinyService(), prometheus_client.CollectorRegistry(), bodies_bytes=bodies_bytes
    )
    app[CONTENTS] = []
    app.on_response_prepare.append(remember)
    app.router.add_post("/form", form)
    app.router.add_post("/json", whole)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, lingering_time=lingering_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def part(name: str, content: bytes, *, file: bool = False) -> bytes:
    filename = '; filename="a"' if file else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


async def sent(url: str, data: bytes, *, packed: bool = False) -> tuple[int, str]:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    if packed:
        headers["Content-Encoding"] = "gzip"
    async with aiohttp.ClientSession() as http, http.post(f"{url}/form", data=data, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("packed", [False, True])
async def test_a_file_and_its_fields_come_whole_and_the_file_has_no_name(packed: bool) -> None:
    form = body(part("language", "中文".encode()), part("audio", FILE, file=True), part("itn", b"1"))
    async with reading() as (app, url):
        status, text = await sent(url, gzip.compress(form) if packed else form, packed=packed)
        told = json.loads(text)
        assert (status, app[BODIES].taken) == (200, 0)
    assert told == {"fields": {"language": "中文", "itn": "1"}, "size": len(FILE), "same": True, "unlinked": True}


async def test_small_gzip_that_unpacks_beyond_the_cap_is_refused_by_its_unpacked_size() -> None:
    bomb = gzip.compress(body(part("audio", bytes(64 * MIB), file=True)))
    assert len(bomb) < 100_000
    async with reading() as (app, url):
        status, text = await sent(url, bomb, packed=True)
        assert (status, "at most 4 MiB" in text, app[BODIES].taken) == (413, True, 0)


async def test_what_was_refused_is_not_unpacked_to_its_end() -> None:
    """aiohttp would, for as long as it lingers, and stop everything else meanwhile."""
    bomb = gzip.compress(b'{"text": "' + bytes(128 * MIB) + b'"}')
    async with reading(lingering_s=2.0) as (app, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = f"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\nX-Keep: yes"
        writer.write(f"POST /json HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + bomb)
        with suppress(ConnectionResetError):  # the rest of the body is not taken
            await reader.read()  # to the end, which the service makes
        writer.close()
    assert 4 * MIB < app[CONTENTS][0].total_bytes < 8 * MIB


async def test_others_have_their_turn_while_a_packed_body_is_read() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    form = gzip.compress(body(part("audio", bytes(3 * MIB), file=True)))
    async with reading() as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Encoding: gzip\r\nContent-Length: {len(form)}"
        writer.write(f"POST /json HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + form)
        before = asyncio.create_task(others())
        await reader.readline()
        before.cancel()
        writer.close()
    assert turns >= 3 * MIB // (256 << 10)


@pytest.mark.parametrize("packed", [False, True])
async def test_files_that_nobody_asked_for_are_refused_unread(packed: bool) -> None:
    form = body(part("other", bytes(3 * MIB), file=True), part("audio", FILE, file=True))
    async with reading() as (_, url):
        status, text = await sent(url, gzip.compress(form) if packed else form, packed=packed)
    assert (status, "the only file taken here is 'audio'" in json.loads(text)["error"]["message"]) == (400, True)


async def test_text_fields_have_a_cap_together() -> None:
    fields = [part(f"x{number}", b"a" * (200 << 10)) for number in range(8)]
    async with reading() as (_, url):
        status, text = await sent(url, body(*fields, part("audio", FILE, file=True)))
    assert (status, "text fields" in text) == (413, True)


@pytest.mark.parametrize(
    ("path", "content_type"), [("/form", "multipart/form-data; boundary=b"), ("/json", "application/json")]
)
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        pytest.param("gzip", b"this is no gzip at all", id="none"),
        pytest.param("gzip", gzip.compress(b'{"a": 1}' * 1000)[:20] + b"\xff" * 500, id="damaged"),
        pytest.param("deflate", b"\x78\x9c\xff\xff\xff\xff", id="deflate"),
        pytest.param("gzip", gzip.compress(b'{"a": "' + os.urandom(5000).hex().encode() + b'"}')[:-500], id="cut off"),
    ],
)
async def test_broken_packing_is_the_client_s_mistake(
    path: str, content_type: str, encoding: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    async with reading() as (_, url), aiohttp.ClientSession() as http:
        for _ in range(2):
            async with http.post(url + path, data=data, headers=headers) as answer:
                assert answer.status == 400, await answer.text()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_one_client_has_at_most_half_of_what_bodies_may_hold() -> None:
    async with reading(bodies_bytes=4 * BODY_COST) as (app, url):
        port = int(url.rpartition(":")[2])
        held = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            held.append(writer)
        async with asyncio.timeout(10):
            while app[BODIES].taken < 2 * BODY_COST:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}/json", json={}) as answer:
                assert (answer.status, "Retry-After" in answer.headers) == (429, True)
            async with http.post(f"{url}/json", json={"a": 1}, headers={"X-Forwarded-For": "192.0.2.1"}) as answer:
                assert await answer.json() == {"names": ["a"]}
        for writer in held:
            writer.transport.abort()


async def test_a_body_that_crawls_is_given_up_and_a_steady_one_is_not() -> None:
    """The deadline is of the whole: bytes that trickle do not move it further than they are worth."""
    async with reading(BodyLimits(4 * MIB, body_s=0.4, min_bytes_per_s=1 << 10)) as (_, url):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        try:
            answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
        finally:
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)
            writer.close()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"came too slowly" in answer

        async def steady() -> AsyncIterator[bytes]:
            yield b'{"a": "'
            for _ in range(10):
                yield b"x" * 1024
                await asyncio.sleep(0.1)
            yield b'"}'

        async with aiohttp.ClientSession() as http, http.post(f"{url}/json", data=steady()) as response:
            assert response.status == 200


async def test_uploads_that_break_off_leave_nothing_in_memory() -> None:
    """Not even until the next collection of cycles."""
    gc.disable()
    tracemalloc.start()
    try:
        async with reading(BodyLimits(32 * MIB), 512 * MIB) as (app, url):
            port = int(url.rpartition(":")[2])

            async def broken_off(path: str, content_type: bytes, head: bytes) -> None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                length = 30 * MIB
                writer.write(
                    b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n%s"
                    % (path.encode(), length, content_type, head)
                )
                writer.write(bytes(3 * MIB))
                await writer.drain()
                writer.transport.abort()

            for path, content_type, head in (
                ("/form", b"multipart/form-data; boundary=b", part("audio", b"", file=True)[:-2]),
                ("/json", b"application/json", b'{"a": "'),
            ):
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(2):
                    await asyncio.gather(*(broken_off(path, content_type, head) for _ in range(8)))
                    async with asyncio.timeout(20):
                        while app[BODIES].taken:  # noqa: ASYNC110
                            await asyncio.sleep(0.02)
                await asyncio.sleep(0.3)  # the requests' own ends
                assert tracemalloc.get_traced_memory()[0] - before < 8 * MIB, path
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_full_temp_folder_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...
        def write(self, _: bytes) -> None:
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")

    monkeypatch.setattr("web_demo.server.common.forms.tempfile.SpooledTemporaryFile", Full)
    async with reading() as (app, url):
        status, text = await sent(url, body(part("audio", FILE, file=True)))
        assert (status, "No space left" in text, app[BODIES].taken) == (503, True, 0)
