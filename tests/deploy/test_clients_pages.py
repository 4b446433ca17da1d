"""deploy/clients.md: its commands, programs and page, run as they stand there but for the ports. Those of packages that are not
here are run by tests/tools/test_clients.sh."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from tests.speech import FOLDER
from tests.web_demo.client.browser import chromium, eventually
from tests.web_demo.server.asr import helpers as asr
from tests.web_demo.server.asr.realtime.talk import pcm
from tests.web_demo.server.tts import fakes as tts
from web_demo.server.tts.settings import TtsSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGE = DEPLOY / "clients.md"
SAID = "go forward ten meters"


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, code) in the order of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def block(language: str, with_: str) -> str:
    (found,) = [code for name, code in blocks(PAGE) if name == language and with_ in code]
    return found


@contextlib.asynccontextmanager
async def recogniser(**settings: object) -> AsyncIterator[int]:
    """The port of an ASR service that always hears SAID."""
    engine = asr.ScriptedAsr()
    engine.text = SAID
    async with asr.serving(engine, **settings) as client:
        yield client.server.port


async def run(*command: str, folder: Path, sound: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(sound)
    assert process.returncode == 0, errors.decode()
    return output.decode()


def test_both_pages_have_the_same_code() -> None:
    assert len(blocks(PAGE)) > 10
    assert blocks(PAGE) == blocks(DEPLOY / "客户端.md")


@pytest.mark.parametrize(
    "code", [code for language, code in blocks(PAGE) if language == "python"], ids=lambda code: code.splitlines()[0]
)
def test_every_program_is_python(code: str) -> None:
    compile(code, "clients.md", "exec")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_commands_work(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "go_forward_ten_meters.wav", tmp_path / "speech.wav")
    async with recogniser() as port:
        command = block("sh", "transcriptions").replace(":8003", f":{port}")
        assert (await run("sh", "-c", command, folder=tmp_path)).strip() == SAID
    async with tts.serving(TtsSettings(port=0), tts.ToneTts()) as client:
        command = block("sh", "audio/speech").replace(":8004", f":{client._base_url.port}")
        await run("sh", "-c", command, folder=tmp_path)
    assert (tmp_path / "speech.mp3").stat().st_size > 1_000


async def test_the_program_for_live_captions_prints_what_is_said(tmp_path: Path) -> None:
    async with recogniser() as port:
        (tmp_path / "captions.py").write_text(block("python", "captions.py").replace(":8003", f":{port}"))
        sound = pcm(asr.speech(2, 1.0))
        printed = await run(sys.executable, "captions.py", folder=tmp_path, sound=sound)
    assert printed.count(f"\r{SAID}\n") == 2


async def test_openais_package_transcribes() -> None:
    async with recogniser() as port:
        names: dict = {}
        exec(block("python", "from openai import").replace(":8003", f":{port}"), names)
        assert await names["text_of"](str(FOLDER / "go_forward_ten_meters.wav")) == SAID


@pytest.mark.browser
async def test_the_page_shows_what_is_said() -> None:
    page_port = unused_port()
    async with recogniser(allowed_origins=(f"http://localhost:{page_port}",)) as port, chromium() as browser:

        async def html(_: web.Request) -> web.Response:
            code = block("html", "<button").replace(":8003", f":{port}")
            return web.Response(text=code, content_type="text/html")

        app = web.Application()
        app.router.add_get("/page.html", html)
        async with TestServer(app, host="127.0.0.1", port=page_port):
            page = await browser.new_page()
            await page.goto(f"http://localhost:{page_port}/page.html")
            await page.click("button")
            await eventually(lambda: page.evaluate(f"document.getElementById('said').textContent.includes('{SAID}')"))


async def test_a_page_of_another_origin_is_not_let_in() -> None:
    async with recogniser() as port, aiohttp.ClientSession(headers={"Origin": "http://localhost:8000"}) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"http://localhost:{port}/v1/realtime", protocols=("realtime",))
    assert refused.value.status == 403
