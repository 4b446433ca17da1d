"""OpenAI Realtime as its clients spoke it before general availability (2024-10): flat session fields and older names of events.
A translation at the edge of both wires, of events as they come and go; behind it there is one protocol. Pure.

Its types are `openai.types.beta.realtime`. Who speaks it says so when connecting: by the header `OpenAI-Beta: realtime=v1`, or, in
browsers, by the subprotocol `openai-beta.realtime-v1`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from web_demo.server.common.realtime.events import ClientEvent, Event, event
from web_demo.server.common.realtime.fields import Fields

HEADER, VALUE = "OpenAI-Beta", "realtime=v1"
ABOUT = f"{VALUE}: events and fields have the names that they had before general availability"
SUBPROTOCOL = "openai-beta.realtime-v1"

# What is flat there and inside of objects here: of a session, and of one response.
FLAT: dict[str, tuple[str, ...]] = {
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_audio_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
}
FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
RENAMED = {  # of server events, but for what follows the name
    "response.output_text.": "response.text.",
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
}
PARTS = {"output_text": "text", "output_audio": "audio"}  # of an item's content


def is_spoken(header: str, subprotocols: Collection[str]) -> bool:
    """Whether a client speaks it that sends this header OpenAI-Beta ("": none) and offers these subprotocols."""
    return VALUE in [value.strip() for value in header.split(",")] or SUBPROTOCOL in subprotocols


class Dialect:
    """What a client speaks: the protocol of general availability, or `beta`."""

    def __init__(self, beta: bool, conversation_id: str = "") -> None:
        self.beta = beta
        self._conversation_id = conversation_id

    def heard(self, asked: ClientEvent) -> ClientEvent:
        """A client's event in the words of today. What is not of the beta stays as it is."""
        return _heard(asked) if self.beta else asked

    def said(self, told: Event) -> Iterator[Event]:
        """A server event in the client's words: one, none or two."""
        if self.beta:
            yield from _said(told, self._conversation_id)
        else:
            yield told


def _heard(asked: ClientEvent) -> ClientEvent:
    data = dict(asked.fields.data)
    kind = asked.type
    for key in ("session", "response"):
        if isinstance(inner := data.get(key), dict):
            data[key] = _nested(inner)
    if kind == "transcription_session.update":
        kind = "session.update"
        if isinstance(data.get("session"), dict):
            data["session"] = {"type": "transcription", **data["session"]}
    return replace(asked, type=kind, fields=Fields(data, asked.fields.name))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: value for key, value in flat.items() if key not in FLAT}
    for key, path in FLAT.items():
        if key in flat:
            _put(nested, path, _value_heard(key, flat[key]))
    return nested


def _value_heard(key: str, value: Any) -> Any:
    if key.endswith("_format") and isinstance(value, str):
        return FORMATS.get(value, {"type": value})  # an unknown one is refused by its name, as any
    return value


def _put(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = into.get(key)
        into[key] = into = dict(inner) if isinstance(inner, dict) else {}
    into[path[-1]] = value


def _said(told: Event, conversation_id: str) -> Iterator[Event]:
    kind: str = told["type"]
    match kind:
        case "session.created" | "session.updated":
            session = told["session"]
            transcribes = session["type"] == "transcription"
            yield told | {"type": f"transcription_{kind}" if transcribes else kind, "session": _flat(session)}
            if kind == "session.created" and not transcribes:
                yield event(
                    "conversation.created", conversation={"id": conversation_id, "object": "realtime.conversation"}
                )
        case "conversation.item.added":
            yield told | {"type": "conversation.item.created", "item": _item(told["item"])}
        case "conversation.item.done":
            return
        case "conversation.item.retrieved" | "response.output_item.added" | "response.output_item.done":
            yield told | {"item": _item(told["item"])}
        case "response.created" | "response.done":
            yield told | {"response": _response(told["response"])}
        case "error":
            yield told | {"error": _error(told["error"])}
        case _:
            old = next((old for new, old in RENAMED.items() if kind.startswith(new)), None)
            yield told if old is None else told | {"type": old + kind.rpartition(".")[2]}


def _flat(session: Mapping[str, Any]) -> dict[str, Any]:
    nested = ("type", "audio", *(path[0] for path in FLAT.values()))
    flat = {key: value for key, value in session.items() if key not in nested}
    for key, path in FLAT.items():
        value: Any = session
        for name in path:
            value = value.get(name, _NOTHING) if isinstance(value, Mapping) else _NOTHING
        if value is not _NOTHING:
            flat[key] = _value_said(key, value)
    return flat


_NOTHING = object()  # null is a value


def _value_said(key: str, value: Any) -> Any:
    if key == "modalities" and value == ["audio"]:
        return ["audio", "text"]  # there was no sound without its words
    if key.endswith("_format") and isinstance(value, dict):
        return next((name for name, known in FORMATS.items() if known["type"] == value.get("type")), value.get("type"))
    return value


def _response(response: Mapping[str, Any]) -> dict[str, Any]:
    flat = _flat(response)
    flat["max_output_tokens"] = flat.pop("max_response_output_tokens", "inf")
    return flat | {"output": [_item(item) for item in response["output"]]}


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return dict(item)
    parts = [part | {"type": PARTS.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": parts}


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    """With the names of fields that the client sent."""
    message, param = error["message"], error["param"]
    for key, path in FLAT.items():
        for owner in ("session", "response"):
            name = ".".join((owner, *path))
            message = message.replace(name, f"{owner}.{key}")
            param = param.replace(name, f"{owner}.{key}") if param else param
    return {**error, "message": message, "param": param}
