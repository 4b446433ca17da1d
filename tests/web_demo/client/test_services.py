"""The page in front of the three real services with their embedded engines, and a human voice at the microphone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from tests.speech import FOLDER
from tests.talk import Server, serving
from tests.web_demo.client.browser import QUESTION, chromium, eventually, opened, said, say, sounds, spoken_once, start
from tests.web_demo.client.test_tools import listening
from web_demo.server.asr_server import create_app as create_asr
from web_demo.server.asr_service import AsrSettings
from web_demo.server.server import S2sSettings
from web_demo.server.server import create_app as create_s2s
from web_demo.server.tts_server import create_app as create_tts
from web_demo.server.tts_settings import TtsSettings

pytestmark = pytest.mark.browser


@asynccontextmanager
async def all_three() -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        asr = await stack.enter_async_context(listening(create_asr(AsrSettings(port=0, engine="embedded"))))
        tts = await stack.enter_async_context(listening(create_tts(TtsSettings(port=0, engine="embedded"))))
        app = create_s2s(S2sSettings(port=0, engine="embedded", asr_url=asr, tts_url=tts))
        yield await stack.enter_async_context(serving(app))


async def test_a_voice_is_understood_and_answered_and_a_file_is_transcribed(tmp_path: Path) -> None:
    async with (
        all_three() as server,
        aiohttp.ClientSession() as http,
        chromium(spoken_once(tmp_path)) as browser,
        opened(browser, server.url("/#status")) as page,
    ):
        await expect(page.locator(".service .state.healthy")).to_have_count(3, timeout=30_000)

        await page.click("#tab-talk")
        await start(page)
        await page.focus("#main-button")
        await say(page, 8.5)  # the recording is 5.3 s long with its silence: all of it is said at least once
        await expect(page.locator(".message.user .said")).to_contain_text("ten meters", timeout=30_000)
        await eventually(lambda: sounds(page))
        assert all(len(text) > 5 for text in await said(page, "assistant"))
        async with http.get(server.url("/health")) as response:
            assert (await response.json())["sessions"] == 1
        await expect(page.locator("#main-button[data-phase=idle]")).to_be_visible(timeout=60_000)
        await page.click("#hang-up")

        await page.click("#tab-transcribe")
        await page.set_input_files("#file", FOLDER / "go_forward_ten_meters.wav")
        await expect(page.locator("#transcript-body")).to_contain_text(QUESTION, timeout=30_000)
