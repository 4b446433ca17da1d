"""An ordinary user of the page, who does everything through its one address, and checks what comes back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from scripts.benchmarks.load.own_service import ROOT
from web_demo.audio.opus import OpusWriter
from web_demo.audio.samples import WIRE_RATE, from_wav
from web_demo.server.protocal import Action, AudioData, Control, Error, Metadata, Text, decode, encode

RECORDING = ROOT / "scripts" / "data" / "go_forward_ten_meters.wav"
SAID = "forward"  # in the recording
SENTENCE = "Good morning, it is half past nine."
PATIENCE_S = 60.0


class Wrong(Exception):
    """A user got something else than a right answer; the message says what."""


class Refused(Exception):
    """The service is full, and says so."""


def failed(reason: str) -> Exception:
    """What an error message in a conversation is to a user."""
    return Refused(reason) if "in use" in reason or "are yours" in reason else Wrong(f"a turn ended with: {reason}")


class User:
    """Each of its three acts takes one request, and returns its seconds. Raises Wrong and Refused."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._wav = RECORDING.read_bytes()
        writer = OpusWriter(WIRE_RATE)
        speech = from_wav(self._wav).at(WIRE_RATE).samples
        pages = [page.data for page in (*writer.write(speech), *writer.flush())]
        self.messages = [encode(AudioData(writer.header + pages[0])), *(encode(AudioData(page)) for page in pages[1:])]

    async def turn(self, *, whole: bool = False) -> float:
        """A new conversation, in which the recording is said at once. Seconds from the end of the turn to the first audio;
        `whole` listens to the end of the answer."""
        heard, first_s = "", None
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                self._http.ws_connect(f"{self._url}/api/chat", max_msg_size=0, compress=0) as socket,
            ):
                await socket.send_bytes(encode(Metadata({"events": True})))
                for message in self.messages:
                    await socket.send_bytes(message)
                await socket.send_bytes(encode(Control(Action.END_TURN)))
                began = time.monotonic()
                async for frame in socket:
                    match decode(frame.data):
                        case AudioData() if first_s is None:
                            first_s = time.monotonic() - began
                        case Metadata(data) if data.get("event") == "transcript":
                            heard = data["text"]
                        case Error(reason):
                            raise failed(reason)
                        case Text(text) if text.startswith("\n[Final: "):
                            break
                    if first_s is not None and not whole:
                        break
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Wrong(f"a turn broke off: {error or type(error).__name__}") from error
        if SAID not in heard or first_s is None:
            raise Wrong(f"a turn was heard as {heard!r}, and its first audio came after {first_s} s")
        return first_s

    async def transcription(self) -> float:
        form = aiohttp.FormData()
        form.add_field("audio", self._wav, filename="speech.wav", content_type="audio/wav")
        began = time.monotonic()
        body = await self._post("/api/transcribe", data=form)
        if SAID not in str(body):
            raise Wrong(f"a transcription came back as {body[:200]!r}")
        return time.monotonic() - began

    async def synthesis(self) -> float:
        began = time.monotonic()
        body = await self._post("/api/synthesize", json={"text": SENTENCE, "speaker_id": "英文女"})
        if b'"success": true' not in body:
            raise Wrong(f"a synthesis came back as {body[:200]!r}")
        return time.monotonic() - began

    async def _post(self, path: str, **body: Any) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE_S), self._http.post(f"{self._url}{path}", **body) as response:
                content = await response.read()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Wrong(f"{path} broke off: {error or type(error).__name__}") from error
        if response.status == 429:
            raise Refused(f"{path}: {content[:200]!r}")
        if response.status != 200:
            raise Wrong(f"{path} answered {response.status}: {content[:200]!r}")
        return content
