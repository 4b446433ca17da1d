"""What keeps the page from its server, said on it: keys, names, origins, a lost line, scripts that do not load."""

from __future__ import annotations

from functools import partial

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from tests.talk import serving
from tests.web_demo.client.browser import MICROPHONE, again, answering, chromium, opened, s2s, said, say, start
from tests.web_demo.client.test_tools import listening

pytestmark = pytest.mark.browser

TABS = ("talk", "transcribe", "speak", "status")
PUBLIC_NAME = "chat.example.com"


async def everywhere(page: Page, words: str) -> None:
    """The notice says it on each tab, and nothing else repeats it."""
    for tab in TABS:
        await page.click(f"#tab-{tab}")
        await expect(page.locator("#notice")).to_contain_text(words)
        await expect(page.locator(f"#view-{tab} .trouble:visible")).to_have_count(0)
    await page.click("#tab-talk")


async def enter_key(page: Page, key: str) -> None:
    await page.click("#notice button")
    await expect(page.locator("#set-key")).to_be_focused()
    await page.fill("#set-key", key)
    await page.keyboard.press("Tab")
    await page.locator("#settings header button").click()


@pytest.mark.long
async def test_no_key_a_wrong_key_and_a_lost_line_are_three_sentences_on_every_tab() -> None:
    app = s2s(answering("Ten meters it is."), api_key="open sesame")
    async with chromium() as browser:
        async with serving(app) as server:
            port = server.port
            context = opened(browser, server.url("/"))
            page = await context.__aenter__()
            await everywhere(page, "needs an API key")
            await enter_key(page, "open barley")
            await everywhere(page, "refuses the API key")
            await page.click("#main-button")  # the line is refused as the calls are
            await expect(page.locator("#hint")).to_contain_text("Trying again")
            await everywhere(page, "refuses the API key")
            await enter_key(page, "open sesame")
            await page.wait_for_selector("#main-button[data-phase=idle]")
            await expect(page.locator("#notice")).to_be_hidden()
            await page.focus("#main-button")
            await say(page, 0.6)
            await expect(page.locator(".message.assistant .said")).to_have_text("Ten meters it is.")
        await everywhere(page, "does not answer")
        async with again(s2s(answering("And again."), api_key="open sesame"), port):
            await expect(page.locator("#notice")).to_be_hidden(timeout=20_000)
        await context.__aexit__(None, None, None)


def careless_proxy(to: str) -> web.Application:
    """As nginx is without a line about Host: the service hears its own name, and the browser's origin."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", partial(passed_on, to))
    return app


async def passed_on(to: str, request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Connection", "Upgrade")}
    if request.headers.get("Upgrade") == "websocket":
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.request(request.method, to + request.path_qs, headers=headers, data=await request.read()) as answer,
    ):
        kept = {name: answer.headers[name] for name in ("Content-Type", "Content-Encoding") if name in answer.headers}
        return web.Response(status=answer.status, body=await answer.read(), headers=kept)


async def test_under_a_name_that_is_not_allowed_the_page_comes_up_and_says_the_cure() -> None:
    async with (
        serving(s2s(answering("ok"))) as server,
        listening(careless_proxy(server.url(""))) as url,
        chromium(MICROPHONE, f"--host-resolver-rules=MAP {PUBLIC_NAME} 127.0.0.1") as browser,
    ):
        async with opened(browser, f"http://{PUBLIC_NAME}:{server.port}/") as page:
            await everywhere(page, f"--allowed-host {PUBLIC_NAME}")
        async with opened(browser, url) as page:
            await expect(page.locator("#notice")).to_be_hidden()
            await page.click("#main-button")
            await everywhere(page, f"--allowed-origin {url}")
        page = await browser.new_page()
        await page.route("**/main.js", lambda route: route.abort())
        await page.goto(server.url("/"))
        await expect(page.locator("#stuck")).to_be_hidden()
        await page.evaluate("document.getAnimations().forEach((one) => one.finish())")  # the seconds that it waits
        await expect(page.locator("#stuck")).to_contain_text("scripts did not load")
        await page.close()


async def test_what_a_new_line_finds_is_said_in_the_language_of_the_page() -> None:
    async with (
        serving(s2s(answering("好"), api_key="x")) as server,
        chromium() as browser,
        opened(browser, server.url("/"), locale="zh-CN") as page,
    ):
        await everywhere(page, "需要 API 密钥")
        await enter_key(page, "x")
        await start(page)
        await say(page, 0.6)
        await expect(page.locator(".message.assistant .said")).to_have_text("好")
        assert len(await said(page, "user")) == 1
