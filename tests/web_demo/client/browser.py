"""A real Chromium with a microphone that plays a recording, and a page that measures its own sound."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from tests.speech import FOLDER, recording
from web_demo.audio.samples import SPEECH_RATE, Audio, to_wav
from web_demo.engines.base import Heard, SpeechText, Step, TextDelta, TurnRequest
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app

PATIENCE_S = 20.0  # for something that must come; never a measure
QUESTION = "go forward ten meters"
MICROPHONE = FOLDER / "go_forward_ten_meters.wav"
FLAGS = (
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Taps whatever a page plays: `loudness()` is the RMS of the last 40 ms that went to the loudspeaker.
MEASURE_OUTPUT = """
const taps = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const tap = this.context.createAnalyser();
    connect.call(this, tap);
    taps.push(tap);
  }
  return connect.call(this, to, ...rest);
};
window.loudness = () => Math.max(0, ...taps.filter((tap) => tap.context.state === "running").map((tap) => {
  const samples = new Float32Array(tap.fftSize);
  tap.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
}));
"""


@asynccontextmanager
async def chromium(microphone: Path = MICROPHONE, *more: str, allow: bool = True) -> AsyncIterator[Browser]:
    """`allow` False: the user refuses the microphone. `more`: flags."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "these tests need Chromium: apt-get install chromium"
    permission = "--use-fake-ui-for-media-stream" if allow else "--deny-permission-prompts"
    flags = [*FLAGS, *more, permission, f"--use-file-for-fake-audio-capture={microphone}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """The page, ready, in a profile of its own. Whatever goes wrong in it fails the test."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    await page.add_init_script(MEASURE_OUTPUT)
    await page.goto(url)
    await page.wait_for_selector("html[data-ready]")
    try:
        yield page
    finally:
        await context.close()
    assert errors == []


@asynccontextmanager
async def again(app: web.Application, port: int) -> AsyncIterator[None]:
    """A service on a port that a page knows already."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def eventually(condition: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not await condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0.02)


async def loudness(page: Page) -> float:
    return float(await page.evaluate("loudness()"))


async def sounds(page: Page) -> bool:
    return await loudness(page) > 0.02


async def is_silent(page: Page) -> bool:
    return await loudness(page) < 0.002


async def start(page: Page) -> None:
    """Connect; the page then waits for the user."""
    await page.click("#main-button")
    await page.wait_for_selector("#main-button[data-phase=idle]")


async def say(page: Page, seconds: float = 1.5) -> None:
    """Push-to-talk with the space bar."""
    await page.keyboard.down(" ")
    await page.wait_for_selector("#main-button[data-phase=listening]")
    await asyncio.sleep(seconds)  # the microphone is played in real time
    await page.keyboard.up(" ")


async def said(page: Page, role: str) -> list[str]:
    return [text.strip() for text in await page.locator(f".message.{role} .said").all_inner_texts()]


def answering(reply: str, heard: str = QUESTION) -> ScriptedS2s:
    """Speaks 50 ms of tone for each character of its reply."""

    def script(turn: TurnRequest) -> list[Step | float | Exception]:
        return [Heard(heard), *(TextDelta(f"{word} ") for word in reply.split()), SpeechText(reply)]

    return ScriptedS2s(script)


def s2s(engine: ScriptedS2s, **settings: Any) -> web.Application:
    return create_app(S2sSettings(port=0, **settings), engine)


def spoken_once(folder: Path) -> Path:
    """A recording that says something and is then silent: the microphone plays it again and again."""
    speech = recording("go_forward_ten_meters").samples
    silence = np.zeros(round(2.5 * SPEECH_RATE), np.float32)
    path = folder / "microphone.wav"
    path.write_bytes(to_wav(Audio(np.concatenate((speech, silence)), SPEECH_RATE)))
    return path
