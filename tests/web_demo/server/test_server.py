"""The S2S service as a process: its command line, its start, and its end."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.speech import recording
from tests.talk import PATIENCE_S, Talker
from web_demo.errors import SetupError
from web_demo.server.common.settings import API_KEY_VARIABLE, parse
from web_demo.server.s2s.settings import S2sSettings

ROOT = Path(__file__).parents[3]


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line of its log that matches."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if match := re.search(pattern, line):
                    return match
        raise AssertionError(f"the process ended: {self.lines}")

    async def rest(self) -> str:
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            self.lines.append((await self.process.stderr.read()).decode())
            await self.process.wait()
        return "".join(self.lines)


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "web_demo.server.server", *arguments), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_lets_the_answer_finish_and_leaves_no_process():
    async with running("--port", "0", "--engine", "embedded") as server, aiohttp.ClientSession() as http:
        url = (await server.line(r"listening url=(\S+)"))[1]
        async with http.get(f"{url}/health") as response:
            assert (response.status, (await response.json())["status"]) == (503, "loading")
        child = int((await server.line(r"ready backend=espeak-ng pid=(\d+)"))[1])
        await server.line("ready engine=embedded")
        talker = Talker(await http.ws_connect(f"{url}/api/chat"))
        await talker.ask(recording("cards_001"))
        await talker.audio()
        server.process.send_signal(signal.SIGTERM)
        await talker.final()
        log = await server.rest()
        assert server.process.returncode == 0
        assert talker.socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
        assert "connection began session=s1" in log
        assert "connection ended session=s1 how=shutdown" in log
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        await talker.close()


async def test_a_port_in_use_is_said_and_ends_the_process():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with running("--port", port, "--engine", "embedded") as server:
            log = await server.rest()
            assert server.process.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port}" in log
            assert "Traceback" not in log


async def test_a_language_model_that_is_not_there_makes_the_service_unhealthy_and_says_why():
    arguments = ("--port", "0", "--engine", "embedded", "--llm-base-url", "http://127.0.0.1:9/v1")
    async with running(*arguments) as server, aiohttp.ClientSession() as http:
        url = (await server.line(r"listening url=(\S+)"))[1]
        await server.line("start failed")
        async with http.get(f"{url}/health") as response:
            body = await response.json()
            assert (response.status, body["status"]) == (503, "unhealthy")
            assert "--llm-base-url" in body["reason"]
        talker = Talker(await http.ws_connect(f"{url}/api/chat"))
        assert "unhealthy" in await talker.error()
        await talker.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--max-sessions", "0"], "--max-sessions must be at least 1"),
        (["--ssl-cert", "x.pem"], "belong together"),
        (["--allowed-origin", "example.com"], "must look like https://host"),
        (["--max-turn-s", "0"], "--max-turn-s"),
    ],
)
def test_wrong_settings_are_refused_in_words(arguments, message):
    with pytest.raises(SetupError, match=message):
        parse(S2sSettings, arguments)


def test_an_unknown_engine_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        parse(S2sSettings, ["--engine", "magic"])
    assert "embedded" in capsys.readouterr().err


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, "s3cret")
    settings = parse(S2sSettings, [])
    assert settings.api_key == "s3cret"
    assert "s3cret" not in repr(settings)
    assert settings.host == "127.0.0.1"
