"""nginx and Caddy with the configurations of deploy/, real, over TLS, in front of a real S2S service and what it passes on to."""

import asyncio
import io
import os
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import expect

from scripts.test_deployment import talk
from tests.scripts.operations.test_manager import free_port
from tests.talk import Server, s2s, serving, tone
from tests.tls import certificate
from tests.web_demo.client.browser import chromium
from web_demo.engines.base import Heard, SpeechText, Step, TextDelta, TurnRequest
from web_demo.engines.fakes import ScriptedS2s

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
LIMIT_S = 30.0
RECORDING = bytes(3_000_000)  # nginx takes no more than 1 MB unless it is told
CLIENT = "127.0.0.2"  # another address of this machine than the proxies'
NAMES = {"voice.example.org": "localhost", "example.org": "127.0.0.1"}


def answer(_turn: TurnRequest) -> list[Step]:
    return [Heard("hello"), TextDelta("Good day."), SpeechText("Good day.")]


class Asr:
    """What the S2S service passes recordings on to: it begins an answer, and ends it when it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.clients: list[str] = []

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        got = len(await request.read())
        self.clients.append(request.headers["X-Forwarded-For"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {got}\n\n".encode())
        await self.may_end.wait()
        await response.write(b"data: [DONE]\n\n")
        return response


class Proxy:
    """A program with one of our configurations, whose names, ports and certificates are those of this test."""

    def __init__(self, program: str, folder: Path, port: int, plain_port: int) -> None:
        self.command: list[str] = []
        self.folder, self.port, self.plain_port = folder, port, plain_port
        self.cert, self.key = certificate(folder)
        getattr(self, program)()

    def nginx(self) -> None:
        text = (DEPLOY / "proxies" / "nginx.conf").read_text()
        text = re.sub(r"/etc/ssl/\S+/(cert|key)\.pem", lambda found: str(getattr(self, found[1])), self.named(text))
        text = text.replace("listen 443", f"listen {self.port}").replace("listen 80", f"listen {self.plain_port}")
        scratch = "\n".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy"))
        user = "user root;" if os.geteuid() == 0 else ""  # the folder of a test is its owner's
        whole = f"daemon off; pid {self.folder}/pid; {user}\nevents {{}}\nhttp {{ access_log off; {scratch}\n{text} }}"
        self.command = ["nginx", "-e", "stderr", "-c", str(self.written("nginx.conf", whole))]

    def caddy(self) -> None:
        text = self.named((DEPLOY / "proxies" / "Caddyfile").read_text())
        self.caddy_with(
            re.sub(r"^(\S+) \{$", rf"\1:{self.port} {{\n\ttls {self.cert} {self.key}", text, flags=re.MULTILINE)
        )

    def compose(self) -> None:
        """The one of compose.tls.yaml, in which the services have names."""
        text = (DEPLOY / "docker" / "Caddyfile").read_text()
        own = {"{$DOMAIN}": f"localhost:{self.port}", "{$S2S}:8002": "127.0.0.1:8002", "{$ASR}:8003": "127.0.0.1:8003"}
        for name, here in own.items():
            text = text.replace(name, here)
        self.caddy_with(text.replace("{$TTS}", "127.0.0.1").replace(" {\n", f" {{\n\ttls {self.cert} {self.key}\n", 1))

    def caddy_with(self, text: str) -> None:
        ours = f"{{\n\tadmin off\n\thttp_port {self.plain_port}\n\thttps_port {self.port}\n\tskip_install_trust\n}}\n"
        self.command = [
            "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            str(self.written("Caddyfile", ours + text)),
        ]

    def named(self, text: str) -> str:
        return re.sub(r"(?<!\S)(voice\.)?example\.org(?=[ ;])", lambda found: NAMES[found[0]], text)

    def written(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def towards(self, service_port: int, asr_port: int) -> None:
        path = Path(self.command[-1])
        text = path.read_text().replace("127.0.0.1:8002", f"127.0.0.1:{service_port}")
        path.write_text(text.replace("127.0.0.1:8003", f"127.0.0.1:{asr_port}"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client from another address, which trusts the certificate."""
        own = {"XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        process = await asyncio.create_subprocess_exec(
            *self.command,
            env={**os.environ, **own},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        trust = ssl.create_default_context(cafile=str(self.cert))
        connector = aiohttp.TCPConnector(ssl=trust, local_addr=(CLIENT, 0), family=2)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(LIMIT_S)) as http:
                async with asyncio.timeout(LIMIT_S):
                    while True:
                        try:
                            await http.get(f"https://localhost:{self.port}/health")
                            break
                        except aiohttp.ClientConnectorError:
                            assert process.returncode is None, f"{self.command[0]} has ended"
                            await asyncio.sleep(0.05)
                yield http
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@asynccontextmanager
async def stack(proxy: Proxy) -> AsyncIterator[tuple[Server, Asr]]:
    asr = Asr()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/api/transcribe", asr.transcribe)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        asr_port = runner.addresses[0][1]
        settings = {"asr_url": f"http://127.0.0.1:{asr_port}", "trusted_proxies": ("127.0.0.1",)}
        async with serving(s2s(ScriptedS2s(answer), **settings)) as server:
            proxy.towards(server.port, asr_port)
            yield server, asr
    finally:
        asr.may_end.set()
        await runner.cleanup()


