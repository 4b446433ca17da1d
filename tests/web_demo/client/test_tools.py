"""The tabs that use the other services: Transcribe, Speak, Status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.speech import FOLDER, TRANSCRIPTS
from tests.talk import serving
from tests.web_demo.client.browser import MICROPHONE, answering, chromium, eventually, is_silent, opened, s2s, sounds
from web_demo.audio.samples import from_wav
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app as create_tts

pytestmark = pytest.mark.browser

NAME = "librivox_0880"
BEEP = """
document.title = "Beep";
const context = new AudioContext();
const beep = context.createOscillator();
beep.connect(context.destination);
beep.start();
"""
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens


class FakeAsr:
    """Answers as the ASR service does; `requests` keeps what came. `hold` makes it think for ever."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.hold = False
        self.gone = asyncio.Event()
        self.go_on = asyncio.Event()  # after the first segment
        self.go_on.set()
        self.cut = False
        self.loudest = 0
        self.app = web.Application(client_max_size=1 << 24)
        self.app.router.add_get("/health", self._health)
        self.app.router.add_post("/api/transcribe", self._transcribe)
        self.app.router.add_get("/api/transcribe/stream", self._live)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "healthy", "engine": "fake", "model": "m", "device": "cpu", "languages": ["en", "zh"]}
        )

    async def _transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        audio = form["audio"]
        assert isinstance(audio, web.FileField)
        self.requests.append({**form, "audio": audio.file.read(), "name": audio.filename})
        if self.hold:
            try:
                await asyncio.Event().wait()
            finally:
                self.gone.set()
        text = TRANSCRIPTS[NAME]
        segments = [
            {"text": "he was not", "start": 0.1, "end": 1.2},
            {"text": "an ill disposed", "start": 1.2, "end": 2.9},
        ]
        body: dict[str, Any] = {"text": text, "language": "en", "success": True, "duration": 2.99}
        assert (form["cues"], form["stream"]) == ("true", "true")
        body["cues"] = [{"text": "he was not\nan ill disposed", "start": 0.1, "end": 2.9}]
        body |= {"ignored_hotwords": ["Xyzzy"], "warning": "the file is damaged"}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate([*({"type": "segment", **one} for one in segments), {"type": "done", **body}]):
            if number == 1:
                await self.go_on.wait()
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        return response

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        """Hears two seconds; then the line is cut where `cut`, else goes on until its end is said."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.requests.append(dict(request.query))
        rate, heard, told = int(request.query["rate"]), 0, 0
        async for message in socket:
            if message.type is web.WSMsgType.TEXT:
                await socket.send_json({"type": "final", "text": "go forward ten meters", "start": 0.5, "end": 1.9})
                await socket.send_json({"type": "done", "duration": heard / rate / 2})
                await socket.close()
                break
            heard += len(message.data)
            self.loudest = max(self.loudest, int(np.abs(np.frombuffer(message.data, "<i2").astype(int)).max()))
            if heard / rate / 2 > 0.5 * (told + 1):
                told += 1
                await socket.send_json({"type": "partial", "text": "go forward", "start": 0.5, "end": told / 2})
            if self.cut and told:
                await socket.close()
        return socket


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_file_is_transcribed_with_times_and_saved_as_subtitles(tmp_path: Path) -> None:
    asr = FakeAsr()
    async with (
        listening(asr.app) as url,
        serving(s2s(answering("ok"), asr_url=url, tts_url=NOWHERE)) as server,
        chromium() as browser,
        opened(browser, server.url("/#transcribe")) as page,
    ):
        await page.select_option("#asr-language", "en")
        await page.fill("#hotwords", "Dashwood, Xyzzy")
        asr.go_on.clear()
        await page.set_input_files("#file", FOLDER / f"{NAME}.wav")
        await expect(page.locator("#transcript .segment")).to_contain_text(["he was not"])
        await expect(page.locator("#transcript-files")).to_be_hidden()
        asr.go_on.set()
        await expect(page.locator("#transcript .segment")).to_contain_text(["he was not", "an ill disposed"])
        await expect(page.locator("#transcript-note")).to_contain_text("Xyzzy")
        await expect(page.locator("#transcript-note")).to_contain_text("the file is damaged")
        async with page.expect_download() as download:
            await page.click("#transcript-srt")
        await (await download.value).save_as(tmp_path / "saved.srt")
    (request,) = asr.requests
    assert request["audio"] == (FOLDER / f"{NAME}.wav").read_bytes()
    assert (request["name"], request["language"], request["hotwords"]) == (f"{NAME}.wav", "en", "Dashwood, Xyzzy")
    assert (tmp_path / "saved.srt").read_text() == "1\n00:00:00,100 --> 00:00:02,900\nhe was not\nan ill disposed\n"


@pytest.mark.long
async def test_live_captions_grow_while_somebody_speaks_and_are_saved(tmp_path: Path) -> None:
    asr = FakeAsr()
    async with (
        listening(asr.app) as url,
        serving(s2s(answering("ok"), asr_url=url, tts_url=NOWHERE)) as server,
        chromium(MICROPHONE, "--auto-select-tab-capture-source-by-title=Beep") as browser,
        opened(browser, server.url("/#transcribe")) as page,
    ):
        await page.select_option("#asr-language", "en")
        await page.click("#live-microphone")
        await expect(page.locator("#transcript .partial")).to_contain_text("go forward")
        await expect(page.locator("#transcript-files")).to_be_hidden()
        await page.click("#asr-cancel")
        await expect(page.locator("#transcript .segment")).to_have_text(["0:00go forward ten meters"])
        await expect(page.locator("#asr-busy")).to_be_hidden()
        async with page.expect_download() as download:
            await page.click("#transcript-vtt")
        await (await download.value).save_as(tmp_path / "saved.vtt")
        microphone, asr.loudest = asr.loudest, 0
        beeping = await page.context.new_page()
        await beeping.goto(server.url("/"))
        await beeping.evaluate(BEEP)
        await page.bring_to_front()
        await page.click("#live-tab")
        await expect(page.locator("#transcript .partial")).to_contain_text("go forward")
        asr.cut = True
        await expect(page.locator("#asr-trouble")).to_contain_text("captions was lost")
        await expect(page.locator("#asr-busy")).to_be_hidden()
    assert (tmp_path / "saved.vtt").read_text() == "WEBVTT\n\n00:00:00.500 --> 00:00:01.900\ngo forward ten meters\n"
    assert (asr.requests[0]["format"], asr.requests[0]["language"]) == ("pcm16", "en")
    assert microphone > 1000, "the microphone reached the service"
    assert asr.loudest > 20_000, "and so did the tab, which beeps as loud as it can"


async def test_a_recording_of_the_microphone_is_transcribed() -> None:
    asr = FakeAsr()
    async with (
        listening(asr.app) as url,
        serving(s2s(answering("ok"), asr_url=url, tts_url=NOWHERE)) as server,
        chromium() as browser,
        opened(browser, server.url("/#transcribe")) as page,
    ):
        await page.click("#record")
        await expect(page.locator("#record")).to_contain_text("0:01")
        await page.click("#record")
        await expect(page.locator("#transcript")).to_be_visible()
    assert len(asr.requests[0]["audio"]) > 1000
    assert asr.requests[0]["name"].startswith("recording.")


async def test_cancelling_a_transcription_stops_the_service() -> None:
    asr = FakeAsr()
    asr.hold = True
    async with (
        listening(asr.app) as url,
        serving(s2s(answering("ok"), asr_url=url, tts_url=NOWHERE)) as server,
        chromium() as browser,
        opened(browser, server.url("/#transcribe")) as page,
    ):
        await page.set_input_files("#file", FOLDER / f"{NAME}.wav")
        await eventually(lambda: asyncio.sleep(0, bool(asr.requests)))
        await page.click("#asr-cancel")
        await asyncio.wait_for(asr.gone.wait(), 5)
        await expect(page.locator("#asr-busy")).to_be_hidden()
        await expect(page.locator("#asr-trouble")).to_be_hidden()


async def test_text_is_spoken_by_the_chosen_voice_and_saved(tmp_path: Path) -> None:
    async with (
        listening(create_tts(TtsSettings(port=0, engine="embedded"))) as url,
        serving(s2s(answering("ok"), asr_url=NOWHERE, tts_url=url)) as server,
        chromium() as browser,
        opened(browser, server.url("/#speak")) as page,
    ):
        await expect(page.locator("#tts-voice option")).not_to_have_count(0)
        await page.select_option("#tts-voice", "英文女")
        await page.fill("#tts-text", "One two three four five. Six seven eight nine ten.")
        await page.click("#tts-go")
        await eventually(lambda: sounds(page))
        await expect(page.locator("#tts-facts")).to_contain_text("first sound after")
        await eventually(lambda: is_silent(page))
        async with page.expect_download() as download:
            await page.click("#tts-save")
        await (await download.value).save_as(tmp_path / "saved.wav")
        # An espeak voice cannot clone: the page offers nothing that would only be refused.
        await expect(page.locator("#own-voice")).to_be_hidden()
    audio = from_wav((tmp_path / "saved.wav").read_bytes())
    assert audio.rate == 24_000
    assert audio.seconds > 2


async def test_speaking_can_be_stopped() -> None:
    async with (
        listening(create_tts(TtsSettings(port=0, engine="embedded"))) as url,
        serving(s2s(answering("ok"), asr_url=NOWHERE, tts_url=url)) as server,
        chromium() as browser,
        opened(browser, server.url("/#speak")) as page,
    ):
        await expect(page.locator("#tts-voice option")).not_to_have_count(0)
        await page.fill("#tts-text", "This goes on and on and on. " * 40)
        await page.click("#tts-go")
        await eventually(lambda: sounds(page))
        await page.click("#tts-go")
        await eventually(lambda: is_silent(page), patience_s=2)
        await expect(page.locator("#tts-go")).to_have_text("Speak")


async def test_a_refused_text_is_explained_in_the_services_own_words() -> None:
    async with (
        listening(create_tts(TtsSettings(port=0, engine="embedded"))) as url,
        serving(s2s(answering("ok"), asr_url=NOWHERE, tts_url=url)) as server,
        chromium() as browser,
        opened(browser, server.url("/#speak")) as page,
    ):
        await expect(page.locator("#tts-voice option")).not_to_have_count(0)
        await page.fill("#tts-text", "!!! ???")
        await page.click("#tts-go")
        await expect(page.locator("#tts-trouble")).to_contain_text("nothing that can be spoken")


async def test_services_that_are_down_are_named_with_the_command_that_starts_them() -> None:
    async with (
        serving(s2s(answering("ok"), asr_url=NOWHERE, tts_url=NOWHERE)) as server,
        chromium() as browser,
        opened(browser, server.url("/#transcribe")) as page,
    ):
        await expect(page.locator("#asr-down")).to_contain_text("./scripts/start_services.sh --only asr")
        await expect(page.locator("#choose-file")).to_be_disabled()
        await page.click("#tab-status")
        await expect(page.locator(".service .state")).to_have_text(["Running", "Not running", "Not running"])
