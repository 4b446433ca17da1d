"""One client's WebSocket, whatever is spoken on it: kept alive, given up, refused, and ended when the service shuts down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from web_demo.server.conversation.events import ClientEvent
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.ports import Wire
from web_demo.server.conversation.session import Session

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20  # above it the connection ends; below it an oversized message is refused in words
KEEPALIVE_S = 8.0  # the public client hangs up after 30 s of silence
HEARTBEAT_S = 30.0  # a peer that answers no ping half of this later is gone
SEND_TIMEOUT_S = 15.0  # a client that takes nothing for so long is gone
SEND_BUFFER_BYTES = (
    8 * 1024
)  # what may wait in the process: about a second of audio, which an interruption cannot recall


class ServedWire(Wire, Protocol):
    """A wire as a connection drives it. All but `incoming` raise ConnectionError when the client is gone."""

    @property
    def options(self) -> SessionOptions: ...  # at the beginning

    async def greet(self) -> None:
        """The first message: the conversation is open."""
        ...

    async def refuse(self, message: str) -> None:
        """The only message, instead of a conversation. The connection is then closed."""
        ...

    async def ping(self) -> None:
        """Any message that changes nothing."""
        ...

    def incoming(self) -> AsyncGenerator[ClientEvent, None]:
        """Until the client hangs up."""
        ...


class Connection:
    """`protocols`: the subprotocols of which a client may choose one."""

    def __init__(self, request: web.Request, protocols: Sequence[str] = ()) -> None:
        self.request = request
        self.socket = web.WebSocketResponse(
            protocols=protocols,
            max_msg_size=MAX_MESSAGE_BYTES,
            heartbeat=HEARTBEAT_S,
            compress=False,  # Opus does not shrink
            writer_limit=SEND_BUFFER_BYTES,
            decode_text=False,  # bad UTF-8 is answered in words instead of ending the connection
        )
        self._sent_at = time.monotonic()
        self._sending = 0  # messages that wait for the client to take them

    @classmethod
    async def open(cls, request: web.Request, protocols: Sequence[str] = ()) -> Connection:
        connection = cls(request, protocols)
        await connection.socket.prepare(request)
        return connection

    async def messages(self) -> AsyncGenerator[WSMessage, None]:
        """Binary and text messages, both with bytes, until the client hangs up."""
        async for message in self.socket:
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                yield message

    async def send(self, data: bytes) -> None:
        """A binary message. Raises ConnectionError when the client is gone, as `send_text` does."""
        await self._send(self.socket.send_bytes(data))

    async def send_text(self, text: str) -> None:
        await self._send(self.socket.send_str(text))

    async def ping(self) -> None:
        """A ping of WebSocket itself, which no client sees as a message."""
        await self._send(self.socket.ping())

    async def _send(self, sending: Coroutine[Any, Any, None]) -> None:
        self._sending += 1
        try:
            await sending
        finally:
            self._sending -= 1
        self._sent_at = time.monotonic()

    async def refuse(self, wire: ServedWire, message: str) -> None:
        with suppress(ConnectionError):
            await wire.refuse(message)
        await self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=message.encode()[:120])

    async def converse(self, session: Session, wire: ServedWire, draining: asyncio.Event) -> str:
        """The session beside its keep-alive and its end on shutdown, which `draining` announces. Returns how it ended."""
        outcome = "hang-up"
        companions = [
            asyncio.create_task(self._keep_alive(wire), name=f"keep-alive-{session.id}"),
            asyncio.create_task(self._end_on_shutdown(session, draining), name=f"drain-{session.id}"),
        ]
        try:
            await wire.greet()
            await session.run(wire.incoming())
            if draining.is_set():
                outcome = "shutdown"
        except* ConnectionError:
            outcome = "lost"
        except* Exception:
            log.exception("session failed session=%s", session.id)
            outcome = "failed"
            await self.socket.close(code=WSCloseCode.INTERNAL_ERROR)
        finally:
            for task in companions:
                task.cancel()
            await asyncio.gather(*companions, return_exceptions=True)
        return outcome

    async def _keep_alive(self, wire: ServedWire) -> None:
        """For ever: a message whenever none was sent for a while, and the end of a client that takes none."""
        while True:
            await asyncio.sleep(max(self._sent_at + KEEPALIVE_S - time.monotonic(), 0.05))
            silent_s = time.monotonic() - self._sent_at
            if self._sending and silent_s >= SEND_TIMEOUT_S and self.request.transport is not None:
                log.warning("a client took nothing for %.0f s: hanging up", silent_s)
                self.request.transport.abort()  # whoever is sending gets a ConnectionError
            elif not self._sending and silent_s >= KEEPALIVE_S:
                with suppress(ConnectionError):  # the reader ends the session
                    await wire.ping()

    async def _end_on_shutdown(self, session: Session, draining: asyncio.Event) -> None:
        await draining.wait()
        await session.idle()
        await self.socket.close(code=WSCloseCode.GOING_AWAY)
