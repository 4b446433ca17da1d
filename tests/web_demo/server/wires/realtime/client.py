"""A client of OpenAI Realtime over a real socket. Every event that comes is held against the types of the `openai` package."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from tests.talk import PATIENCE_S, Server
from tests.web_demo.server.common.realtime.checked import checked
from web_demo.audio.samples import Audio, to_int16

Json = dict[str, Any]


class Client:
    """`log` keeps all events that came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.log: list[Json] = []
        self._arrived = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="realtime client")

    async def _read(self) -> None:
        async for message in self.socket:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            async with self._arrived:
                self.log.append(checked(json.loads(message.data)))
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()

    # --- sending ---

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def configure(self, **session: Any) -> Json:
        here = len(self.log)
        await self.send("session.update", session={"type": "realtime", **session})
        return (await self.wait("session.updated", here))["session"]

    async def by_hand(self, **session: Any) -> Json:
        """The client commits, and asks for answers."""
        audio = {"input": {"turn_detection": None}}
        return await self.configure(audio=audio, **session)

    async def append(self, audio: Audio, message_s: float = 0.1) -> None:
        samples = to_int16(audio.at(24_000).samples)
        size = round(message_s * 24_000)
        for start in range(0, len(samples), size):
            data = samples[start : start + size].astype("<i2").tobytes()
            await self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    async def say(self, text: str, **item: Any) -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": content, **item}
        )

    async def ask(self, text: str, **response: Any) -> None:
        await self.say(text)
        await self.send("response.create", response=response)

    # --- receiving ---

    async def wait(self, kind: str, since: int = 0) -> Json:
        """The first event of this type from `since` on."""
        return self.log[await self.position(kind, since) - 1]

    async def position(self, kind: str, since: int = 0) -> int:
        async with self._arrived, asyncio.timeout(PATIENCE_S):
            position = since
            while True:
                while position < len(self.log):
                    position += 1
                    if self.log[position - 1]["type"] == kind:
                        return position
                assert not self._reading.done(), f"closed before {kind}: {self.types(since)[-5:]}"
                await self._arrived.wait()

    async def done(self, since: int = 0) -> Json:
        return (await self.wait("response.done", since))["response"]

    async def error(self, since: int = 0) -> Json:
        return (await self.wait("error", since))["error"]

    def of(self, kind: str, since: int = 0) -> list[Json]:
        return [event for event in self.log[since:] if event["type"] == kind]

    def types(self, since: int = 0) -> list[str]:
        return [event["type"] for event in self.log[since:]]

    def sound(self, since: int = 0) -> Audio:
        data = b"".join(base64.b64decode(event["delta"]) for event in self.of("response.output_audio.delta", since))
        return Audio(np.frombuffer(data, "<i2").astype(np.float32) / 32768, 24_000)

    @property
    def here(self) -> int:
        return len(self.log)

    async def close(self) -> None:
        await self.socket.close()
        await self._reading


@asynccontextmanager
async def connected(server: Server, query: str = "?model=any", **options: Any) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        client = Client(await http.ws_connect(server.url("/v1/realtime") + query, max_msg_size=0, **options))
        try:
            yield client
        finally:
            await client.close()