def proxy_of(kind: str, folder: Path) -> Proxy:
    program = "nginx" if kind == "nginx" else "caddy"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return Proxy(kind, folder, free_port(), free_port())


async def check_address(http: aiohttp.ClientSession, base: str, asr: Asr) -> None:
    """All that users of an address do: the page and its files, a spoken turn, a big upload whose answer streams."""
    async with http.get(f"{base}/") as page:
        assert page.status == 200
        script = re.search(r'src="([^"]+main\.js)"', await page.text())
        assert script is not None
        async with http.get(page.url.join(type(page.url)(script[1]))) as file:
            assert (file.status, file.content_type) == (200, "text/javascript")
    turn = await talk(http, base, tone(0.2))
    assert (turn.heard, turn.reply) == ("hello", "Good day.")
    asr.may_end.clear()
    async with http.post(f"{base}/api/transcribe", data={"audio": io.BytesIO(RECORDING), "stream": "true"}) as response:
        assert response.status == 200
        assert int((await response.content.readuntil(b"\n\n")).split()[1]) > len(RECORDING)
        asr.may_end.set()  # only now: what had come was not kept back
        assert b"[DONE]" in await response.read()
    assert asr.clients[-1] == CLIENT
    async with http.get(f"{base}/metrics") as response:
        assert response.status == 404


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_a_proxy_serves_a_name_and_a_path_over_tls(kind: str, tmp_path: Path) -> None:
    proxy = proxy_of(kind, tmp_path)
    async with stack(proxy) as (_, asr), proxy.running() as http:
        await check_address(http, f"https://localhost:{proxy.port}", asr)
        await check_address(http, f"https://127.0.0.1:{proxy.port}/voice", asr)
        async with http.get(f"https://127.0.0.1:{proxy.port}/voice", allow_redirects=False) as response:
            assert response.headers["Location"].endswith("/voice/")
        async with http.get(f"http://localhost:{proxy.plain_port}/x", allow_redirects=False) as response:
            assert response.headers["Location"].startswith("https://localhost")


async def test_the_proxy_of_compose_gives_each_service_its_own(tmp_path: Path) -> None:
    proxy = proxy_of("compose", tmp_path)
    async with stack(proxy) as (_, asr), proxy.running() as http:
        await check_address(http, f"https://localhost:{proxy.port}", asr)


async def test_a_page_of_another_origin_is_refused_behind_a_proxy_too(tmp_path: Path) -> None:
    proxy = proxy_of("nginx", tmp_path)
    async with stack(proxy), proxy.running() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"https://localhost:{proxy.port}/api/chat", origin="https://evil.example")
        assert refused.value.status == 403
        own = f"https://localhost:{proxy.port}"
        async with http.ws_connect(f"{own}/api/chat", origin=own) as socket:
            assert (await socket.receive_bytes())[0] == 0


@pytest.mark.browser
async def test_the_page_works_below_a_path(tmp_path: Path) -> None:
    proxy = proxy_of("nginx", tmp_path)
    async with stack(proxy), proxy.running(), chromium() as browser:
        context = await browser.new_context(ignore_https_errors=True)
        page = await context.new_page()
        await page.goto(f"https://127.0.0.1:{proxy.port}/voice/#status")
        await expect(page.locator("#services .state.healthy").first).to_be_visible()
