"""The service as a process of its own, as users start it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import aiohttp

from tests.web_demo.server.tts.fakes import samples_of
from web_demo.audio.samples import WIRE_RATE

ROOT = Path(__file__).parents[4]
SENTENCES = 60


async def test_an_answer_under_way_is_finished_when_the_service_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "web_demo.server.tts_server", "--engine", "embedded", "--port", "0"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            assert process.stderr is not None
            url, ready = "", False
            while not (url and ready):
                line = (await process.stderr.readline()).decode()
                assert line, "the service ended at its start"
                url = (re.findall(r"url=(\S+)", line) or [url])[0]
                ready = ready or "ready engine=embedded" in line
            async with aiohttp.ClientSession(base_url=url, read_bufsize=1024) as client:
                body = {"text": "This sentence is one of many in a long text. " * SENTENCES, "stream": True}
                answer = await client.post("/api/synthesize", json=body)
                head = await answer.content.readexactly(1000)
                process.send_signal(signal.SIGTERM)
                await process.stderr.readuntil(b"stopping")
                sound = samples_of(head + await answer.read())
            assert len(sound) / WIRE_RATE > 1.5 * SENTENCES
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
