"""The page in front of the three real services with their embedded engines, and a human voice at the microphone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.speech import FOLDER
from tests.talk import Server, serving
from tests.web_demo.client.browser import (
    QUESTION,
    chromium,
    eventually,
    is_silent,
    opened,
    said,
    say,
    sounds,
    spoken_once,
    start,
)
from tests.web_demo.client.test_tools import NOWHERE, listening
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app as create_asr
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app as create_s2s
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app as create_tts

pytestmark = [pytest.mark.long, pytest.mark.browser]

# What the big button and the line beside it went through.
RECORD_STATES = """
window.states = [];
window.hints = [];
const watch = (id, kept, read) => {
  const element = document.getElementById(id);
  const note = () => read(element) !== kept.at(-1) && kept.push(read(element));
  new MutationObserver(note).observe(element, { attributes: true, childList: true, characterData: true });
};
watch("main-button", states, (button) => button.dataset.phase);
watch("hint", hints, (hint) => hint.textContent);
"""


async def switch_spoken_answers(page: Page) -> None:
    """By the keyboard, as a user of a screen reader would."""
    await page.click("#open-settings")
    await page.get_by_role("switch", name="Spoken answers", exact=True).press(" ")
    await page.keyboard.press("Escape")


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
        await expect(page.locator("#engine-line")).to_contain_text("pocketsphinx en-us → ready answers → espeak-ng")
        await expect(page.locator("#engine-line")).to_contain_text("understands English")
        await expect(page.locator("#presets-empty")).to_be_hidden()
        await page.select_option("#talk-voice", "英文男")
        await expect(page.locator("#talk-voice option:checked")).to_have_text("English · male")
        await expect(page.locator("#set-voice")).to_have_value("英文男")
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


async def test_with_spoken_answers_off_the_answer_is_text_and_nothing_waits_for_sound(tmp_path: Path) -> None:
    app = create_s2s(S2sSettings(port=0, engine="embedded", asr_url=NOWHERE, tts_url=NOWHERE))
    async with (
        serving(app) as server,
        chromium(spoken_once(tmp_path)) as browser,
        opened(browser, server.url("/")) as page,
    ):
        await start(page)
        await say(page, 8.5)
        await eventually(lambda: sounds(page), patience_s=30)
        await expect(page.locator("#hint")).to_contain_text("Speaking")
        await page.click("#stop-answer")
        await eventually(lambda: is_silent(page))

        await switch_spoken_answers(page)
        await page.evaluate(RECORD_STATES)
        await page.focus("#main-button")
        await say(page, 8.5)
        await expect(page.locator(".message.assistant.done .said")).to_contain_text("You said", timeout=30_000)
        await page.wait_for_selector("#main-button[data-phase=idle]")
        assert await page.evaluate("states") == ["listening", "thinking", "idle"]
        assert not [hint for hint in await page.evaluate("hints") if "Speaking" in hint]
        await expect(page.locator(".message.assistant.done .meta span")).to_have_text("")

        await page.reload()
        await page.wait_for_selector("html[data-ready]")
        await expect(page.locator("#set-speech")).not_to_be_checked()


async def test_who_speaks_chinese_is_told_in_chinese_that_nobody_here_understands_it_and_what_to_do() -> None:
    async with (
        serving(create_s2s(S2sSettings(port=0, engine="embedded", asr_url=NOWHERE, tts_url=NOWHERE))) as server,
        chromium() as browser,
        opened(browser, server.url("/")) as page,
    ):
        await expect(page.locator("#unheard")).to_be_hidden()
        await page.click("#open-settings")
        await page.select_option("#set-locale", "zh")
        await page.keyboard.press("Escape")
        await expect(page.locator("#unheard")).to_contain_text("只听得懂英语")
        await expect(page.locator("#unheard")).to_contain_text("./scripts/download_models.sh --laptop")
        await page.click("#tab-status")
        await expect(page.locator(".service").first).to_contain_text("怎样更好")
