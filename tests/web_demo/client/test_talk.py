"""Talking, through the page, to a service with a scripted engine."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import expect

from tests.talk import serving
from tests.web_demo.client.browser import (
    QUESTION,
    again,
    answering,
    chromium,
    eventually,
    is_silent,
    opened,
    s2s,
    said,
    say,
    sounds,
    spoken_once,
    start,
)
from web_demo.audio.samples import from_wav
from web_demo.engines.base import SpeechText, TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.errors import EngineFailed

pytestmark = pytest.mark.browser

SHORT = "Ten meters it is."
LONG = "I will count every single one of the steps for you. " * 8  # 20 s of tone


async def test_a_question_is_heard_transcribed_and_answered_with_sound() -> None:
    engine = answering(SHORT)
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await start(page)
        await say(page)
        await eventually(lambda: sounds(page))
        await expect(page.locator(".message.user .said")).to_have_text(QUESTION)
        await expect(page.locator(".message.assistant .said")).to_have_text(SHORT)
        await expect(page.locator(".message.assistant .meta")).to_contain_text("first sound after 0.")
        await expect(page.locator("#main-button[data-phase=idle]")).to_be_visible()
        await eventually(lambda: is_silent(page))
    heard = engine.turns[0].audio
    assert 1.2 < heard.seconds < 3.0
    assert np.sqrt(np.mean(heard.samples**2)) > 0.01, "the recording reached the engine as sound"


async def test_interrupting_silences_the_answer_and_the_next_turn_is_answered() -> None:
    engine = answering(LONG)
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await start(page)
        await say(page)
        await eventually(lambda: sounds(page))
        await page.keyboard.down(" ")
        await eventually(lambda: is_silent(page), patience_s=2)
        await asyncio.sleep(1)
        assert await is_silent(page), "nothing of the old answer comes later"
        await page.keyboard.up(" ")
        await eventually(lambda: sounds(page))
        await expect(page.locator(".message.assistant")).to_have_count(2)
        await expect(page.locator(".message.assistant").first).to_contain_text("interrupted")
    assert len(engine.turns) == 2
    assert engine.turns[0].turn_id != engine.turns[1].turn_id
    assert engine.turns[1].history[0].assistant_text in LONG
    assert len(engine.turns[1].history[0].assistant_text) < len(LONG) / 2, "the history has what was heard"


async def test_the_stop_button_ends_the_answer_and_talking_goes_on() -> None:
    engine = answering(LONG)
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await start(page)
        await say(page, 0.6)
        await eventually(lambda: sounds(page))
        await page.click("#stop-answer")
        await eventually(lambda: is_silent(page), patience_s=2)
        await say(page, 0.6)
        await eventually(lambda: sounds(page))
        assert await page.locator(".message.problem").count() == 0


@pytest.mark.long
async def test_hands_free_answers_by_itself_and_speaking_interrupts(tmp_path: Path) -> None:
    engine = answering(LONG)
    async with (
        serving(s2s(engine)) as server,
        chromium(spoken_once(tmp_path)) as browser,
        opened(browser, server.url("/")) as page,
    ):
        await page.get_by_text("Hands-free").click()
        await start(page)
        await eventually(lambda: sounds(page))
        await expect(page.locator(".message.assistant.interrupted")).not_to_have_count(0, timeout=20_000)
        await expect(page.locator(".message.user").nth(1)).to_contain_text(QUESTION, timeout=20_000)
        await page.click("#main-button")
        await expect(page.locator("#main-button")).to_have_attribute("data-muted", "true")
    assert len(engine.turns) >= 2


async def test_the_conversation_is_saved_as_sound_of_both_sides_and_as_text(tmp_path: Path) -> None:
    async with (
        serving(s2s(answering(SHORT))) as server,
        chromium() as browser,
        opened(browser, server.url("/")) as page,
    ):
        await start(page)
        await say(page)
        await expect(page.locator(".message.assistant .said")).to_have_text(SHORT)
        await eventually(lambda: sounds(page))
        await eventually(lambda: is_silent(page))
        files = {}
        for item in ("#save-audio", "#save-text", "#save-all"):
            await page.click("#menu summary")
            async with page.expect_download() as download:
                await page.click(item)
            saved = tmp_path / item[1:]
            await (await download.value).save_as(saved)
            files[item] = saved.read_bytes()
    assert files["#save-text"].decode() == f"You: {QUESTION}\n\nAssistant: {SHORT}"
    sound = base64.b64encode(files["#save-audio"])
    assert sound in files["#save-all"], "one file has both"
    assert QUESTION.encode() in files["#save-all"]
    audio = from_wav(files["#save-audio"])
    spectrum = np.abs(np.fft.rfft(audio.samples))
    tone = spectrum[round(440 * audio.seconds) + np.arange(-20, 20)].max()
    assert tone > 5 * np.median(spectrum[: len(spectrum) // 4]), "the assistant's tone is in it"
    assert audio.seconds > 1.4 + len(SHORT) * 0.05, "and the user's turn before it"


@pytest.mark.long
async def test_two_pages_get_each_their_own_answer() -> None:
    async with (
        serving(s2s(answering(LONG))) as server,
        chromium() as browser,
        opened(browser, server.url("/")) as first,
        opened(browser, server.url("/")) as second,
    ):
        for page in (first, second):
            await start(page)
        await say(first, 0.6)
        await eventually(lambda: sounds(first))
        assert await is_silent(second)
        await say(second, 0.6)
        await eventually(lambda: sounds(second))
        assert await sounds(first)
        assert [await said(page, "user") for page in (first, second)] == [[QUESTION], [QUESTION]]


@pytest.mark.long
async def test_a_page_finds_its_way_back_after_the_server_restarted() -> None:
    engine = answering(SHORT)
    async with chromium() as browser:
        async with serving(s2s(engine)) as server:
            port = server.port
            context = opened(browser, server.url("/"))
            page = await context.__aenter__()
            await start(page)
            await say(page, 0.6)
            await expect(page.locator(".message.assistant .said")).to_have_text(SHORT)
        await expect(page.locator("#hint")).to_contain_text("Trying again")
        async with again(s2s(answering("And again.")), port):
            await expect(page.locator(".message.note")).to_contain_text("afresh", timeout=15_000)
            await say(page, 0.6)
            await expect(page.locator(".message.assistant .said").last).to_have_text("And again.")
            await context.__aexit__(None, None, None)


async def test_a_refused_microphone_is_explained() -> None:
    async with (
        serving(s2s(answering(SHORT))) as server,
        chromium(allow=False) as browser,
        opened(browser, server.url("/")) as page,
    ):
        await page.click("#main-button")
        await expect(page.locator("#trouble")).to_contain_text("allow the microphone")
        await expect(page.locator("#main-button")).to_contain_text("Start")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("Object.defineProperty(window, 'isSecureContext', {value: false})", "--ssl-cert"),
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))",
            "No microphone was found",
        ),
    ],
)
async def test_what_is_missing_for_talking_is_said_with_what_to_do(broken: str, words: str) -> None:
    async with (
        serving(s2s(answering(SHORT))) as server,
        chromium() as browser,
        opened(browser, server.url("/")) as page,
    ):
        await page.evaluate(f"{broken}; 0")
        await page.click("#main-button")
        await expect(page.locator("#trouble")).to_contain_text(words)


async def test_a_failed_answer_is_told_in_words_and_the_next_turn_works() -> None:
    stumbles = [[EngineFailed("the engine stumbled")], [TextDelta(SHORT), SpeechText(SHORT)]]
    engine = ScriptedS2s(lambda _: stumbles.pop(0))
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await start(page)
        await say(page, 0.6)
        await expect(page.locator(".message.problem")).to_have_text("the engine stumbled")
        await page.wait_for_selector("#main-button[data-phase=idle]")
        await expect(page.locator(".message.open")).to_have_count(0)
        await expect(page.locator("#stop-answer")).to_be_hidden()
        await expect(page.locator("#hint")).to_contain_text("Hold the button")
        await say(page, 0.6)
        await expect(page.locator(".message.assistant .said").last).to_have_text(SHORT)


@pytest.mark.long
async def test_without_a_codec_in_the_browser_sound_goes_as_pcm() -> None:
    engine = answering(SHORT)
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await page.evaluate("delete window.AudioEncoder; 0")
        await start(page)
        await say(page)
        await eventually(lambda: sounds(page))
        await expect(page.locator(".message.assistant .said")).to_have_text(SHORT)
        await eventually(lambda: is_silent(page))
    heard = engine.turns[0].audio
    assert 1.2 < heard.seconds < 3.0
    assert np.sqrt(np.mean(heard.samples**2)) > 0.01, "the recording reached the engine as sound"


async def test_a_written_turn_is_answered_without_a_microphone_and_beside_one() -> None:
    engine = answering(LONG)
    async with (
        serving(s2s(engine)) as server,
        chromium(allow=False) as browser,
        opened(browser, server.url("/")) as page,
    ):
        await page.fill("#write-text", "How far is it?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".message.user .said")).to_have_text("How far is it?")
        await eventually(lambda: sounds(page))
        await page.fill("#write-text", "Shorter, please.")
        await page.keyboard.press("Enter")  # interrupts
        await expect(page.locator(".message.assistant")).to_have_count(2)
        await expect(page.locator(".message.assistant").first).to_contain_text("interrupted")
        await eventually(lambda: sounds(page))
        await page.click("#main-button")
        await expect(page.locator("#trouble")).to_contain_text("allow the microphone")
        await page.fill("#write-text", "Never mind.")
        await page.keyboard.press("Enter")
        await expect(page.locator(".message.assistant")).to_have_count(3)
    assert [(turn.text, turn.audio) for turn in engine.turns] == [
        ("How far is it?", None),
        ("Shorter, please.", None),
        ("Never mind.", None),
    ]
