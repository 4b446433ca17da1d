"""`/api/chat`: the wire protocol of PROTOCOL.md on a WebSocket, around a session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from web_demo.audio.opus import OpusReader, OpusWriter
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE
from web_demo.errors import InvalidRequest
from web_demo.server import protocal
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioDamaged,
    AudioIn,
    ClientEvent,
    Configure,
    EndTurn,
    Interrupted,
    Malformed,
    Problem,
    Refused,
    ReplyAudio,
    ReplyText,
    Restart,
    ServerEvent,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolCalled,
    ToolResults,
    Transcribed,
    TurnFull,
    Unreadable,
    WrongToolResults,
)
from web_demo.server.conversation.options import SessionOptions, language_of, sampling_of, tool_results, update
from web_demo.server.conversation.turn import Refusal

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20  # above it the connection ends; below it an oversized message is refused in words
KEEPALIVE_S = 8.0  # the public client hangs up after 30 s of silence
SEND_TIMEOUT_S = 15.0  # a client that takes nothing for so long is gone
SEND_BUFFER_BYTES = (
    8 * 1024
)  # what may wait in the process: about a second of audio, which an interruption cannot recall

_CONTROL: dict[protocal.Action, ClientEvent] = {
    protocal.Action.START: Start(),
    protocal.Action.END_TURN: EndTurn(),
    protocal.Action.PAUSE: EndTurn(),
    protocal.Action.RESTART: Restart(),
}


def new_socket() -> web.WebSocketResponse:
    return web.WebSocketResponse(
        max_msg_size=MAX_MESSAGE_BYTES,
        heartbeat=30.0,
        compress=False,  # Opus does not shrink
        writer_limit=SEND_BUFFER_BYTES,
        decode_text=False,  # bad UTF-8 is answered in words instead of ending the connection
    )


class ChatWire:
    """One client's connection: translates events to messages, and messages to events."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.reader = OpusReader(SPEECH_RATE)
        self.writer = OpusWriter(WIRE_RATE)
        self.options = SessionOptions(
            language=language_of(request.headers.get("Accept-Language", "")) or "en",
            sampling=sampling_of(request.query),
        )
        self._request = request
        self._socket = socket
        self._header_sent = False
        self._sent_at = time.monotonic()
        self._sending = 0  # messages that wait for the client to take them

    async def incoming(self) -> AsyncGenerator[ClientEvent, None]:
        """Until the client hangs up."""
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            try:
                data = message.data.decode() if message.type is WSMsgType.TEXT else message.data
                yield self._event(protocal.decode_client(data))
            except UnicodeDecodeError as error:
                yield Malformed(f"the text message is not valid UTF-8: {error.reason} at byte {error.start}")
            except (protocal.ProtocolError, InvalidRequest) as error:
                yield Malformed(str(error))
            except _NothingToDo:
                continue

    def _event(self, message: protocal.ClientMessage) -> ClientEvent:
        match message:
            case protocal.AudioData(payload):
                return AudioIn(payload)
            case protocal.Control(action):
                return _CONTROL[action]
            case protocal.Metadata(data) if "tool_results" in data:
                return ToolResults(tool_results(data))
            case protocal.Metadata(data):
                self.options = update(self.options, data)
                return Configure(self.options)
            case protocal.Ping():
                raise _NothingToDo

    async def send(self, event: ServerEvent) -> None:
        match event:
            case AnswerBegan():
                await self.send_message(protocal.Text("[Processing...]"))
            case ReplyText(_, delta):
                await self.send_message(protocal.Text(delta))
            case ReplyAudio(_, audio):
                header = b"" if self._header_sent else self.writer.header
                self._header_sent = True
                await self.send_message(protocal.AudioData(header + audio.data))
            case AnswerEnded(_, text):
                await self.send_message(protocal.Text(f"\n[Final: {text}]"))
        if isinstance(event, Problem):
            await self.send_message(protocal.Error(in_words(event)))
        if isinstance(event, ToolCalled) or (self.options.events and not isinstance(event, ReplyText | ReplyAudio)):
            await self.send_message(protocal.Metadata(_as_json(event)))

    async def send_message(self, message: protocal.Message) -> None:
        """Raises ConnectionError when the client is gone."""
        self._sending += 1
        try:
            await self._socket.send_bytes(protocal.encode(message))
        finally:
            self._sending -= 1
        self._sent_at = time.monotonic()

    async def keep_alive(self) -> None:
        """For ever: a message whenever none was sent for a while, and the end of a client that takes none."""
        while True:
            await asyncio.sleep(max(self._sent_at + KEEPALIVE_S - time.monotonic(), 0.05))
            silent_s = time.monotonic() - self._sent_at
            if self._sending and silent_s >= SEND_TIMEOUT_S and self._request.transport is not None:
                log.warning("a client took nothing for %.0f s: hanging up", silent_s)
                self._request.transport.abort()  # whoever is sending gets a ConnectionError
            elif not self._sending and silent_s >= KEEPALIVE_S:
                with suppress(ConnectionError):  # the reader ends the session
                    await self.send_message(protocal.Ping())

    async def refuse(self, message: str) -> None:
        """Instead of a session. In words and as a close code: browsers cannot read the status of a failed handshake."""
        with suppress(ConnectionError):
            await self.send_message(protocal.Error(message))
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=message.encode()[:120])

    async def close(self, code: WSCloseCode) -> None:
        await self._socket.close(code=code)

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code


