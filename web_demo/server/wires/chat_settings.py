"""What a client of the chat protocol may set, and what it sends beside: read from untrusted JSON. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from web_demo.audio.patience import EAGERNESS
from web_demo.audio.samples import WIRE_RATE
from web_demo.audio.vad import PADDING_S, VadRules
from web_demo.engines.asr.languages import code_of
from web_demo.engines.base import Sampling, ToolResult
from web_demo.errors import InvalidRequest
from web_demo.server.conversation.options import SessionOptions

MAX_SYSTEM_PROMPT = 8_000  # characters
MAX_VOICE = 200  # characters
MAX_TOOLS = 64
MAX_TOOL_RESULT = 8_000  # characters
LANGUAGES = ("en", "zh")
PCM_RATES = range(8_000, 48_001)  # Hz


@dataclass(frozen=True)
class ChatSettings:
    session: SessionOptions = field(default_factory=SessionOptions)
    events: bool = False  # also send JSON events (PROTOCOL.md)


def update(settings: ChatSettings, data: Mapping[str, Any]) -> ChatSettings:
    """The settings with a metadata object's changes: all of them, or InvalidRequest. Unknown keys are ignored."""
    changes: dict[str, Any] = {}
    for key, read in SETTINGS.items():
        if key in data:
            changes |= read(data, key)
    events = changes.pop("events", settings.events)
    return ChatSettings(dataclasses.replace(settings.session, **changes), events)


def tool_results(data: Mapping[str, Any]) -> tuple[ToolResult, ...]:
    """The results in a metadata object's `tool_results`. Raises InvalidRequest."""
    value = data["tool_results"]
    expected = "a list of objects, each with the text fields 'id' and 'content'"
    if not isinstance(value, list) or not value or len(value) > MAX_TOOLS:
        _refuse("tool_results", value, expected)
    results = []
    for item in value:
        call_id, content = (item.get("id"), item.get("content")) if isinstance(item, dict) else (None, None)
        if not isinstance(call_id, str) or not isinstance(content, str):
            _refuse("tool_results", item, expected)
        if len(content) > MAX_TOOL_RESULT:
            raise InvalidRequest(f"a tool result has {len(content)} characters; at most {MAX_TOOL_RESULT} are taken")
        results.append(ToolResult(call_id, content))
    return tuple(results)


def language_of(tag: str) -> str | None:
    """The language of a tag ("zh-CN" -> "zh"), if it is one that we speak."""
    first = tag.replace("_", "-").split("-")[0].strip().lower()
    return first if first in LANGUAGES else None


def pcm_rate(query: Mapping[str, str]) -> int | None:
    """Of the sound on a connection, both ways, in Hz; None: it is Ogg-Opus. Raises InvalidRequest."""
    kind, rate = query.get("audio", "opus"), query.get("rate", str(WIRE_RATE))
    if kind not in ("opus", "pcm16"):
        raise InvalidRequest(f"audio must be opus or pcm16, got {kind[:20]!r}", param="audio")
    hertz = _whole({"rate": rate}, "rate", PCM_RATES[0], PCM_RATES[-1])
    if hertz is None:
        raise InvalidRequest(f"rate must be {PCM_RATES[0]} to {PCM_RATES[-1]} (Hz), got {rate[:20]!r}", param="rate")
    return hertz if kind == "pcm16" else None


def sampling_of(query: Mapping[str, str]) -> Sampling:
    """The sampling parameters that the public client puts in its address. What makes no sense is left to the engine."""
    return Sampling(
        temperature=_number(query, "text_temperature", 0.0, 2.0),
        top_k=_whole(query, "text_topk", 0, 1000),
        repetition_penalty=_number(query, "repetition_penalty", 1.0, 2.0),
        seed=_whole(query, "text_seed", 0, 2**63 - 1),
    )


def _turn_detection(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data[key]
    if value is None:
        return {"turn_detection": None}
    if not isinstance(value, dict):
        _refuse(key, value, "an object or null")
    kind = value.get("type", "semantic_vad")
    if kind == "none":
        return {"turn_detection": None}
    if kind not in ("server_vad", "semantic_vad"):
        _refuse("turn_detection.type", kind, "semantic_vad, server_vad or none")
    eagerness = value.get("eagerness", "auto")
    if not isinstance(eagerness, str) or eagerness not in EAGERNESS:
        _refuse("turn_detection.eagerness", eagerness, "low, medium, high or auto")
    patience = EAGERNESS[eagerness] if kind == "semantic_vad" else None
    defaults = VadRules()
    rules = VadRules(
        threshold=_in_range(value, "threshold", 0.05, 0.95, defaults.threshold),
        min_silence_s=_in_range(value, "silence_duration_ms", 100, 5_000, defaults.min_silence_s * 1000) / 1000,
        min_speech_s=_in_range(value, "min_speech_ms", 32, 2_000, defaults.min_speech_s * 1000) / 1000,
    )
    prefix_s = _in_range(value, "prefix_padding_ms", 0, 2_000, PADDING_S * 1000) / 1000
    return {"turn_detection": rules, "patience": patience, "prefix_s": prefix_s}


def _tools(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data[key]
    if not isinstance(value, list) or len(value) > MAX_TOOLS or not all(isinstance(tool, dict) for tool in value):
        _refuse(key, value, f"a list of at most {MAX_TOOLS} objects")
    return {key: tuple(value)}


def _language(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: language_of(_text(data, key, 64)) or _refuse(key, data[key], "en or zh")}


def _spoken_language(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = _text(data, key, 64)
    code = code_of(value) if value else ""
    return {key: _refuse(key, value, "a language, such as zh-CN, or empty") if code is None else code}


def _voice(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: _text(data, key, MAX_VOICE)}


def _system_prompt(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: _text(data, key, MAX_SYSTEM_PROMPT)}


def _flag(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data[key]
    if not isinstance(value, bool):
        _refuse(key, value, "true or false")
    return {key: value}


# What a metadata object may set, and how each key is read: to changes of fields of SessionOptions or ChatSettings.
SETTINGS: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    "system_prompt": _system_prompt,
    "language": _language,
    "spoken_language": _spoken_language,
    "voice": _voice,
    "events": _flag,
    "speech": _flag,
    "transcription": _flag,
    "turn_detection": _turn_detection,
    "tools": _tools,
}


def _text(data: Mapping[str, Any], key: str, most: int) -> str:
    value = data[key]
    if not isinstance(value, str):
        _refuse(key, value, "a string")
    if len(value) > most:
        raise InvalidRequest(f"{key} has {len(value)} characters; at most {most} are taken")
    return value


def _in_range(data: Mapping[str, Any], key: str, low: float, high: float, default: float) -> float:
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _refuse(f"turn_detection.{key}", value, f"a number from {low:g} to {high:g}")
    return float(value)


def _number(query: Mapping[str, str], key: str, low: float, high: float) -> float | None:
    try:
        value = float(query.get(key, ""))
    except ValueError:
        return None
    return value if low <= value <= high else None  # NaN is in no range


def _whole(query: Mapping[str, str], key: str, low: int, high: int) -> int | None:
    value = query.get(key, "")
    return int(value) if value.isdecimal() and len(value) < 20 and low <= int(value) <= high else None


def _refuse(key: str, value: object, expected: str) -> NoReturn:
    shown = repr(value)
    raise InvalidRequest(f"{key} must be {expected}, got {shown if len(shown) <= 60 else shown[:60] + '…'}")
