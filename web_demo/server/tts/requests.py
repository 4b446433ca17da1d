"""What a client asks for, out of what it sent: the bodies of `/api/synthesize` and `/v1/audio/speech`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from web_demo.engines.base import Capabilities
from web_demo.engines.tts.limits import check_speed
from web_demo.engines.tts.text import pieces, voice_language
from web_demo.errors import InvalidRequest, TooLarge
from web_demo.server.common.forms import boolean
from web_demo.server.tts.encode import CONTENT_TYPES, WITH_LENGTH, check_rate
from web_demo.server.tts.references import Recording, asked_voice
from web_demo.text.frontend import words
from web_demo.text.language import language_code, language_of
from web_demo.text.plain import plain

DEFAULT_VOICE = "中文女"
MAX_INSTRUCTION_CHARS = 500
RATE_DIGITS = 7

# OpenAI's own voice names, which its clients send by default, as the nearest of ours.
OPENAI_VOICES = {
    **dict.fromkeys(("alloy", "coral", "fable", "marin", "nova", "sage", "shimmer"), "中文女"),
    **dict.fromkeys(("ash", "ballad", "cedar", "echo", "onyx", "verse"), "中文男"),
}


def _nothing(_: str) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """How a text is spoken and sent: all of a request but its text. `language`: the ISO 639 code that the request says, "" for
    none; `voice_language`: that of the voice. `sample_rate` None: the engine's. `stream`: as it is made, a file whose header
    knows no length; else a whole one."""

    voice: str = DEFAULT_VOICE
    recording: Recording | None = None
    speed: float = 1.0
    instruction: str = ""
    language: str = ""
    voice_language: str = ""
    markdown: bool = True
    format: str = "wav"
    sample_rate: int | None = None
    stream: bool = False
    timestamps: bool = False  # when each word is said
    framing: Literal["audio", "sse"] = "audio"

    @property
    def recording_bytes(self) -> int:
        """What the recording takes of memory, as it was sent."""
        return self.recording.size if self.recording else 0


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest(SpeechOptions):
    """`pieces`: of the text, in words, as the engine gets them; `language`: of the text, "" for unknown. `text_failures` as in
    `text.frontend.Words`."""

    pieces: tuple[str, ...]
    characters: int
    text_failures: int = 0


def from_api(
    body: Mapping[str, Any],
    can: Capabilities,
    max_chars: int,
    upload: bytes = b"",
    said_in: Callable[[str], str] = _nothing,
) -> SynthesisRequest:
    """`body`: the JSON object of `/api/synthesize`, or the fields of its multipart form; `can`: the engine's; `upload`: the
    recording that came with the form; `said_in`: the transcript of a voice that was added, by its name, "" for none. Some
    milliseconds for a long text: off the event loop."""
    options = replace(
        _options(body, can, said_in, upload),
        instruction=_instruction(body, "instruction"),
        stream=boolean("stream", body.get("stream")),
        framing="sse" if _choice(body, "stream_format", ("audio", "sse"), "audio") == "sse" else "audio",
    )
    return _request(body, "text", can, max_chars, options)


def from_openai(
    body: Mapping[str, Any], can: Capabilities, max_chars: int, said_in: Callable[[str], str] = _nothing
) -> SynthesisRequest:
    """`body`: https://platform.openai.com/docs/api-reference/audio/createSpeech; any `model` is taken for ours. Off the event
    loop, as `from_api`."""
    framing = _choice(body, "stream_format", ("audio", "sse"), "")
    format = _choice(body, "response_format", tuple(CONTENT_TYPES), "mp3")
    options = replace(
        _options(body, can, said_in),
        instruction=_instruction(body, "instructions"),
        stream=bool(framing) or format not in WITH_LENGTH or boolean("stream", body.get("stream")),
        framing="sse" if framing == "sse" else "audio",
        format=format,
    )
    return _request(body, "input", can, max_chars, options)


def options_of(body: Mapping[str, Any], can: Capabilities, said_in: Callable[[str], str] = _nothing) -> SpeechOptions:
    """`body`: what begins or changes a stream of text, with the fields of `/api/synthesize` but its text; `format` is pcm unless it
    says otherwise."""
    options = replace(
        _options(body, can, said_in),
        instruction=_instruction(body, "instruction"),
        format=_choice(body, "format", tuple(CONTENT_TYPES), "pcm"),
        stream=True,
    )
    if options.sample_rate is not None:
        check_rate(options.format, options.sample_rate)
    return options


def _request(
    body: Mapping[str, Any], field: str, can: Capabilities, max_chars: int, options: SpeechOptions
) -> SynthesisRequest:
    """With the text of `field` in words and pieces. What tells its language where the text does not: the field `language`, then
    the voice."""
    if options.sample_rate is not None:
        check_rate(options.format, options.sample_rate)
    text = body.get(field)
    if not isinstance(text, str):
        came = "nothing" if text is None else type(text).__name__
        raise InvalidRequest(f"{field} must be a string with the text to speak, got {came}")
    if len(text) > max_chars:
        raise TooLarge(f"{field} has {len(text)} characters; at most {max_chars} are taken in one request")
    made = words(text, language=options.language, voice_language=options.voice_language, markdown=options.markdown)
    found = tuple(pieces(made.text, can))
    if not found:
        raise InvalidRequest(f"{field} holds nothing that can be spoken: no letter and no digit")
    return SynthesisRequest(
        **{**vars(options), "language": made.language},
        pieces=found,
        characters=len(text),
        text_failures=made.failures,
    )


def _options(
    body: Mapping[str, Any], can: Capabilities, said_in: Callable[[str], str], upload: bytes = b""
) -> SpeechOptions:
    voice, recording = asked_voice(body, upload)
    voice = voice or DEFAULT_VOICE
    said = recording.text if recording else said_in(voice)
    return SpeechOptions(
        voice=voice,
        recording=recording,
        speed=_speed(body, can),
        language=_language(body),
        voice_language=language_of(said) if said else voice_language(OPENAI_VOICES.get(voice, voice), can),
        markdown=boolean("markdown", body.get("markdown"), default=True),
        sample_rate=_sample_rate(body),
        timestamps=_timestamps(body),
    )


def _language(body: Mapping[str, Any]) -> str:
    name = _string(body, "language")
    code = language_code(name)
    if not code and name.strip().lower() not in ("", "auto"):
        raise InvalidRequest(f"language must be a code or a name such as zh or English, or auto, got {name!r:.50}")
    return code


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string, got {type(value).__name__}")
    return value


def _instruction(body: Mapping[str, Any], name: str) -> str:
    value = plain(_string(body, name))
    if len(value) > MAX_INSTRUCTION_CHARS:
        raise TooLarge(f"{name} has {len(value)} characters; at most {MAX_INSTRUCTION_CHARS} are taken")
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


def _timestamps(body: Mapping[str, Any]) -> bool:
    value = body.get("timestamps")
    if value in (None, "", "none", [], False):
        return False
    if value in ("word", ["word"]):
        return True
    raise InvalidRequest(f'timestamps must be "word" or "none", got {value!r:.50}')


def _sample_rate(body: Mapping[str, Any]) -> int | None:
    value = body.get("sample_rate")
    if value is None or value == "":
        return None
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (text.isascii() and text.isdigit() and len(text) <= RATE_DIGITS):
        raise InvalidRequest(f"sample_rate must be a whole number of Hz such as 16000, got {value!r:.50}")
    return int(text)


def _choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    value = body.get(name)
    if value is None:
        return default
    if value not in choices:
        raise InvalidRequest(f"{name} must be one of {', '.join(choices)}, got {value!r:.50}")
    return str(value)