class _NothingToDo(Exception):
    pass


EVENT_NAMES: dict[type[ServerEvent], str] = {
    AnswerBegan: "answer_began",
    Transcribed: "transcript",
    AnswerEnded: "answer_ended",
    Interrupted: "interrupted",
    SpeechBegan: "speech_began",
    SpeechEnded: "speech_ended",
    ToolCalled: "tool_call",
    Refused: "problem",
    WrongToolResults: "problem",
    Unreadable: "problem",
    AudioDamaged: "problem",
    TurnFull: "problem",
    AnswerFailed: "problem",
}


def _as_json(event: ServerEvent) -> dict[str, Any]:
    """A JSON event of PROTOCOL.md. Text and audio have messages of their own, and so none here (KeyError)."""
    return {"event": EVENT_NAMES[type(event)]} | _fields(event)


def _fields(event: ServerEvent) -> dict[str, Any]:
    match event:
        case Transcribed(turn, text) | AnswerEnded(turn, text):
            return {"turn": turn, "text": text}
        case AnswerBegan(turn):
            return {"turn": turn}
        case Interrupted(turn, played):
            return {"turn": turn, "heard": played}
        case ToolCalled(turn, call):
            return {"turn": turn, "id": call.call_id, "name": call.name, "arguments": dict(call.arguments)}
        case AnswerFailed(turn, message):
            return {"message": message, "turn": turn}
        case Refused() | WrongToolResults() | Unreadable() | AudioDamaged() | TurnFull():
            return {"message": in_words(event)}
    return {}


REFUSALS = {
    Refusal.ALREADY_ANSWERING: "this turn has already ended and its answer is on the way; send start to begin the next one",
    Refusal.ALREADY_OPEN: "a turn is already open: what you said since the first start is kept; end it with endTurn or pause",
    Refusal.NO_TURN: "no turn is open: audio is ignored after an answer until you send start",
    Refusal.NOTHING_SAID: "the turn has no audio yet: send Ogg-Opus audio messages before endTurn or pause",
    Refusal.NO_CALLS: "no answer waits for tool results",
}


def in_words(problem: Problem) -> str:
    """For a person who writes a client of this protocol."""
    match problem:
        case Refused(why):
            return REFUSALS[why]
        case WrongToolResults(call_ids):
            return f"tool_results must have one result for each of {', '.join(call_ids)}"
        case AudioDamaged(packets):
            return f"{packets} Opus packet(s) were damaged and left out"
        case TurnFull(max_s):
            return f"a turn may last {max_s:g} s: it is ended here and answered; go on in the next turn"
        case Unreadable(text) | AnswerFailed(_, text):
            return text
