"""Firefox from the system, driven by WebDriver BiDi over a WebSocket of its own: no driver program, no patched build.

https://www.w3.org/TR/webdriver-bidi/ (read in 2026). Only what the page's tests need.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.web_demo.client.browser import eventually

PREFERENCES = {
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,  # a tone as the microphone
    "media.autoplay.default": 0,
    "intl.accept_languages": "en-US",
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
START_S = 120.0  # of a program of this size, on a machine that has other things to do
_LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")


class Failed(Exception):
    """What was run in the page threw, or Firefox did not do as it was told."""


class Firefox:
    """One tab. `errors`: what the page logged as an error, or threw."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self._tab = ""

    async def read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if said.get("type") == "event":
                if said["params"].get("level") == "error":
                    self.errors.append(said["params"]["text"])
            elif (answer := self._answers.pop(said["id"], None)) is not None:
                answer.set_result(said)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(self._answers[number], START_S)
        if said["type"] == "error":
            raise Failed(f"{method}: {said['error']}: {said['message']}")
        return dict(said["result"])

    async def begin(self) -> None:
        await self.command("session.new", capabilities={})
        await self.command("session.subscribe", events=["log.entryAdded"])
        self._tab = (await self.command("browsingContext.getTree"))["contexts"][0]["context"]

    async def before_load(self, script: str) -> None:
        await self.command("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    async def open(self, url: str) -> None:
        await self.command("browsingContext.navigate", context=self._tab, url=url, wait="complete")
        await self.until("document.documentElement.dataset.ready !== undefined")

    async def evaluate(self, expression: str) -> Any:
        """The value, as far as it is text, a number, a truth or null."""
        target = {"context": self._tab}
        said = await self.command(
            "script.evaluate", expression=expression, target=target, awaitPromise=True, userActivation=True
        )
        if said["type"] == "exception":
            raise Failed(said["exceptionDetails"]["text"])
        return said["result"].get("value")

    async def until(self, expression: str) -> None:
        """Raises AssertionError when it does not come true."""
        await eventually(lambda: self.evaluate(f"Boolean({expression})"))

    async def text(self, selector: str) -> str:
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    async def press(self, key: str, hold_s: float = 0.0) -> None:
        press = [
            {"type": "keyDown", "value": key},
            {"type": "pause", "duration": round(hold_s * 1000)},
            {"type": "keyUp", "value": key},
        ]
        await self.command(
            "input.performActions", context=self._tab, actions=[{"type": "key", "id": "keyboard", "actions": press}]
        )

    async def click(self, selector: str) -> None:
        found = await self.command(
            "browsingContext.locateNodes", context=self._tab, locator={"type": "css", "value": selector}
        )
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": {"type": "element", "element": element}},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self.command(
            "input.performActions", context=self._tab, actions=[{"type": "pointer", "id": "mouse", "actions": actions}]
        )

    async def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self.command("browsingContext.setViewport", context=self._tab, viewport=viewport)

    async def shot(self) -> bytes:
        """A PNG of what is visible."""
        said = await self.command("browsingContext.captureScreenshot", context=self._tab)
        return base64.b64decode(said["data"])


def executable() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


@asynccontextmanager
async def firefox(**preferences: bool | int | str) -> AsyncIterator[Firefox]:
    """`preferences` with underscores for dots come over those above."""
    program = executable()
    assert program, "these tests need Firefox: apt-get install firefox-esr"
    with tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as folder:
        wanted = PREFERENCES | {name.replace("_", "."): value for name, value in preferences.items()}
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in wanted.items())
        await asyncio.to_thread((Path(folder) / "user.js").write_text, "".join(lines))
        process = await asyncio.create_subprocess_exec(
            program,
            *("--headless", "--no-remote", "--profile", folder, "--remote-debugging-port", "0", "about:blank"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await asyncio.wait_for(_address(process), START_S)
            async with aiohttp.ClientSession() as http, http.ws_connect(f"{address}/session", max_msg_size=0) as socket:
                page = Firefox(socket)
                reading = asyncio.create_task(page.read(), name="firefox")
                try:
                    await page.begin()
                    yield page
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
        finally:
            process.kill()
            await process.wait()
    assert page.errors == []


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := _LISTENING.search(line):
            return found[1].decode()
    raise Failed("Firefox ended before it listened")
