"""The page's files, and the way through to the other services, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.talk import Server, serving, until
from web_demo.engines.base import TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common import hangup
from web_demo.server.common.forms import BODIES, BODY_COST
from web_demo.server.page.advice import start_command
from web_demo.server.page.forward import FORWARDER, MAX_PER_CLIENT
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens


class Target:
    """Stands for the ASR and the TTS service: tells what came, as they would answer."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.asked_health: list[web.Request] = []
        self.wait = asyncio.Event()  # of `/api/synthesize`, after its first bytes
        self.wait.set()
        self.thinks = asyncio.Event()  # of everything else, before it answers
        self.thinks.set()
        self.gone = asyncio.Event()
        self.health: Any = {"status": "healthy", "engine": "fake"}
        self.app = web.Application(client_max_size=1 << 30)
        self.app.router.add_get("/health", self._health)
        self.app.router.add_post("/api/synthesize", self._stream)
        self.app.router.add_route("*", "/{path:.*}", self._echo)

    async def _health(self, request: web.Request) -> web.Response:
        self.asked_health.append(request)
        return web.json_response(self.health)

    async def _echo(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        self.bodies.append(await request.read())
        try:
            await self.thinks.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        return web.json_response(
            {"path": request.raw_path}, status=418, headers={"Retry-After": "7", "X-Inner": "secret"}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        await response.write(b"RIFF")
        await self.wait.wait()
        await response.write(b"rest")
        await response.write_eof()
        return response


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Server, Target, aiohttp.ClientSession]]:
    before = len(asyncio.all_tasks())
    target = Target()
    runner = web.AppRunner(target.app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    engine = ScriptedS2s(lambda _: [TextDelta("ok")])
    settings = {"asr_url": url, "tts_url": f"{url}/", **settings}
    try:
        async with (
            serving(create_app(S2sSettings(port=0, **settings), engine)) as server,
            aiohttp.ClientSession(auto_decompress=False) as http,
        ):
            yield server, target, http
    finally:
        await runner.cleanup()
        await until(lambda: len(asyncio.all_tasks()) <= before)  # handlers of broken connections take a moment


async def test_every_file_that_the_page_names_is_there_for_ever_and_compressed() -> None:
    async with running() as (server, _, http):
        async with http.get(server.url("/"), headers={"Accept-Encoding": ""}) as response:
            index = await response.text()
            assert response.headers["Cache-Control"] == "no-cache"
        names = re.findall(r'(?:src|href)="(client/[^"]+)"', index)
        assert len(names) >= 5
        for name in names:
            async with http.get(server.url(f"/{name}"), headers={"Accept-Encoding": "gzip"}) as response:
                assert response.status == 200, name
                assert response.headers["Content-Encoding"] == "gzip"
                assert "immutable" in response.headers["Cache-Control"]


async def test_every_module_that_a_module_imports_is_served_as_javascript() -> None:
    async with running() as (server, _, http):
        pending, seen = ["main.js"], set[str]()
        while pending:
            name = pending.pop()
            seen.add(name)
            async with http.get(server.url(f"/client/any/{name}"), headers={"Accept-Encoding": ""}) as response:
                assert response.status == 200, name
                assert response.content_type == "text/javascript"
                code = await response.text()
            folder = name.rpartition("/")[0]
            for imported in re.findall(r'from "(\.[^"]+)"', code):
                parts: list[str] = folder.split("/") if folder else []
                for part in imported.split("/"):
                    parts = parts[:-1] if part == ".." else parts if part == "." else [*parts, part]
                path = "/".join(parts)
                pending += [path] if path not in seen else []
        assert len(seen) > 20


@pytest.mark.parametrize("headers", [{"Host": "chat.example.com"}, {"Origin": "https://chat.example.com"}])
async def test_the_page_comes_up_under_any_name_and_from_any_origin_and_nothing_else_does(
    headers: dict[str, str],
) -> None:
    async with running() as (server, _, http):
        for path in (
            "/",
            "/favicon.ico",
            "/client/x/main.js",
            "/client/x/audio/capture-worklet.js",
            "/client/x/style/base.css",
        ):
            async with http.get(server.url(path), headers=headers) as response:
                assert response.status == 200, path
        for path in ("/api/services", "/api/chat", "/client", "/nothing"):
            async with http.get(server.url(path), headers=headers) as response:
                assert response.status == 403, path


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, "key_missing"),
        ({"Authorization": "Bearer other"}, "key_wrong"),
        ({"Authorization": "Bearer secret"}, ""),
        ({"Authorization": "Bearer secret", "Origin": "https://chat.example.com"}, "origin"),
        ({"Authorization": "Bearer secret", "Origin": "https://a.b", "Host": "chat.example.com"}, "host"),
        ({"Origin": "https://chat.example.com"}, "origin"),
    ],
)
async def test_a_page_is_told_what_keeps_it_from_talking(headers: dict[str, str], refused: str) -> None:
    async with (
        running(api_key="secret") as (server, _, http),
        http.post(server.url("/api/access"), headers=headers) as response,
    ):
        assert (response.status, await response.json()) == (200, {"refused": refused, "success": True})


