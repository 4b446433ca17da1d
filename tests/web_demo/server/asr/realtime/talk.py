"""A client of realtime transcription on a real socket, that holds every event against the types of OpenAI's client."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientWebSocketResponse
from aiohttp.test_utils import TestClient

from tests.web_demo.server.common.realtime.checked import checked
from web_demo.audio.samples import Audio, to_int16

URL = "/v1/realtime"
TRANSCRIPTION = "conversation.item.input_audio_transcription"
TIMEOUT_S = 30.0


def pcm(audio: Audio, rate: int = 24_000) -> bytes:
    return to_int16(audio.at(rate).samples).astype("<i2").tobytes()


def silence(seconds: float, rate: int = 24_000) -> bytes:
    return bytes(2 * round(seconds * rate))


class Talk:
    """One session. `said` holds all events so far."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.check: Callable[[dict[str, Any]], dict[str, Any]] = checked
        self.said: list[dict[str, Any]] = []
        self._ids = itertools.count()

    async def send(self, kind: str, **fields: Any) -> str:
        """Returns the event's id."""
        event_id = f"mine_{next(self._ids)}"
        await self.socket.send_str(json.dumps({"type": kind, "event_id": event_id, **fields}))
        return event_id

    async def update(self, **input: Any) -> dict[str, Any]:
        """The session's input after it."""
        await self.send("session.update", session={"type": "transcription", "audio": {"input": input}})
        return (await self.until("session.updated"))["session"]["audio"]["input"]

    async def append(self, data: bytes, slice_bytes: int = 9_600) -> None:
        for start in range(0, len(data), slice_bytes):
            audio = base64.b64encode(data[start : start + slice_bytes]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            event = self.check(await self.socket.receive_json())
        self.said.append(event)
        return event

    async def until(self, kind: str, times: int = 1) -> dict[str, Any]:
        """The event of this type, after `times` - 1 others of it. An error that was not waited for fails the test."""
        while True:
            event = await self.next()
            assert event["type"] != "error" or kind == "error", event
            times -= event["type"] == kind
            if not times:
                return event

    async def completed(self, times: int = 1) -> dict[str, Any]:
        return await self.until(f"{TRANSCRIPTION}.completed", times)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.said if event["type"] == kind]

    @property
    def kinds(self) -> list[str]:
        """Types of all events but deltas."""
        return [event["type"] for event in self.said if not event["type"].endswith(".delta")]


@asynccontextmanager
async def talking(client: TestClient, **connect: Any) -> AsyncIterator[Talk]:
    connect.setdefault("params", {"intent": "transcription"})
    async with client.ws_connect(URL, **connect) as socket:
        talk = Talk(socket)
        assert (await talk.next())["type"] == "session.created"
        yield talk
