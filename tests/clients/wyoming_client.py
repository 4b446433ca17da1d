"""Home Assistant, by way of wyoming-openai: https://github.com/roryeckel/wyoming_openai

Home Assistant speaks the Wyoming protocol to that proxy, and the proxy OpenAI's to the services. It needs Python 3.12, so this
program runs only where an environment with it and numpy is named: WYOMING_PYTHON=…/bin/python.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize

from tests.clients.report import ASR, KEY, SPEECH, TTS, require, require_words, run, version_of

ENVIRONMENT = {
    "STT_OPENAI_URL": f"{ASR}/v1",
    "STT_OPENAI_KEY": KEY,
    "STT_MODELS": "whisper-1",
    "TTS_OPENAI_URL": f"{TTS}/v1",
    "TTS_OPENAI_KEY": KEY,
    "TTS_MODELS": "tts-1",
    "TTS_VOICES": "英文女",
    "WYOMING_LANGUAGES": "en",
}


@asynccontextmanager
async def proxy() -> AsyncIterator[AsyncClient]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wyoming_openai", env={**os.environ, **ENVIRONMENT, "WYOMING_URI": uri}
    )
    try:
        while True:
            try:
                async with AsyncClient.from_uri(uri) as client:
                    yield client
                return
            except ConnectionRefusedError:
                require(process.returncode is None, "the proxy ended")
                await asyncio.sleep(0.2)
    finally:
        process.terminate()
        await process.wait()


async def transcribe() -> str:
    async with proxy() as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        require(info.asr and info.tts, "the proxy offers nothing")
        await client.write_event(Transcribe(language="en").event())
        with wave.open(str(SPEECH)) as file:
            rate, data = file.getframerate(), file.readframes(file.getnframes())
        await client.write_event(AudioStart(rate, 2, 1).event())
        for start in range(0, len(data), 4096):
            await client.write_event(AudioChunk(rate, 2, 1, data[start : start + 4096]).event())
        await client.write_event(AudioStop().event())
        while event := await client.read_event():
            if Transcript.is_type(event.type):
                return require_words(Transcript.from_event(event).text)
    raise AssertionError("no transcript")


async def speak() -> None:
    async with proxy() as client:
        await client.write_event(Synthesize("Good morning!").event())
        heard = 0
        while event := await client.read_event():
            if AudioChunk.is_type(event.type):
                heard += len(AudioChunk.from_event(event).audio)
            elif AudioStop.is_type(event.type):
                require(heard > 24_000, f"{heard} bytes of sound")
                return
    raise AssertionError("no sound")


if __name__ == "__main__":
    run(
        "Home Assistant (wyoming-openai)",
        version_of("wyoming-openai"),
        {"transcribe": transcribe, "speak streamed": speak},
    )
