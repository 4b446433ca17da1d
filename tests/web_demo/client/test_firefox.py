"""The page in Firefox: talking with Opus and without, writing, both languages, wide and narrow.

One Firefox for all of it, as its start takes seconds. Its sound needs somewhere to go, else it waits for ever: a PulseAudio
server of its own, with a sink that nobody hears.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.talk import serving
from tests.web_demo.client import firefox as firefoxes
from tests.web_demo.client.browser import MEASURE_OUTPUT, answering, eventually, s2s
from tests.web_demo.client.firefox import Firefox, firefox
from tests.web_demo.client.test_appearance import SCREENSHOTS

NEEDED = {"firefox-esr": firefoxes.executable(), "pulseaudio": shutil.which("pulseaudio")}
MISSING = [name for name, found in NEEDED.items() if not found]
pytestmark = [
    pytest.mark.long,
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"Firefox is not tried here: apt-get install {' '.join(MISSING)}"),
]
REPLY = "Ten meters it is."
IDLE = "document.getElementById('main-button').dataset.phase === 'idle'"
DONE = f"document.querySelectorAll('.message.assistant.done').length === {{count}} && {IDLE}"


@asynccontextmanager
async def loudspeaker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    socket = folder / "sound.socket"
    environment = os.environ | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
        *("--load=module-null-sink rate=48000", f"--load=module-native-protocol-unix auth-anonymous=1 socket={socket}"),
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: asyncio.sleep(0, socket.exists()))
        monkeypatch.setenv("PULSE_SERVER", f"unix:{socket}")
        yield
    finally:
        process.terminate()
        await process.wait()


async def keep(page: Firefox, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread((SCREENSHOTS / f"{name}.png").write_bytes, await page.shot())


async def test_talking_and_writing_work_with_opus_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = answering(REPLY)
    async with loudspeaker(tmp_path, monkeypatch), serving(s2s(engine)) as server, firefox() as page:
        await page.before_load(MEASURE_OUTPUT)
        for codec in ("opus", "pcm"):
            if codec == "pcm":
                await page.before_load("delete window.AudioEncoder")
            await page.open(server.url("/"))
            await page.click("#main-button")
            await page.until(IDLE)
            await page.press(" ", hold_s=0.7)
            await page.until("loudness() > 0.02")
            await page.until(DONE.format(count=1))
            await page.evaluate("document.getElementById('write-text').value = 'And then?'")
            await page.click("#write-send")
            await page.until(DONE.format(count=2))
            await keep(page, f"firefox-{codec}-conversation")
        await page.resize(390, 844)
        await keep(page, "firefox-phone-conversation")
    spoken, written, spoken_as_pcm, _ = engine.turns
    for turn in (spoken, spoken_as_pcm):
        assert turn.audio is not None
        assert 0.5 < turn.audio.seconds < 2.5
        assert np.sqrt(np.mean(turn.audio.samples**2)) > 0.01, "the microphone's tone reached the engine"
    assert (written.text, written.audio) == ("And then?", None)