async def test_what_the_services_say_comes_in_the_language_of_who_asks() -> None:
    async with running(asr_url=NOWHERE) as (server, target, http):
        chinese = {"Accept-Language": "zh-CN,zh;q=0.9"}
        async with http.get(server.url("/api/services"), headers=chinese) as response:
            await response.json()
        assert target.asked_health[-1].headers["Accept-Language"] == "zh"
        server.service.health.stop()
        for headers, reason in ((chinese, "正在关闭"), ({}, "shutting down")):
            async with http.get(server.url("/health"), headers=headers) as response:
                assert (await response.json())["reason"] == reason


async def test_a_refused_origin_is_logged_once_with_its_cure(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (server, _, http):
        for _ in range(3):
            async with http.get(
                server.url("/api/services"), headers={"Origin": "https://chat.example.com"}
            ) as response:
                assert response.status == 403
    told = [record.getMessage() for record in caplog.records if "chat.example.com" in record.getMessage()]
    assert len(told) == 1
    assert "--allowed-origin https://chat.example.com" in told[0]


async def test_a_browser_that_has_the_page_is_not_sent_it_again() -> None:
    async with running() as (server, _, http):
        async with http.get(server.url("/")) as response:
            etag = response.headers["ETag"]
        async with http.get(server.url("/"), headers={"If-None-Match": etag}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with http.get(server.url("/"), headers={"If-None-Match": '"other"'}) as response:
            assert response.status == 200


async def test_an_old_page_gets_the_files_of_today_but_may_not_keep_them() -> None:
    async with running() as (server, _, http), http.get(server.url("/client/0123456789ab/main.js")) as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-cache")


async def test_the_page_may_load_nothing_from_elsewhere() -> None:
    async with running() as (server, _, http), http.get(server.url("/")) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/client/x/../server/server.py",
        "/client/x/..%2Fserver%2Fserver.py",
        "/client/x/%2e%2e/%2e%2e/README.md",
        "/client/x/package.json",
        "/client/x//etc/passwd",
    ],
)
async def test_a_path_leads_to_nothing_but_the_page(path: str) -> None:
    async with running() as (server, _, http), http.get(URL(server.url(path), encoded=True)) as response:
        assert response.status == 404


async def test_the_page_is_told_how_all_three_services_are() -> None:
    async with running(asr_url=NOWHERE) as (server, target, http):
        async with http.get(server.url("/api/services")) as response:
            services = (await response.json())["services"]
        assert services["s2s"]["status"] == "healthy"
        assert services["asr"] == {"status": "down", "url": NOWHERE, "start": start_command("asr", NOWHERE)}
        assert (services["tts"]["status"], services["tts"]["engine"]) == ("healthy", "fake")
        target.health = ["no", "health"]
        async with http.get(server.url("/api/services")) as response:
            assert (await response.json())["services"]["tts"]["status"] == "unhealthy"


