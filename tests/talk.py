"""A client of the chat protocol and a running S2S service, for tests over real sockets. Its Opus encoder is sphn's, so that
nothing of the service's own writer is needed to talk to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import sphn
from aiohttp import web

from web_demo.audio.opus import OpusReader
from web_demo.audio.samples import Audio
from web_demo.engines.base import Heard, S2sEngine, SpeechText, TextDelta
from web_demo.server import protocal
from web_demo.server.protocal import Action, AudioData, Control, Error, Message, Metadata, Text
from web_demo.server.s2s.service import SERVICE, S2sService
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app

PATIENCE_S = 20.0  # of tests for something that must come; never a measure


class Server:
    def __init__(self, app: web.Application, runner: web.AppRunner) -> None:
        self.app = app
        self.port: int = runner.addresses[0][1]
        self.runner = runner

    @property
    def service(self) -> S2sService:
        return self.app[SERVICE]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def metrics(self) -> dict[str, float]:
        async with aiohttp.ClientSession() as http, http.get(self.url("/metrics")) as response:
            lines = (await response.text()).splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


@asynccontextmanager
async def serving(app: web.Application, *, ready: bool = True, patience_s: float = PATIENCE_S) -> AsyncIterator[Server]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, lingering_time=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = Server(app, runner)
        if ready:
            await until(lambda: server.service.health.state()[0] != "loading", patience_s)
            assert server.service.health.state() == ("healthy", "")
        yield server
    finally:
        await runner.cleanup()


def s2s(engine: S2sEngine | None = None, **settings: Any) -> web.Application:
    return create_app(S2sSettings(port=0, **settings), engine)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0.01)


def tone(seconds: float, rate: int = 24_000) -> Audio:
    samples = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    return Audio(samples.astype(np.float32), rate)


def opus_pages(audio: Audio, writer: Any = None) -> list[bytes]:
    """Audio as messages of 40 ms, header first; pass a writer to go on with its stream."""
    writer = writer or sphn.OpusStreamWriter(24_000)
    samples = audio.at(24_000).samples
    samples = np.concatenate((samples, np.zeros(-len(samples) % 960, np.float32)))
    pages = (writer.append_pcm(samples[start : start + 960]) for start in range(0, len(samples), 960))
    return [page for page in pages if page]


class Talker:
    """One connection. `log` keeps (seconds since the connection, message) of all that came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.log: list[tuple[float, Message]] = []
        self._began = time.monotonic()
        self._arrived = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="talker")

    async def _read(self) -> None:
        async for message in self.socket:
            assert message.type is aiohttp.WSMsgType.BINARY, message
            async with self._arrived:
                self.log.append((time.monotonic() - self._began, protocal.decode(message.data)))
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()

    @property
    def closed(self) -> bool:
        return self._reading.done()

    def now(self) -> float:
        return time.monotonic() - self._began

    # --- sending ---

    async def send(self, message: Message | str | bytes) -> None:
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message if isinstance(message, bytes) else protocal.encode(message))

    async def start(self) -> None:
        await self.send(Control(Action.START))

    async def end_turn(self) -> None:
        await self.send(Control(Action.END_TURN))

    async def configure(self, **data: Any) -> None:
        await self.send(Metadata(data))

    async def speak(self, audio: Audio, writer: Any = None) -> None:
        for page in opus_pages(audio, writer):
            await self.send(AudioData(page))

    async def ask(self, audio: Audio | None = None) -> None:
        """A whole turn, without `start`."""
        await self.speak(audio or tone(0.4))
        await self.end_turn()

    # --- receiving ---

    async def wait_for(self, wanted: Callable[[Message], bool], since: int = 0) -> int:
        """The position after the first message from `since` on that is wanted."""
        async with self._arrived, asyncio.timeout(PATIENCE_S):
            position = since
            while True:
                while position < len(self.log):
                    position += 1
                    if wanted(self.log[position - 1][1]):
                        return position
                assert not self.closed, f"closed ({self.socket.close_code}) before it came: {self.messages(since)[-5:]}"
                await self._arrived.wait()

    async def final(self, since: int = 0) -> int:
        return await self.wait_for(lambda m: isinstance(m, Text) and m.text.startswith("\n[Final: "), since)

    async def error(self, since: int = 0) -> str:
        position = await self.wait_for(lambda m: isinstance(m, Error), since)
        message = self.log[position - 1][1]
        assert isinstance(message, Error)
        return message.message

    async def audio(self, since: int = 0) -> int:
        return await self.wait_for(lambda m: isinstance(m, AudioData), since)

    async def event(self, name: str, since: int = 0) -> dict[str, Any]:
        position = await self.wait_for(lambda m: isinstance(m, Metadata) and m.data.get("event") == name, since)
        message = self.log[position - 1][1]
        assert isinstance(message, Metadata)
        return dict(message.data)

    def messages(self, since: int = 0) -> list[Message]:
        return [message for _, message in self.log[since:]]

    def texts(self, since: int = 0) -> list[str]:
        return [message.text for message in self.messages(since) if isinstance(message, Text)]

    def errors(self, since: int = 0) -> list[str]:
        return [message.message for message in self.messages(since) if isinstance(message, Error)]

    def sound(self, since: int = 0) -> Audio:
        """All audio that came, decoded as one stream."""
        reader = OpusReader(24_000)
        for message in self.messages(since):
            if isinstance(message, AudioData):
                reader.push(message.payload)
        return Audio(reader.decode().samples, 24_000)

    async def close(self) -> None:
        await self.socket.close()
        await self._reading


@asynccontextmanager
async def talking(server: Server, query: str = "", **options: Any) -> AsyncIterator[Talker]:
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(server.url("/api/chat") + query, max_msg_size=0, **options)
        talker = Talker(socket)
        try:
            yield talker
        finally:
            await talker.close()


# --- scripts of engines, and what comes of them ---


def say(*sentences: str):
    """A script: hear the turn, if it was spoken, then say these sentences."""
    return lambda turn: [
        *([Heard(f"{turn.audio.seconds:.1f} s")] if turn.audio is not None else []),
        *(step for sentence in sentences for step in (TextDelta(sentence + " "), SpeechText(sentence))),
    ]


LONG = "x" * 200  # ten seconds of tone


def loud_s(audio: Audio) -> float:
    """Seconds of `audio` that are not silent."""
    frames = audio.samples[: len(audio.samples) // 240 * 240].reshape(-1, 240)
    return float((np.abs(frames).max(axis=1) > 0.05).sum() * 0.01)
