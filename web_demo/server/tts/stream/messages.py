"""The messages of a stream of text, `web_demo/server/SPEECH_STREAM.md`: what clients send, to records. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from web_demo.errors import InvalidRequest


@dataclass(frozen=True)
class Config:
    """How all is spoken from here on: the fields of `/api/synthesize` but its text, and `format`."""

    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """The next piece of the utterance's text; the first one begins it."""

    text: str


@dataclass(frozen=True)
class Flush:
    """Speak what is there, though its sentence is not whole. The utterance goes on."""


@dataclass(frozen=True)
class End:
    """The utterance's text is whole."""


@dataclass(frozen=True)
class Cancel:
    """Stop speaking, and forget all text that came."""


@dataclass(frozen=True)
class Close:
    """Hang up when all is spoken."""


ClientMessage = Config | Text | Flush | End | Cancel | Close
_PLAIN: Mapping[str, ClientMessage] = {"flush": Flush(), "end": End(), "cancel": Cancel(), "close": Close()}


def parse(data: str) -> ClientMessage:
    """Raises InvalidRequest for what is none of these."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise InvalidRequest(f'a message is a JSON object such as {{"type": "text", "text": "…"}}; got {data[:60]!r}')
    kind = message.get("type")
    if kind == "text":
        text = message.get("text")
        if not isinstance(text, str):
            raise InvalidRequest(f"text must be a string, got {type(text).__name__}")
        return Text(text)
    if kind == "config":
        return Config({name: value for name, value in message.items() if name != "type"})
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    raise InvalidRequest(f"type must be one of config, text, {', '.join(_PLAIN)}; got {kind!r:.60}")