async def test_a_request_is_passed_on_with_its_body_and_key_and_without_origin_or_cookies() -> None:
    headers = {"Authorization": "Bearer k", "Cookie": "a=b", "Content-Type": "multipart/form-data; boundary=x"}
    body = bytes(range(256)) * 8000  # 2 MB: more than the service itself would read
    async with running() as (server, target, http):
        headers["Origin"] = server.url("")
        async with http.post(server.url("/api/transcribe"), data=body, headers=headers) as response:
            assert response.status == 418
            assert response.headers["Retry-After"] == "7"
            assert "X-Inner" not in response.headers
        request = target.seen[0]
        assert target.bodies == [body]
        assert request.headers["Authorization"] == "Bearer k"
        assert request.headers["Content-Type"] == headers["Content-Type"]
        assert not {"Origin", "Cookie"} & set(request.headers)


async def test_an_answer_streams_through_as_it_is_made() -> None:
    async with running() as (server, target, http):
        target.wait.clear()
        async with http.post(server.url("/api/synthesize"), json={}) as response:
            assert await response.content.readany() == b"RIFF"
            target.wait.set()
            assert await response.read() == b"rest"


async def test_a_client_that_hangs_up_ends_the_work_behind_it() -> None:
    async with running() as (server, target, http):
        target.wait.clear()
        response = await http.post(server.url("/api/synthesize"), json={})
        await response.content.readany()
        response.close()
        target.wait.set()  # the next piece finds nobody
        await until(lambda: server.app[FORWARDER].taken == 0)


async def test_a_client_that_hangs_up_while_the_service_thinks_ends_the_work_behind_it() -> None:
    async with running() as (server, target, http):
        target.thinks.clear()
        with pytest.raises(TimeoutError):
            await http.post(server.url("/api/transcribe"), data=b"x", timeout=aiohttp.ClientTimeout(total=0.3))
        await asyncio.wait_for(target.gone.wait(), 5)
        assert server.app[FORWARDER].taken == 0


async def test_a_voice_name_stays_one_part_of_the_path() -> None:
    async with running() as (server, target, http):
        async with http.delete(URL(server.url("/api/speakers/a%2F..%2Fhealth%3Fx"), encoded=True)) as response:
            assert response.status == 418
        assert target.seen[0].raw_path == "/api/speakers/a%2F..%2Fhealth%3Fx"


async def test_only_the_listed_routes_are_passed_on() -> None:
    async with running() as (server, target, http):
        for method, path in (("GET", "/api/transcribe"), ("POST", "/api/anything"), ("GET", "/api/speakers/x")):
            async with http.request(method, server.url(path)) as response:
                assert response.status in (404, 405)
        assert target.seen == []


async def test_a_service_that_is_down_is_named_with_what_to_do() -> None:
    async with running(asr_url=NOWHERE) as (server, _, http):
        async with http.post(server.url("/api/transcribe"), data=b"x") as response:
            assert response.status == 503
            error = (await response.json())["error"]
        assert error["code"] == "unavailable"
        assert error["message"].endswith(start_command("asr", NOWHERE))


async def test_a_body_over_the_cap_is_refused_whether_announced_or_not() -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(14):
            yield bytes(1 << 20)

    async with running() as (server, target, http):
        headers = {"Content-Length": str(14 << 20), "Connection": "close"}
        async with http.post(server.url("/api/speakers"), data=b"x", headers=headers) as response:
            assert response.status == 413
        async with http.post(server.url("/api/speakers"), data=unannounced()) as response:
            assert response.status == 413
            assert "12 MiB" in (await response.json())["error"]["message"]
        assert target.bodies == []


async def test_a_key_guards_the_way_through_but_not_the_page() -> None:
    async with running(api_key="secret") as (server, target, http):
        async with http.get(server.url("/")) as response:
            assert response.status == 200
        for path in ("/api/services", "/api/speakers"):
            async with http.get(server.url(path)) as response:
                assert response.status == 401
        assert target.seen == []


