"""What a client asks for, out of what it sent: the bodies of `/api/synthesize` and `/v1/audio/speech`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from web_demo.engines.base import Capabilities
from web_demo.engines.tts.limits import check_speed
from web_demo.engines.tts.text import pieces, voice_language
from web_demo.errors import InvalidRequest, TooLarge
from web_demo.server.common.forms import boolean
from web_demo.server.tts.encode import CONTENT_TYPES
from web_demo.text.frontend import words
from web_demo.text.language import language_code, language_of
from web_demo.text.plain import plain

DEFAULT_VOICE = "中文女"
MAX_INSTRUCTION_CHARS = 500

# OpenAI's own voice names, which its clients send by default, as the nearest of ours.
OPENAI_VOICES = {
    **dict.fromkeys(("alloy", "coral", "fable", "marin", "nova", "sage", "shimmer"), "中文女"),
    **dict.fromkeys(("ash", "ballad", "cedar", "echo", "onyx", "verse"), "中文男"),
}


@dataclass(frozen=True)
class SynthesisRequest:
    """`pieces`: of the text, in words, as the engine gets them; `language`: of the text, "" for unknown. `prompt_wav` as it
    was sent: a path or a data: URL; `prompt_audio`: the recording itself. `text_failures` as in `text.frontend.Words`. `ignored`:
    parameters that came and are without effect, which the client is told."""

    pieces: tuple[str, ...]
    characters: int
    language: str = ""
    text_failures: int = 0
    voice: str = DEFAULT_VOICE
    speed: float = 1.0
    instruction: str = ""
    prompt_wav: str = ""
    prompt_audio: bytes = b""
    prompt_text: str = ""
    stream: bool = False
    format: str = "wav"
    framing: Literal["audio", "sse"] = "audio"
    ignored: tuple[str, ...] = ()

    @property
    def has_prompt(self) -> bool:
        return bool(self.prompt_wav or self.prompt_audio)

    @property
    def prompt_bytes(self) -> int:
        """What the recording takes of memory, as it was sent."""
        return len(self.prompt_wav) + len(self.prompt_audio)


@dataclass(frozen=True)
class _Text:
    pieces: tuple[str, ...]
    characters: int
    language: str
    text_failures: int


def from_api(body: Mapping[str, Any], can: Capabilities, max_chars: int, prompt_audio: bytes = b"") -> SynthesisRequest:
    """`body`: the JSON object of `/api/synthesize`, or the fields of its multipart form; `can`: the engine's."""
    voice = _string(body, "speaker_id") or DEFAULT_VOICE
    return SynthesisRequest(
        **vars(_text(body, "text", can, max_chars, voice)),
        voice=voice,
        speed=_speed(body, can),
        instruction=_instruction(body),
        prompt_wav=_string(body, "prompt_wav"),
        prompt_audio=prompt_audio,
        prompt_text=_string(body, "prompt_text").strip(),
        stream=boolean("stream", body.get("stream")),
    )


def from_openai(body: Mapping[str, Any], can: Capabilities, max_chars: int) -> SynthesisRequest:
    """`body`: https://platform.openai.com/docs/api-reference/audio/createSpeech; any `model` is taken for ours. Clients send
    `instructions` to every voice: where they cannot be followed they are ignored, and never an error."""
    voice = body.get("voice") or DEFAULT_VOICE
    if isinstance(voice, Mapping):
        voice = voice.get("id")
    if not isinstance(voice, str):
        raise InvalidRequest('voice must be a string, or an object such as {"id": "中文女"}', param="voice")
    instruction = plain(_string(body, "instructions"))
    followed = can.instructions and len(instruction) <= MAX_INSTRUCTION_CHARS
    return SynthesisRequest(
        **vars(_text(body, "input", can, max_chars, voice)),
        voice=voice,
        speed=_speed(body, can),
        instruction=instruction if followed else "",
        stream=True,
        format=_choice(body, "response_format", tuple(CONTENT_TYPES), "mp3"),
        framing="sse" if _choice(body, "stream_format", ("audio", "sse"), "audio") == "sse" else "audio",
        ignored=("instructions",) if instruction and not followed else (),
    )


def _text(body: Mapping[str, Any], name: str, can: Capabilities, max_chars: int, voice: str) -> _Text:
    """The text of field `name` in words and pieces. What tells its language where the text does not: the field `language`,
    what is said in the recording, the voice. Some milliseconds for a long text: off the event loop."""
    text = body.get(name)
    if not isinstance(text, str):
        came = "nothing" if text is None else type(text).__name__
        raise InvalidRequest(f"{name} must be a string with the text to speak, got {came}", param=name)
    if len(text) > max_chars:
        raise TooLarge(f"{name} has {len(text)} characters; at most {max_chars} are taken in one request", param=name)
    said_before = _string(body, "prompt_text")
    of_voice = language_of(said_before) if said_before else voice_language(OPENAI_VOICES.get(voice, voice), can)
    made = words(
        text,
        language=_language(body),
        voice_language=of_voice,
        markdown=boolean("markdown", body.get("markdown"), default=True),
    )
    found = tuple(pieces(made.text, can))
    if not found:
        raise InvalidRequest(f"{name} holds nothing that can be spoken: no letter and no digit", param=name)
    return _Text(found, len(text), made.language, made.failures)


def _language(body: Mapping[str, Any]) -> str:
    name = _string(body, "language")
    code = language_code(name)
    if not code and name.strip().lower() not in ("", "auto"):
        raise InvalidRequest(
            f"language must be a code or a name such as zh or English, or auto, got {name!r:.50}", param="language"
        )
    return code


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string, got {type(value).__name__}", param=name)
    return value


def _instruction(body: Mapping[str, Any]) -> str:
    value = plain(_string(body, "instruction"))
    if len(value) > MAX_INSTRUCTION_CHARS:
        raise TooLarge(f"instruction has {len(value)} characters; at most {MAX_INSTRUCTION_CHARS} are taken")
    return value


def _speed(body: Mapping[str, Any], can: Capabilities) -> float:
    value = body.get("speed", 1.0)
    if value is None:
        return 1.0
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        speed = float(value)
    except (ValueError, OverflowError):
        speed = math.nan
    check_speed(speed, can, value)
    return speed


def _choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    value = body.get(name)
    if value is None:
        return default
    if value not in choices:
        raise InvalidRequest(f"{name} must be one of {', '.join(choices)}, got {value!r:.50}", param=name)
    return str(value)
