"""The S2S wire protocol: bytes to message and message to bytes, both directions, no I/O. PROTOCOL.md is its one page.

A message is one WebSocket message. Binary: the first byte is the type. Text: JSON, for turns in writing, control and metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

MAX_AUDIO_BYTES = 256 * 1024  # a minute of Opus at the highest usual rate; a message is normally 20 to 80 ms of it
MAX_JSON_BYTES = 64 * 1024
MAX_TURN_CHARACTERS = 8_000  # of a turn in writing


class MessageType(IntEnum):
    HANDSHAKE = 0x00
    AUDIO = 0x01
    TEXT = 0x02
    CONTROL = 0x03
    METADATA = 0x04
    ERROR = 0x05
    PING = 0x06
    COLORED_TEXT = 0x07


class Action(IntEnum):
    START = 0
    END_TURN = 1
    PAUSE = 2
    RESTART = 3
    CANCEL = 4


ACTION_NAMES = {
    "start": Action.START,
    "endTurn": Action.END_TURN,
    "pause": Action.PAUSE,
    "restart": Action.RESTART,
    "cancel": Action.CANCEL,
}
_NAME_OF_ACTION = {action: name for name, action in ACTION_NAMES.items()}


class ProtocolError(ValueError):
    """A message that is not of the protocol. Its text is meant for whoever wrote the other side."""


@dataclass(frozen=True)
class Handshake:
    version: int = 0
    model: int = 0


@dataclass(frozen=True)
class AudioData:
    """A slice of an Ogg-Opus byte stream; it may begin and end anywhere."""

    payload: bytes


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class UserText:
    """A turn of the user in writing; from the client, as JSON alone."""

    text: str


@dataclass(frozen=True)
class Control:
    action: Action


@dataclass(frozen=True)
class Metadata:
    """A JSON object. From the client: settings of the session. From the server: an event, to clients that asked."""

    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    message: str


@dataclass(frozen=True)
class Ping:
    pass


@dataclass(frozen=True)
class ColoredText:
    color: int
    text: str


Message = Handshake | AudioData | Text | UserText | Control | Metadata | Error | Ping | ColoredText
ClientMessage = AudioData | UserText | Control | Metadata | Ping


def encode(message: Message) -> bytes:
    """The binary form. Raises ValueError for a number that does not fit its byte, and for what has no such form."""
    match message:
        case Handshake(version, model):
            return bytes((MessageType.HANDSHAKE, version, model))
        case AudioData(payload):
            return b"\x01" + payload
        case Text(text):
            return b"\x02" + text.encode()
        case Control(action):
            return bytes((MessageType.CONTROL, action))
        case Metadata(data):
            return b"\x04" + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        case Error(text):
            return b"\x05" + text.encode()
        case Ping():
            return b"\x06"
        case ColoredText(color, text):
            return bytes((MessageType.COLORED_TEXT, color)) + text.encode()
        case UserText():
            raise ValueError("a turn in writing is sent as JSON: encode_json")


def encode_json(message: UserText | Control | Metadata) -> str:
    """The JSON text form, which exists for a turn in writing, control and metadata."""
    if isinstance(message, UserText):
        return json.dumps({"type": "text", "text": message.text}, ensure_ascii=False)
    if isinstance(message, Control):
        return json.dumps({"type": "control", "action": _NAME_OF_ACTION[message.action]})
    return json.dumps({"type": "metadata", "data": message.data}, ensure_ascii=False)


def decode(frame: bytes | str) -> Message:
    """One WebSocket message, of either direction and either form. Raises ProtocolError."""
    return _decode_json(frame) if isinstance(frame, str) else _decode_binary(frame)


def decode_client(frame: bytes | str) -> ClientMessage:
    """What a server accepts: audio, control, metadata and ping, within the caps on their size."""
    limit = MAX_AUDIO_BYTES if isinstance(frame, bytes) and frame[:1] == b"\x01" else MAX_JSON_BYTES
    size = len(frame) if isinstance(frame, bytes) or len(frame) > limit else len(frame.encode(errors="replace"))
    if size > limit:
        raise ProtocolError(f"the message has {size} bytes; at most {limit} are taken of this type")
    message = decode(frame)
    if not isinstance(message, ClientMessage):
        kind = type(message).__name__.lower()
        raise ProtocolError(f"a {kind} message goes from the server to the client, not the other way")
    return message


def _decode_binary(frame: bytes) -> Message:
    if not frame:
        raise ProtocolError("the message is empty; its first byte must be the type")
    kind, payload = frame[0], frame[1:]
    match kind:
        case MessageType.HANDSHAKE:
            _expect_length("handshake", payload, 2)
            return Handshake(payload[0], payload[1])
        case MessageType.AUDIO:
            if not payload:
                raise ProtocolError("the audio message is empty; it must carry bytes of an Ogg-Opus stream")
            return AudioData(payload)
        case MessageType.TEXT:
            return Text(_utf8("text", payload))
        case MessageType.CONTROL:
            _expect_length("control", payload, 1)
            if payload[0] not in _NAME_OF_ACTION:
                raise ProtocolError(f"unknown control action {payload[0]}; there are {_known_actions()}")
            return Control(Action(payload[0]))
        case MessageType.METADATA:
            return Metadata(_json_object("metadata", _utf8("metadata", payload)))
        case MessageType.ERROR:
            return Error(_utf8("error", payload))
        case MessageType.PING:
            return Ping()
        case MessageType.COLORED_TEXT:
            if not payload:
                raise ProtocolError("the coloured text message has no colour byte")
            return ColoredText(payload[0], _utf8("coloured text", payload[1:]))
        case _:
            raise ProtocolError(f"unknown message type 0x{kind:02x}; types are 0x00 to 0x07")


def _decode_json(frame: str) -> Message:
    value = _json_object("text message", frame)
    match value.get("type"):
        case "control":
            name = value.get("action")
            if not isinstance(name, str) or name not in ACTION_NAMES:
                raise ProtocolError(f"unknown control action {_shown(name)}; there are {_known_actions()}")
            return Control(ACTION_NAMES[name])
        case "metadata":
            data = value.get("data")
            if not isinstance(data, dict):
                raise ProtocolError(f"metadata needs an object as 'data', got {_shown(data)}")
            return Metadata(data)
        case "text":
            return UserText(_turn_text(value.get("text")))
        case "ping":
            return Ping()
        case other:
            raise ProtocolError(
                f"unknown 'type' {_shown(other)} in a JSON message; there are control, text, metadata, ping"
            )


def _turn_text(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ProtocolError(f"a text message needs words as 'text', got {_shown(text)}")
    if len(text) > MAX_TURN_CHARACTERS:
        raise ProtocolError(f"the text has {len(text)} characters; at most {MAX_TURN_CHARACTERS} are taken in a turn")
    return text.strip()


def _expect_length(kind: str, payload: bytes, length: int) -> None:
    if len(payload) != length:
        raise ProtocolError(f"a {kind} message has {length} byte(s) after its type, got {len(payload)}")


def _utf8(kind: str, payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the {kind} is not valid UTF-8: {error.reason} at byte {error.start}") from error


def _json_object(kind: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # "\ud800" is JSON, but no text: it could be neither spoken nor sent back
        raise ProtocolError(f"the {kind} holds half a character (an unpaired surrogate)") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the {kind} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"the {kind} must be a JSON object, got {_shown(value)}")
    return value


def _known_actions() -> str:
    return ", ".join(f"{name} ({action.value})" for name, action in ACTION_NAMES.items())


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