async def test_the_users_of_the_page_are_different_clients_to_the_services_behind_it() -> None:
    async with running() as (server, target, http):
        other = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=other) as second:
            for client in (http, second):
                headers = (
                    {"X-Forwarded-For": "203.0.113.7"} if client is http else {}
                )  # as a proxy on this machine says
                async with client.get(server.url("/api/speakers"), headers=headers) as response:
                    assert response.status == 418
    assert [request.headers["X-Forwarded-For"] for request in target.seen] == ["203.0.113.7", "127.0.0.2"]


async def test_a_packed_body_is_passed_on_unpacked() -> None:
    form = b"--x\r\n" + bytes(range(256)) * 2000
    async with running() as (server, target, http):
        for packed, coding in ((gzip.compress(form), "gzip"), (zlib.compress(form), "deflate")):
            headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": coding}
            async with asyncio.timeout(10):
                async with http.post(server.url("/api/transcribe"), data=packed, headers=headers) as response:
                    assert response.status == 418
        assert target.bodies == [form, form]
        assert not [name for request in target.seen for name in request.headers if name == "Content-Encoding"]


async def test_a_small_packed_body_is_refused_by_what_it_unpacks_to() -> None:
    bomb = gzip.compress(bytes(14 << 20))
    async with running() as (server, target, http):
        async with http.post(server.url("/api/speakers"), data=bomb, headers={"Content-Encoding": "gzip"}) as response:
            assert (response.status, "12 MiB" in await response.text()) == (413, True)
        assert target.bodies == []


async def test_broken_packing_is_the_client_s_mistake_and_not_the_service_s(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (server, _, http):
        headers = {"Content-Encoding": "gzip"}
        async with http.post(server.url("/api/transcribe"), data=b"no gzip", headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_request")
    assert "does not answer" not in caplog.text


async def test_uploads_that_never_end_take_no_way_through() -> None:
    async with running() as (server, _, http):
        held = []
        for _ in range(MAX_PER_CLIENT + 4):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST /api/transcribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
            held.append(writer)
        await until(lambda: server.app[BODIES].taken == len(held) * BODY_COST)
        async with http.get(server.url("/api/speakers")) as response:
            assert response.status == 418
        for writer in held:
            writer.transport.abort()
        await until(lambda: server.app[BODIES].taken == 0)


async def test_one_user_s_requests_leave_others_their_ways_through() -> None:
    async with running() as (server, target, http):
        target.wait.clear()
        held = [await http.post(server.url("/api/synthesize"), json={}) for _ in range(MAX_PER_CLIENT)]
        async with http.post(server.url("/api/synthesize"), json={}) as response:
            assert (response.status, "Retry-After" in response.headers) == (429, True)
        other = {"X-Forwarded-For": "203.0.113.7"}
        async with http.get(server.url("/api/speakers"), headers=other) as response:
            assert response.status == 418
        async with http.post(server.url("/api/transcribe"), data=b"x") as response:  # another service's ways
            assert response.status == 418
        target.wait.set()
        for response in held:
            response.close()


async def test_a_reader_that_takes_nothing_is_dropped_and_its_work_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hangup, "WRITE_TIMEOUT_S", 0.3)
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 16))
        finally:
            ended.set()

    app = web.Application()
    app.router.add_post("/api/synthesize", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with running(tts_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as (server, _, _):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 10)
        writer.write(b"POST /api/synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        await asyncio.wait_for(ended.wait(), 20)
        await until(lambda: server.app[FORWARDER].taken == 0)
        writer.close()
    await runner.cleanup()


async def test_a_health_report_without_end_is_not_read_to_its_end() -> None:
    async with running() as (server, target, http):
        target.health = {"status": "healthy", "more": "x" * (1 << 20)}
        async with http.get(server.url("/api/services")) as response:
            report = (await response.json())["services"]["tts"]
        assert (report["status"], "over" in report["reason"]) == ("unhealthy", True)
