"""Voices that users add in the Speak tab and delete again: the page, the S2S service that passes its requests on, and the TTS
service with an engine that clones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.speech import FOLDER, TRANSCRIPTS
from tests.talk import serving
from tests.web_demo.client.browser import answering, chromium, opened, s2s
from tests.web_demo.client.test_tools import NOWHERE, listening
from tests.web_demo.server.tts.fakes import ToneTts
from web_demo.audio.samples import silence, to_wav
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app as create_tts

pytestmark = pytest.mark.browser

RECORDING = FOLDER / "cards_001.wav"
SAID = TRANSCRIPTS["cards_001"]
BUILT_IN = ["Chinese · female", "Chinese · male"]


@asynccontextmanager
async def speak_tab(engine: ToneTts, folder: Path | None, **options: Any) -> AsyncIterator[Page]:
    """The Speak tab; `folder` keeps the voices, `options` are of the browser's context."""
    tts = create_tts(TtsSettings(port=0, speakers_dir=folder, asr_url=NOWHERE), engine)
    async with (
        listening(tts) as url,
        serving(s2s(answering("ok"), asr_url=NOWHERE, tts_url=url)) as server,
        chromium() as browser,
        opened(browser, server.url("/#speak"), **options) as page,
    ):
        await expect(page.locator("#tts-voice option")).not_to_have_count(0)
        yield page


async def fill(page: Page, name: str, recording: Path = RECORDING, said: str = SAID) -> None:
    if not await page.locator("#own-text").is_visible():
        await page.click("#own-voice summary")
    await page.set_input_files("#own-file", recording)
    await page.fill("#own-text", said)
    await page.fill("#voice-name", name)


async def test_a_voice_is_added_speaks_and_is_deleted_by_the_keyboard(tmp_path: Path) -> None:
    engine = ToneTts()
    async with speak_tab(engine, tmp_path) as page:
        await expect(page.locator("#voice-delete")).to_be_hidden()
        await fill(page, " 小明 ")
        await page.press("#voice-name", "Enter")
        await expect(page.locator("#voice-facts")).to_have_text("小明 is in the list, and chosen.")
        await expect(page.locator("#tts-voice option")).to_have_text(["小明", *BUILT_IN])
        await expect(page.locator("#tts-voice")).to_have_value("小明")
        for emptied in ("#own-text", "#voice-name"):
            await expect(page.locator(emptied)).to_have_value("")
        await expect(page.locator("#own-name")).to_have_text("")

        await page.fill("#tts-text", "Hello you.")
        await page.press("#tts-text", "Control+Enter")
        await expect(page.locator("#tts-facts")).to_contain_text("first sound after")
        (request,) = engine.requests
        assert request.prompt is not None
        assert request.prompt.text == SAID

        delete = page.get_by_role("button", name="Delete this voice")
        question = page.get_by_role("alertdialog", name="Delete the voice 小明?")
        await delete.press("Enter")
        await expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(delete).to_be_focused()
        await expect(page.locator("#tts-voice")).to_have_value("小明")
        await delete.press("Enter")
        await question.get_by_role("button", name="Delete").press("Enter")
        await expect(question).to_be_hidden()
        await expect(page.locator("#tts-voice option")).to_have_text(BUILT_IN)
        await expect(page.locator("#tts-voice")).to_be_focused()
        await expect(delete).to_be_hidden()


async def test_a_refused_voice_is_explained_beside_the_form_which_keeps_what_was_typed(tmp_path: Path) -> None:
    silent, huge = tmp_path / "silent.wav", tmp_path / "huge.wav"
    silent.write_bytes(to_wav(silence(3.0, 16_000)))
    huge.write_bytes(bytes(13 << 20))
    async with speak_tab(ToneTts(), tmp_path / "voices") as page:
        await page.click("#own-voice summary")
        await page.click("#voice-add")
        await expect(page.locator("#own-trouble")).to_have_text("The list takes a recording with a name.")
        await expect(page.locator("#own-choose")).to_be_focused()
        for name, recording, said, words in (
            ("new", silent, SAID, "no speech was found"),
            ("new", huge, SAID, "at most 12 MiB"),
            ("中文女", RECORDING, SAID, "built-in voice"),
            ("a/b", RECORDING, SAID, "letters, digits, spaces"),
            ("new", RECORDING, "", "'transcript'"),  # and no recogniser answers
        ):
            await fill(page, name, recording, said)
            await page.click("#voice-add")
            await expect(page.locator("#own-trouble")).to_contain_text(words)
            await expect(page.locator("#own-name")).to_have_text(recording.name)
            await expect(page.locator("#own-text")).to_have_value(said)
            await expect(page.locator("#voice-name")).to_have_value(name)
            await expect(page.locator("#voice-facts")).to_have_text("")
        await page.fill("#own-text", SAID)
        await page.click("#voice-add")
        await expect(page.locator("#tts-voice")).to_have_value("new")
        await expect(page.locator("#own-trouble")).to_be_hidden()


async def test_a_voice_that_somebody_else_deleted_is_explained_and_leaves_the_list(tmp_path: Path) -> None:
    async with speak_tab(ToneTts(), tmp_path) as page, aiohttp.ClientSession() as http:
        await fill(page, "twin")
        await page.click("#voice-add")
        await expect(page.locator("#tts-voice")).to_have_value("twin")
        await page.click("#voice-delete")
        async with http.delete(page.url.replace("#speak", "api/speakers/twin")) as answer:
            assert answer.status == 200
        await page.click("#voice-delete-now")
        await expect(page.locator("#voice-ask-trouble")).to_contain_text("there is no added voice 'twin'")
        await expect(page.locator("#tts-voice option")).to_have_text(BUILT_IN)


@pytest.mark.long
async def test_a_recording_of_the_microphone_becomes_a_voice(tmp_path: Path) -> None:
    async with speak_tab(ToneTts(), tmp_path) as page:
        await page.click("#own-voice summary")
        await page.click("#own-record")
        await expect(page.locator("#own-record")).to_contain_text("0:03")
        await page.click("#own-record")
        await expect(page.locator("#own-name")).to_contain_text("recording.")
        await page.fill("#own-text", "go forward ten meters")
        await page.fill("#voice-name", "mine")
        await page.click("#voice-add")
        await expect(page.locator("#tts-voice")).to_have_value("mine")


async def test_an_engine_that_lists_no_voices_can_still_choose_by_itself(tmp_path: Path) -> None:
    engine = ToneTts()
    engine.capabilities = type(engine.capabilities)(cloning=True)
    async with speak_tab(engine, tmp_path) as page:
        await expect(page.locator("#tts-voice option")).to_have_text(["Engine's default"])
        await fill(page, "mine")
        await page.click("#voice-add")
        await expect(page.locator("#tts-voice")).to_have_value("mine")
        await expect(page.locator("#tts-voice option")).to_have_text(["Engine's default", "mine"])


@pytest.mark.long
async def test_voices_are_only_offered_where_they_can_be_cloned_and_kept(tmp_path: Path) -> None:
    async with speak_tab(ToneTts(), None) as page:
        await page.click("#own-voice summary")
        await expect(page.locator("#voices-not-kept")).to_contain_text("--speakers-dir")
        await expect(page.locator("#voice-form")).to_be_hidden()
    async with speak_tab(ToneTts(cloning=False), tmp_path) as page:
        await expect(page.locator("#own-voice")).to_be_hidden()
