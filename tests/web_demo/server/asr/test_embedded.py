"""The service as a user starts it, with the embedded recogniser: a process of its own, human speech, real sockets."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.speech import FOLDER
from tests.web_demo.server.asr.helpers import form

ROOT = Path(__file__).parents[4]
GO = FOLDER / "go_forward_ten_meters.wav"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _ready(url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{url}/health") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[str]:
    """Base URL of a running service."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "web_demo.server.asr_server", "--port", "0", "--engine", "embedded"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        log = b""
        async with asyncio.timeout(60):
            while not (found := re.search(rb"listening url=(\S+)", log)):
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
        url = found[1].decode()
        draining = asyncio.create_task(process.stderr.read())
        await _ready(url)
        yield url
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await draining
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec("curl", "-sS", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


def readme_commands() -> list[str]:
    """The README's curl commands for this service, as they stand there."""
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"(?:^    .*\n)+", readme, re.MULTILINE)
    return [block for block in blocks if block.startswith("    curl") and "localhost:8003" in block]


async def test_the_readmes_curl_commands_do_what_it_says(service):
    as_json, as_subtitles = [await _shell(command, service) for command in readme_commands()]
    body = json.loads(as_json)
    assert (body["text"], body["language"], body["success"]) == ("go forward ten meters", "English", True)
    assert [word["word"] for word in body["segments"][0]["words"]] == body["text"].split()
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n[a-z ]+\n", as_subtitles)


async def test_hotwords_that_cannot_be_used_are_named(service):
    body = json.loads(await _curl(f"{service}/api/transcribe", "-F", f"audio=@{GO}", "-F", "hotwords=meters,语音助手"))
    assert body["ignored_hotwords"] == ["语音助手"]


async def _shell(command: str, service: str) -> str:
    command = command.replace("http://localhost:8003", service)
    process = await asyncio.create_subprocess_shell(command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_another_language_gets_a_400_that_lists_what_there_is(service):
    body = json.loads(await _curl(f"{service}/api/transcribe", "-F", f"audio=@{GO}", "-F", "language=中文"))
    assert body["error"]["code"] == "invalid_request"
    assert "en (英文)" in body["error"]["message"]


async def test_a_client_that_hangs_up_is_noticed(service):
    async with aiohttp.ClientSession() as http:
        tasks = [
            asyncio.create_task(
                http.post(f"{service}/api/transcribe", data=form((FOLDER / "librivox_0870.wav").read_bytes()))
            )
            for _ in range(6)
        ]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(30):
            while True:
                async with http.get(f"{service}/health") as response:
                    if (await response.json())["requests"] == 0:
                        break
                await asyncio.sleep(0.05)
        async with http.post(f"{service}/api/transcribe", data=form(GO.read_bytes())) as response:
            assert (await response.json())["text"] == "go forward ten meters"
