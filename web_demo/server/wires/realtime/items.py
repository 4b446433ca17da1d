"""Items of a conversation as OpenAI Realtime writes them, both ways. Pure.

Content that a model here cannot use (images) is refused in words; ids are the client's where it gives some.
"""

from __future__ import annotations

import json
from typing import Any

from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.base import ToolCall, ToolResult
from web_demo.server.common.realtime.audio import AudioFormat, audio_in
from web_demo.server.common.realtime.fields import EventError, Fields
from web_demo.server.conversation.history import (
    AssistantSaid,
    FunctionCalled,
    FunctionReturned,
    Item,
    SystemSaid,
    UserSaid,
    new_id,
)

MAX_TEXT = 32_000  # characters of an item
MAX_PARTS = 64  # of its content
MAX_ID = 256
TYPES = ("message", "function_call", "function_call_output")
ROLES = ("user", "assistant", "system")
TEXT_PARTS = ("input_text", "output_text", "text")
AUDIO_PARTS = ("input_audio", "output_audio", "audio")

Json = dict[str, Any]


def item_of(fields: Fields, audio: AudioFormat, most_s: float) -> Item:
    """`audio` is what the session hears; one item holds at most `most_s` of it. Decodes its sound: work for a thread where there
    may be much. Raises EventError."""
    item_id = fields.text("id", "", most=MAX_ID) or new_id()
    match fields.choice("type", TYPES, "message"):
        case "function_call":
            return FunctionCalled(item_id, _call(fields))
        case "function_call_output":
            return FunctionReturned(item_id, ToolResult(_call_id(fields), fields.text("output", most=MAX_TEXT)))
        case _:
            return _message(item_id, fields, audio, most_s)


def _call_id(fields: Fields) -> str:
    return fields.text("call_id", most=MAX_ID)


def _call(fields: Fields) -> ToolCall:
    text = fields.text("arguments", "{}", most=MAX_TEXT)
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        fields.refuse("arguments", "a JSON object as text")
    return ToolCall(_call_id(fields), fields.text("name", most=MAX_ID), arguments)


def _message(item_id: str, fields: Fields, audio: AudioFormat, most_s: float) -> Item:
    role = fields.choice("role", ROLES)
    texts: list[str] = []
    sound = b""
    transcript: str | None = None
    for part in fields.objects("content", MAX_PARTS):
        kind = part.text("type")
        if kind in TEXT_PARTS:
            texts.append(part.text("text", most=MAX_TEXT))
        elif kind not in AUDIO_PARTS:
            raise EventError(
                f"{part.full('type')} is {kind[:80]!r}: the models here take text and audio, no images or other content",
                code="unsupported_content_type",
                param=part.full("type"),
            )
        elif role == "user":
            sound += audio_in(part, audio, most_s - len(sound) / audio.bytes_per_s)
            transcript = part.text("transcript", "", most=MAX_TEXT) or transcript
        else:
            texts.append(part.text("transcript", "", most=MAX_TEXT))
    text = "\n".join(text for text in texts if text)
    if len(text) > MAX_TEXT:
        raise EventError(f"{fields.full('content')} has {len(text)} characters; at most {MAX_TEXT} are taken")
    if not text and not sound and role != "assistant":
        fields.refuse("content", "a list with words or sound in it")
    match role:
        case "assistant":
            return AssistantSaid(item_id, text)
        case "system":
            return SystemSaid(item_id, text)
    return UserSaid(item_id, text, _decoded(sound, audio), transcript)


def _decoded(data: bytes, audio: AudioFormat) -> Audio | None:
    if not data:
        return None
    reader = audio.reader()
    reader.push(data)
    return Audio(reader.decode().samples, SPEECH_RATE)


def json_of(item: Item) -> Json:
    """Without the sound, which nobody needs back."""
    match item:
        case UserSaid():
            return _message_json(item.id, "user", _said(item))
        case SystemSaid(_, text):
            return _message_json(item.id, "system", [{"type": "input_text", "text": text}])
        case AssistantSaid(_, text, reply):
            part = {"type": "output_text", "text": text} if reply is None else output_audio(text)
            return _message_json(item.id, "assistant", [part], "in_progress" if item.under_way else "completed")
        case FunctionCalled(_, call):
            return function_call(item.id, call, "completed")
        case FunctionReturned(_, result):
            return {
                "id": item.id,
                "object": "realtime.item",
                "type": "function_call_output",
                "status": "completed",
                "call_id": result.call_id,
                "output": result.content,
            }


def output_audio(transcript: str) -> Json:
    return {"type": "output_audio", "transcript": transcript}


def function_call(item_id: str, call: ToolCall, status: str) -> Json:
    """`in_progress` ones have no arguments yet."""
    arguments = arguments_of(call) if status == "completed" else ""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": status,
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments,
    }


def arguments_of(call: ToolCall) -> str:
    return json.dumps(dict(call.arguments), ensure_ascii=False)


def assistant_message(item_id: str, content: list[Json], status: str) -> Json:
    return _message_json(item_id, "assistant", content, status)


def _said(item: UserSaid) -> list[Json]:
    content: list[Json] = [{"type": "input_text", "text": item.text}] if item.text else []
    if item.audio is not None or item.transcript is not None or not content:
        content.append({"type": "input_audio", "transcript": item.transcript})
    return content


def _message_json(item_id: str, role: str, content: list[Json], status: str = "completed") -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }
