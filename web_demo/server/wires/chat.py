"""`/api/chat`: the wire protocol of PROTOCOL.md on a WebSocket, around a session."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import WSMsgType

from web_demo.audio.opus import OpusReader, OpusWriter
from web_demo.audio.pcm import Coding, PcmReader, PcmWriter
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE
from web_demo.errors import InvalidRequest
from web_demo.server import protocal
from web_demo.server.common import asker
from web_demo.server.common.api.chinese import said_in
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioDamaged,
    AudioIn,
    Cancel,
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
    TranscriptionFailed,
    TurnFull,
    Unreadable,
    Write,
    WrongItem,
    WrongToolResults,
)
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.ports import AudioReader, AudioWriter
from web_demo.server.conversation.turn import Refusal
from web_demo.server.wires.chat_settings import ChatSettings, pcm_rate, sampling_of, tool_results, update
from web_demo.server.wires.connection import Connection

_CONTROL: dict[protocal.Action, ClientEvent] = {
    protocal.Action.START: Start(),
    protocal.Action.END_TURN: EndTurn(),
    protocal.Action.PAUSE: EndTurn(),
    protocal.Action.RESTART: Restart(),
    protocal.Action.CANCEL: Cancel(),
}


class ChatWire:
    """Translates the events of one session to messages, and a client's messages to events. A `ServedWire`."""

    def __init__(self, connection: Connection) -> None:
        request = connection.request
        self.reader: AudioReader
        self.writer: AudioWriter
        if rate := pcm_rate(request.query):
            self.reader, self.writer = PcmReader(Coding.PCM16, rate), PcmWriter(Coding.PCM16, rate)
            self._header = b""
        else:
            self.reader, self.writer = OpusReader(SPEECH_RATE), (writer := OpusWriter(WIRE_RATE))
            self._header = writer.header
        self._settings = ChatSettings(
            SessionOptions(
                language=asker.language_of(request.headers.get("Accept-Language", "")) or "en",
                sampling=sampling_of(request.query),
            )
        )
        self._connection = connection
        self._taken = 0  # controls and written turns

    @property
    def options(self) -> SessionOptions:
        return self._settings.session

    async def incoming(self) -> AsyncGenerator[ClientEvent, None]:
        """Until the client hangs up."""
        async with aclosing(self._connection.messages()) as messages:
            async for message in messages:
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
                self._taken += 1
                return _CONTROL[action]
            case protocal.UserText(text):
                self._taken += 1
                return Write(text)
            case protocal.Metadata(data) if "tool_results" in data:
                return ToolResults(tool_results(data))
            case protocal.Metadata(data):
                self._settings = update(self._settings, data)
                return Configure(self._settings.session)
            case protocal.Ping():
                raise _NothingToDo

    async def send(self, event: ServerEvent) -> None:
        match event:
            case AnswerBegan():
                await self.send_message(protocal.Text("[Processing...]"))
            case ReplyText(_, delta):
                await self.send_message(protocal.Text(delta))
            case ReplyAudio(_, audio):
                header, self._header = self._header, b""
                await self.send_message(protocal.AudioData(header + audio.data))
            case AnswerEnded(_, text):
                await self.send_message(protocal.Text(f"\n[Final: {text}]"))
        if isinstance(event, Problem):
            await self.send_message(protocal.Error(said_in(self.options.language, in_words(event))))
        if self._settings.events and type(event) in EVENT_NAMES:
            told = _as_json(event) | {"taken": self._taken}
            if isinstance(event, Problem):
                told["message"] = said_in(self.options.language, told["message"])
            await self.send_message(protocal.Metadata(told))
        elif isinstance(event, ToolCalled):
            await self.send_message(protocal.Metadata(_as_json(event)))

    async def greet(self) -> None:
        await self.send_message(protocal.Handshake())

    async def refuse(self, message: str) -> None:
        """In words: browsers cannot read the status of a failed handshake."""
        await self.send_message(protocal.Error(said_in(self.options.language, message)))

    async def ping(self) -> None:
        await self.send_message(protocal.Ping())

    async def send_message(self, message: protocal.Message) -> None:
        """Raises ConnectionError when the client is gone."""
        await self._connection.send(protocal.encode(message))


class _NothingToDo(Exception):
    pass


EVENT_NAMES: dict[type[ServerEvent], str] = {
    AnswerBegan: "answer_began",
    Transcribed: "transcript",
    AnswerEnded: "answer_ended",
    TranscriptionFailed: "transcript_failed",
    Interrupted: "interrupted",
    SpeechBegan: "speech_began",
    SpeechEnded: "speech_ended",
    ToolCalled: "tool_call",
    Refused: "problem",
    WrongItem: "problem",
    WrongToolResults: "problem",
    Unreadable: "problem",
    AudioDamaged: "problem",
    TurnFull: "problem",
    AnswerFailed: "problem",
}


def _as_json(event: ServerEvent) -> dict[str, Any]:
    """A JSON event of PROTOCOL.md. Text and audio have messages of their own, items none at all, and so none here (KeyError)."""
    return {"event": EVENT_NAMES[type(event)]} | _fields(event)


def _fields(event: ServerEvent) -> dict[str, Any]:
    match event:
        case Transcribed(None, text):
            return {"text": text}
        case Transcribed(turn, text) | AnswerEnded(turn, text):
            return {"turn": turn, "text": text}
        case TranscriptionFailed(_, message):
            return {"message": message}
        case AnswerBegan(turn):
            return {"turn": turn}
        case Interrupted(turn, played, goes_on):
            return {"turn": turn, "heard": played} | ({"goes_on": True} if goes_on else {})
        case ToolCalled(turn, call):
            return {"turn": turn, "id": call.call_id, "name": call.name, "arguments": dict(call.arguments)}
        case AnswerFailed(turn, message):
            return {"message": message, "code": code_of(event), "turn": turn}
        case Refused() | WrongItem() | WrongToolResults() | Unreadable() | AudioDamaged() | TurnFull():
            return {"message": in_words(event), "code": code_of(event)}
    return {}


REFUSALS = {
    Refusal.ALREADY_ANSWERING: "this turn has already ended and its answer is on the way; send start to begin the next one",
    Refusal.ALREADY_OPEN: "a turn is already open: what you said since the first start is kept; end it with endTurn or pause",
    Refusal.NO_TURN: "no turn is open: audio is ignored after an answer until you send start",
    Refusal.NOTHING_SAID: "the turn has no audio yet: send Ogg-Opus audio messages before endTurn or pause",
    Refusal.NOTHING_TO_CANCEL: "no answer is under way",
    Refusal.NO_CALLS: "no answer waits for tool results",
}


PROBLEM_CODES: dict[type[Problem], str] = {
    WrongItem: "wrong_item",
    WrongToolResults: "wrong_tool_results",
    Unreadable: "unreadable",
    AudioDamaged: "audio_damaged",
    TurnFull: "turn_full",
    AnswerFailed: "answer_failed",  # where the error has no code of its own
}


def code_of(problem: Problem) -> str:
    """For a program that has words of its own for it."""
    match problem:
        case Refused(why):
            return why.name.lower()
        case AnswerFailed(_, _, code) if code:
            return code
    return PROBLEM_CODES[type(problem)]


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
        case Unreadable(text) | WrongItem(text) | AnswerFailed(_, text):
            return text
