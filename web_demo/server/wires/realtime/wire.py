"""`/v1/realtime`: conversations by OpenAI's Realtime protocol (REALTIME.md), around a session."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from utils.bucket import TokenBucket
from web_demo.errors import Unavailable
from web_demo.server.common.access import subprotocols
from web_demo.server.common.realtime.beta import HEADER, Dialect, is_spoken
from web_demo.server.common.realtime.events import Event, error_event, event, read, text_of
from web_demo.server.common.realtime.fields import EventError
from web_demo.server.conversation.events import ClientEvent, ServerEvent
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.ports import AudioWriter
from web_demo.server.wires.chat_settings import language_of
from web_demo.server.wires.connection import Connection
from web_demo.server.wires.realtime.asking import Asking
from web_demo.server.wires.realtime.settings import Settings, begun
from web_demo.server.wires.realtime.sound import SwitchingReader
from web_demo.server.wires.realtime.telling import Telling

SUBPROTOCOLS = ("realtime",)  # what a browser's client is answered with; its key stands in another one that it offers
EVENTS_AHEAD, EVENTS_PER_S = 1000.0, 400.0
UNIT_BYTES = 16 << 10  # of an event, or of an answer to it, that cost what an event costs


class RealtimeWire:
    """A `ServedWire`. `?paced=false`: answers come as fast as they are made, for who makes files of them."""

    def __init__(self, connection: Connection) -> None:
        query = connection.request.query
        language = language_of(connection.request.headers.get("Accept-Language", "")) or "en"
        settings = begun(query.get("model", "")[:200], language, paced=query.get("paced", "").lower() not in _NO)
        self._connection = connection
        self._telling = Telling(lambda: self._settings)
        self._asking = Asking(settings, self._telling, time.monotonic)
        beta = is_spoken(connection.request.headers.get(HEADER, ""), subprotocols(connection.request))
        self._dialect = Dialect(beta, self._telling.conversation_id)
        self._budget = TokenBucket(EVENTS_AHEAD, EVENTS_PER_S, time.monotonic)
        self.reader = SwitchingReader(settings.heard.format)
        self._writer = settings.spoken.format, settings.spoken.format.writer()
        self._outbox: deque[str] = deque()
        self._sending = asyncio.Lock()

    @property
    def _settings(self) -> Settings:
        return self._asking.settings

    @property
    def options(self) -> SessionOptions:
        return self._settings.options

    @property
    def writer(self) -> AudioWriter:
        return self._writer[1]

    async def greet(self) -> None:
        await self._send([event("session.created", session=self._settings.fields)])

    async def refuse(self, message: str) -> None:
        await self._send([error_event(Unavailable(message))])

    async def ping(self) -> None:
        await self._connection.ping()

    async def incoming(self) -> AsyncGenerator[ClientEvent, None]:
        """Until the client hangs up. Who sends more events than a conversation can need is read more slowly."""
        async with aclosing(self._connection.messages()) as messages:
            async for message in messages:
                self._budget.take(1 + len(message.data) / UNIT_BYTES)
                self._telling.asking = ("", None)
                try:
                    async with aclosing(self._steps(message.data)) as steps:
                        async for step in steps:
                            yield step
                except EventError as error:
                    await self._send([error_event(error, self._telling.asking[1])])
                if (wait_s := self._budget.wait_s) > 0:
                    await asyncio.sleep(wait_s)

    async def _steps(self, message: bytes) -> AsyncGenerator[ClientEvent, None]:
        asked = read(message)
        self._telling.asking = (asked.type, asked.event_id)
        async with aclosing(self._asking.steps(self._dialect.heard(asked))) as steps:
            async for step in steps:
                if not isinstance(step, dict):
                    yield step
                    self._change_formats()
                else:
                    await self._send([step])

    def _change_formats(self) -> None:
        self.reader.change(self._settings.heard.format)
        if (audio := self._settings.spoken.format) != self._writer[0]:
            self._writer = audio, audio.writer()

    async def send(self, event: ServerEvent) -> None:
        await self._send(self._telling.tell(event))

    async def _send(self, events: Iterable[Event]) -> None:
        """All of them, in order, also if who sends is cancelled between two: the next one sends the rest first."""
        for one in (said for told in events for said in self._dialect.said(told)):
            text = text_of(one)
            self._budget.take(len(text) / UNIT_BYTES if one["type"] == "session.updated" else 0)
            self._outbox.append(text)
        async with self._sending:
            while self._outbox:
                await self._connection.send_text(self._outbox.popleft())


_NO = ("false", "0", "no", "off")
