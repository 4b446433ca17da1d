"""How the page looks and reads: sizes, languages, light and dark, accessibility. Screenshots go to run/screenshots for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.talk import serving
from tests.web_demo.client.browser import answering, chromium, eventually, opened, s2s, said, say, sounds, start
from tests.web_demo.client.test_voices import fill, speak_tab
from tests.web_demo.server.tts.fakes import ToneTts

pytestmark = [pytest.mark.long, pytest.mark.browser]

ROOT = Path(__file__).parents[3]
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / "run" / "screenshots"
WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
TABS = ("talk", "transcribe", "speak", "status")
REPLY = "You asked me to go forward ten meters. I have no legs, but I can count the steps for you."


async def shot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")


async def findings(page: Page) -> list[dict[str, Any]]:
    """What axe calls serious or critical on what is visible now."""
    result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    return [{"id": one["id"], "where": [node["html"] for node in one["nodes"]]} for one in serious]


async def overflow(page: Page) -> float:
    """Pixels by which anything sticks out on the right."""
    edges = "[...document.querySelectorAll('main *, header *')].map((one) => one.getBoundingClientRect().right)"
    return float(await page.evaluate(f"Math.max(...{edges}) - innerWidth"))


LOOKS = pytest.mark.parametrize(("scheme", "locale"), [("light", "en-US"), ("dark", "zh-CN")])


@LOOKS
async def test_every_view_is_accessible_and_fits_wide_and_narrow(scheme: str, locale: str) -> None:
    assert AXE.is_file(), "these tests need axe: npm install --no-package-lock in tests/web_demo/client"
    look: dict[str, Any] = {"color_scheme": scheme, "locale": locale}
    async with serving(s2s(answering(REPLY))) as server, chromium() as browser:
        for size, viewport in (("wide", WIDE), ("phone", PHONE)):
            async with opened(browser, server.url("/"), **look, **viewport) as page:
                await page.evaluate(f"{AXE.read_text()}; 0")
                for tab in TABS:
                    await page.click(f"#tab-{tab}")
                    await page.wait_for_load_state("networkidle")
                    await shot(page, f"{size}-{scheme}-{locale}-{tab}")
                    assert await findings(page) == []
                    assert await overflow(page) <= 0
                await page.click("#tab-talk")
                await start(page)
                await page.focus("#main-button")
                await say(page, 0.6)
                await eventually(lambda page=page: sounds(page))
                await shot(page, f"{size}-{scheme}-{locale}-conversation")
                assert await findings(page) == []
                assert await overflow(page) <= 0
                await page.click("#open-settings")
                await shot(page, f"{size}-{scheme}-{locale}-settings")
                assert await findings(page) == []


@LOOKS
async def test_adding_and_deleting_a_voice_is_accessible_and_fits(scheme: str, locale: str, tmp_path: Path) -> None:
    look: dict[str, Any] = {"color_scheme": scheme, "locale": locale}
    for size, viewport in (("wide", WIDE), ("phone", PHONE)):
        async with speak_tab(ToneTts(), tmp_path / size, **look, **viewport) as page:
            await page.evaluate(f"{AXE.read_text()}; 0")
            await fill(page, "a/b")
            await page.click("#voice-add")
            await expect(page.locator("#own-trouble")).to_be_visible()
            await shot(page, f"{size}-{scheme}-{locale}-voice-refused")
            assert await findings(page) == []
            await page.fill("#voice-name", "W" * 64)  # the longest that the service takes
            await page.click("#voice-add")
            await expect(page.locator("#voice-delete")).to_be_visible()
            await shot(page, f"{size}-{scheme}-{locale}-voice-added")
            assert await findings(page) == []
            assert await overflow(page) <= 0
            await page.click("#voice-delete")
            await shot(page, f"{size}-{scheme}-{locale}-voice-delete")
            assert await findings(page) == []


async def test_a_finger_holds_the_button_on_a_phone() -> None:
    engine = answering(REPLY)
    async with (
        serving(s2s(engine)) as server,
        chromium() as browser,
        opened(browser, server.url("/"), **PHONE) as page,
    ):
        await page.tap("#main-button")
        await page.wait_for_selector("#main-button[data-phase=idle]")
        await page.tap("#main-button")  # short: the turn stays open
        await page.wait_for_selector("#main-button[data-phase=listening]")
        await page.wait_for_timeout(600)
        await page.tap("#main-button")
        await expect(page.locator(".message.assistant .said")).to_have_text(REPLY)
    assert len(engine.turns) == 1


async def test_the_language_follows_the_browser_and_can_be_switched_for_good() -> None:
    engine = answering(REPLY)
    async with (
        serving(s2s(engine)) as server,
        chromium() as browser,
        opened(browser, server.url("/"), locale="zh-CN") as page,
    ):
        await expect(page.locator("html")).to_have_attribute("lang", "zh")
        await expect(page.locator("#empty h2")).to_have_text("说点什么吧。")
        await start(page)
        await say(page, 0.6)
        await expect(page.locator(".message.assistant .said")).to_have_text(REPLY)
        await page.click("#open-settings")
        await page.select_option("#set-locale", "en")
        await expect(page.locator("#tab-talk")).to_have_text("Talk")
        await page.reload()
        await expect(page.locator("#empty h2")).to_have_text("Say something.")
    assert engine.turns[0].language == "zh", "the server is told the language of the page"


async def test_a_preset_becomes_the_assistants_instructions() -> None:
    engine = answering(REPLY)
    async with serving(s2s(engine)) as server, chromium() as browser, opened(browser, server.url("/")) as page:
        await page.click("#presets button:has-text('Storyteller')")
        await expect(page.locator("#presets button:has-text('Storyteller')")).to_have_attribute("aria-pressed", "true")
        await start(page)
        await page.focus("#main-button")
        await say(page, 0.6)
        await eventually(lambda: sounds(page))
    assert engine.turns[0].system_prompt.startswith("You are a storyteller.")


async def test_the_keyboard_alone_is_enough() -> None:
    async with (
        serving(s2s(answering(REPLY))) as server,
        chromium() as browser,
        opened(browser, server.url("/")) as page,
    ):
        await page.focus("#tab-talk")
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#view-transcribe")).to_be_visible()
        await page.keyboard.press("ArrowLeft")
        await page.focus("#main-button")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#main-button[data-phase=idle]")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#main-button[data-phase=listening]")
        await page.wait_for_timeout(600)
        await page.keyboard.press("Enter")
        await expect(page.locator(".message.assistant")).to_have_count(1)
        await eventually(lambda: sounds(page))
        assert len(await said(page, "user")) == 1


async def test_the_page_is_small_and_asks_nobody_but_its_own_server() -> None:
    async with serving(s2s(answering(REPLY))) as server, chromium() as browser:
        sizes: list[int] = []
        context = await browser.new_context()
        page = await context.new_page()
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.on("requestfinished", lambda request: addresses.append(request.url))
        network = await context.new_cdp_session(page)
        network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await network.send("Network.enable")
        await page.goto(server.url("/"))
        await page.wait_for_selector("html[data-ready]")
        await start(page)
        for tab in TABS[1:]:
            await page.click(f"#tab-{tab}")
        await page.wait_for_load_state("networkidle")
        ready_ms = await page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        await context.close()
    print(f"page ready after {ready_ms:.0f} ms, {sum(sizes)} bytes in {len(sizes)} answers")
    assert 10_000 < sum(sizes) < 200_000
    assert all(address.startswith((server.url("/"), "blob:")) for address in addresses)
