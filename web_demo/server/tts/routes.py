"""The addresses of the TTS service."""

from __future__ import annotations

from web_demo.server.common.api.routes import FORM, JSON, Answer, Body, Field, Route
from web_demo.server.tts import api, prompts, references, voices
from web_demo.server.tts.encode import CONTENT_TYPES
from web_demo.server.tts.stream import session

_TIMES = "when each word is said, where there is a place for it"
_WORDS = (
    Field("language", "of the text, where it does not tell: a code, a name, or auto"),
    Field("markdown", "read markdown as its words", kind="boolean", default=True),
    Field("speed", "1 is normal", kind="number", default=1.0),
    Field("sample_rate", "of the sound, in Hz, where the format has it (without: the voice's)", kind="integer"),
    Field("timestamps", _TIMES, choices=("none", "word"), default="none"),
    Field("stream", "send the sound while it is made", kind="boolean", default=False),
    Field("stream_format", "sse: events in place of a file", choices=("audio", "sse"), default="audio"),
)
_OTHER_NAMES = tuple(
    Field(name, "a voice, as other servers call it", kind="any") for name in references.OTHER_NAME_FIELDS
)
_RECORDINGS = (
    *(
        field
        for name, text in references.RECORDING_FIELDS.items()
        if name != references.UPLOAD_FIELD
        for field in (
            Field(name, "a recording to speak like: base64, or a data: URL"),
            *((Field(text, f"what is said in {name}, word for word"),) if text != "prompt_text" else ()),
        )
    ),
    Field("prompt_text", "what is said in prompt_wav or prompt_audio, word for word"),
    Field("references", "the same as a list of one object with audio and text", kind="array"),
    Field("x_vector_only_mode", "refused: a voice needs what is said in its recording", kind="boolean", default=False),
    Field("task_type", "what vllm-omni calls the kind of a voice"),
)
_VOICE = Field("voice", "its name, or an object with its id or a recording", kind="any", default="中文女")
_SPEAKER_ID = Field("speaker_id", "the voice", default="中文女")
_PATH = Field(references.UPLOAD_FIELD, "a recording: a data: URL, or a file that the operator allows")
_SYNTHESIS = (
    Field("text", "to speak", required=True),
    _SPEAKER_ID,
    _VOICE,
    *_WORDS,
    Field("instruction", "how to speak, where the engine can be told"),
    *_RECORDINGS,
    *_OTHER_NAMES,
)
_DONE = Field("success", "true", kind="boolean", required=True)
_SPEAKER = (
    Field("name", "of the voice", required=True),
    Field("kind", "where it is from", choices=("built-in", "added"), required=True),
    Field("language", "ISO 639 code, where it is made for one"),
    Field("transcript", "what is said in its recording"),
    Field("seconds", "of its recording", kind="number"),
    Field("created", "when it was added, ISO 8601"),
)

ROUTES = (
    Route(
        "POST",
        "/api/synthesize",
        api.synthesize,
        "Speech of a text. A JSON object with base64, or, with stream or the header Accept: audio/wav, a WAV file.",
        query=(
            Field("explain", "the words that a voice would be given, without speaking", kind="boolean", default=False),
        ),
        bodies=(
            Body((*_SYNTHESIS, _PATH), api.JSON_LIMITS.max_bytes, JSON),
            Body(
                (*_SYNTHESIS, Field(references.UPLOAD_FIELD, "a recording to speak like", kind="file")),
                prompts.BODY_LIMITS.max_bytes,
                FORM,
            ),
        ),
        answers=(
            Answer(
                about="the speech",
                fields=(
                    Field("audio", "a WAV file in base64", required=True),
                    Field("sample_rate", "of it, in Hz", kind="integer", required=True),
                    Field("duration", "in seconds", kind="number", required=True),
                    Field("words", "when each is said, where it was asked for", kind="array"),
                    _DONE,
                ),
            ),
            Answer("audio/wav", "the speech as it is made"),
            Answer("text/event-stream", "events with base64"),
        ),
    ),
    Route(
        "GET",
        "/api/synthesize/stream",
        session.handle,
        "Speech of a text while it is written. Its messages are those of web_demo/server/SPEECH_STREAM.md.",
        socket=True,
        message_bytes=session.MAX_MESSAGE_BYTES,
    ),
    Route(
        "POST",
        "/v1/audio/speech",
        api.openai_speech,
        "Speech of a text, as OpenAI's clients ask for it.",
        bodies=(
            Body(
                (
                    Field("input", "the text to speak", required=True),
                    Field("model", "without effect: there is one", unused=True),
                    _VOICE,
                    _SPEAKER_ID,
                    Field(
                        "instructions",
                        "how to speak; where the engine cannot be told, X-Ignored-Parameters says so",
                    ),
                    Field("response_format", "of the sound", choices=tuple(CONTENT_TYPES), default="mp3"),
                    *_WORDS,
                    *_RECORDINGS,
                    *_OTHER_NAMES,
                    _PATH,
                ),
                api.JSON_LIMITS.max_bytes,
                JSON,
            ),
        ),
        answers=(
            *(Answer(media, "the speech as it is made") for media in dict.fromkeys(CONTENT_TYPES.values())),
            Answer("text/event-stream", "events with base64"),
        ),
    ),
    Route(
        "GET",
        "/api/speakers",
        voices.list_all,
        "The voices.",
        answers=(
            Answer(
                about="the voices",
                fields=(Field("speakers", "all of them", kind="array", required=True, of=_SPEAKER), _DONE),
            ),
        ),
    ),
    Route(
        "POST",
        "/api/speakers",
        voices.add,
        "Add a voice.",
        bodies=(
            Body(
                (
                    Field("name", "of the voice", required=True),
                    Field("audio", "3 to 10 s of one person speaking", kind="file", required=True),
                    Field("transcript", "what is said in it; without, the recogniser writes it down"),
                ),
                prompts.BODY_LIMITS.max_bytes,
                FORM,
            ),
        ),
        answers=(
            Answer(
                about="the voice",
                fields=(Field("speaker", "it", kind="object", required=True, of=_SPEAKER), _DONE),
                status=201,
            ),
        ),
    ),
    Route(
        "DELETE",
        "/api/speakers/{name}",
        voices.delete,
        "Delete an added voice.",
        answers=(Answer(about="it is gone", fields=(_DONE,)),),
    ),
)
