"""The fields of a session of OpenAI Realtime, of both types: updates in parts, and what we make of them. Pure.

What we know is checked and read; what we do not know is kept and shown again, since clients look for what they set. `null` turns a
thing off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from web_demo.audio.vad import PADDING_S, VadRules
from web_demo.server.common.realtime.audio import PCM, AudioFormat, format_of
from web_demo.server.common.realtime.events import text_of
from web_demo.server.common.realtime.fields import EventError, Fields

MAX_CHARS = 256 * 1024  # of a session's fields as JSON
MAX_INSTRUCTIONS = 32_000  # characters
MAX_PROMPT = 8_000  # characters
MAX_KEYWORDS, MAX_KEYWORD = 256, 256  # of them; characters
MAX_TOOLS = 128
SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
    "idle_timeout_ms": None,
}
SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
SILENCE_S = {"low": 1.0, "medium": 0.7, "auto": 0.7, "high": 0.4}  # that ends speech, by eagerness
SPEEDS = 0.25, 1.5
OURS = ("id", "object", "expires_at")  # fields that no client sets


@dataclass(frozen=True)
class TurnDetection:
    type: str = "server_vad"  # or semantic_vad
    rules: VadRules = field(default_factory=lambda: VadRules(min_silence_s=0.5))
    prefix_s: float = PADDING_S
    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True


@dataclass(frozen=True)
class Transcription:
    language: str = ""
    prompt: str = ""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class AudioInput:
    format: AudioFormat = PCM
    turn_detection: TurnDetection | None = field(default_factory=TurnDetection)
    transcription: Transcription | None = None  # off


@dataclass(frozen=True)
class AudioOutput:
    format: AudioFormat = PCM
    voice: str = ""
    speed: float = 1.0


@dataclass(frozen=True)
class Answering:
    """How answers are made: of a session, or of one answer where `response.create` says otherwise."""

    instructions: str = ""
    speech: bool = True  # output_modalities
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    max_output_tokens: int = 0  # "inf"


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with a partial update: objects are merged, anything else replaces. An object that becomes one of another `type`
    (server_vad → semantic_vad, PCM → µ-law) keeps nothing of what it was."""
    result = dict(fields)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type", old.get("type")) == old.get("type"):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def updated(session: Mapping[str, Any], changes: Fields) -> dict[str, Any]:
    """A session's fields with those of a `session.update`, defaults of turn detection filled in: to be read before they are used,
    which may refuse them. Raises EventError about another type, or too much of it."""
    changes.choice("type", (session["type"],), session["type"])
    given = {key: value for key, value in changes.data.items() if key not in OURS}
    result = merged(session, _with_defaults(given, session))
    if (size := len(text_of(result))) > MAX_CHARS:
        raise EventError(
            f"the session's fields have {size} characters as JSON; at most {MAX_CHARS} are kept",
            code="session_too_large",
            param="session",
        )
    return result


def _with_defaults(changes: dict[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """Turn detection that is turned on, or becomes another, has all its fields."""
    given, had = (_turn_detection_of(fields) for fields in (changes, session))
    if given is None or (had is not None and given.get("type") in (None, had.get("type"))):
        return changes
    defaults = SEMANTIC_VAD if given.get("type") == "semantic_vad" else SERVER_VAD
    return merged(changes, {"audio": {"input": {"turn_detection": {**defaults, **given}}}})


def _turn_detection_of(session: Mapping[str, Any]) -> dict[str, Any] | None:
    """As it was sent, whatever stands around it."""
    value: object = session
    for key in ("audio", "input", "turn_detection"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def audio_input(session: Fields) -> AudioInput:
    """Raises EventError."""
    audio = session.object("audio")
    fields = audio.object("input") if audio else None
    if fields is None:
        return AudioInput()
    heard = fields.object("transcription")
    return AudioInput(format_of(fields), _turn_detection(fields), _transcription(heard) if heard else None)


def audio_output(session: Fields) -> AudioOutput:
    """Raises EventError. A voice may be an object with an `id`."""
    audio = session.object("audio")
    fields = audio.object("output") if audio else None
    if fields is None:
        return AudioOutput()
    voice = fields.object("voice") if isinstance(fields.data.get("voice"), dict) else None
    return AudioOutput(
        format_of(fields),
        voice.text("id") if voice else fields.text("voice", ""),
        fields.number("speed", *SPEEDS, 1.0),
    )


def answering(fields: Fields, session: Answering | None = None) -> Answering:
    """Of a session, or of a `response` object on top of its session's. Raises EventError."""
    base = session or Answering()
    modalities = fields.texts("output_modalities", 2, 16)
    if not set(modalities) <= {"text", "audio"}:
        fields.refuse("output_modalities", 'a list of "audio" or "text"')
    tools = tuple(tool.data for tool in fields.objects("tools", MAX_TOOLS)) if "tools" in fields else base.tools
    choice = fields.data.get("tool_choice")
    if choice is None:
        choice = base.tool_choice
    elif isinstance(choice, str):
        fields.choice("tool_choice", ("auto", "none", "required"))
    elif not isinstance(choice, dict):
        fields.refuse("tool_choice", "auto, none, required or an object")
    return Answering(
        fields.text("instructions", base.instructions, most=MAX_INSTRUCTIONS),
        "audio" in modalities if modalities else base.speech,
        tools,
        choice,
        _max_output_tokens(fields, base.max_output_tokens),
    )


def _max_output_tokens(fields: Fields, default: int) -> int:
    """ "inf" or a number; missing or null: as the session has it."""
    given = fields.data.get("max_output_tokens")
    if given is None:
        return default
    if given == "inf":
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        fields.refuse("max_output_tokens", 'a whole number from 1 on, or "inf"')
    return given


def _turn_detection(parent: Fields) -> TurnDetection | None:
    if "turn_detection" not in parent:
        return TurnDetection()
    fields = parent.object("turn_detection")
    if fields is None:
        return None
    kind = fields.choice("type", ("server_vad", "semantic_vad"), "server_vad")
    creates, interrupts = fields.flag("create_response", True), fields.flag("interrupt_response", True)
    if kind == "semantic_vad":
        eagerness = fields.choice("eagerness", tuple(SILENCE_S), "auto")
        rules = VadRules(min_silence_s=SILENCE_S[eagerness])
        return TurnDetection(kind, rules, PADDING_S, eagerness, creates, interrupts)
    fields.number("idle_timeout_ms", 0, 3_600_000, 0)
    rules = VadRules(
        threshold=min(max(fields.number("threshold", 0, 1, 0.5), 0.05), 0.95),
        min_silence_s=max(fields.number("silence_duration_ms", 0, 30_000, 500), 100) / 1000,
    )
    return TurnDetection(
        kind, rules, fields.number("prefix_padding_ms", 0, 5_000, 300) / 1000, "auto", creates, interrupts
    )


def _transcription(fields: Fields) -> Transcription:
    fields.text("model", "", most=200)
    languages = fields.texts("languages", 64, 64)
    return Transcription(
        fields.text("language", "", most=64) or (languages[0] if len(languages) == 1 else ""),
        fields.text("prompt", "", most=MAX_PROMPT),
        tuple(fields.texts("keywords", MAX_KEYWORDS, MAX_KEYWORD)),
    )
