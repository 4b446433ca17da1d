"""The addresses of the TTS service."""

from __future__ import annotations

from web_demo.server.common.api.routes import FORM, JSON, Answer, Body, Field, Route
from web_demo.server.tts import api, prompts, voices
from web_demo.server.tts.encode import CONTENT_TYPES

_WORDS = (
    Field("language", "of the text, where it does not tell: a code, a name, or auto"),
    Field("markdown", "read markdown as its words", kind="boolean", default=True),
    Field("prompt_text", "what is said in the recording, word for word"),
    Field("speed", "1 is normal", kind="number", default=1.0),
)
_SYNTHESIS = (
    Field("text", "to speak", required=True),
    Field("speaker_id", "the voice", default="中文女"),
    *_WORDS,
    Field("stream", "send the sound while it is made", kind="boolean", default=False),
    Field("instruction", "how to speak, where the engine can be told"),
)
_DONE = Field("success", "true", kind="boolean", required=True)
_SPEAKER = (
    Field("name", "of the voice", required=True),
    Field("kind", "where it is from", choices=("built-in", "added"), required=True),
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
            Body(
                (
                    *_SYNTHESIS,
                    Field("prompt_wav", "a recording to speak like: a data: URL, or a file that the operator allows"),
                ),
                api.JSON_LIMITS.max_bytes,
                JSON,
            ),
            Body(
                (*_SYNTHESIS, Field("prompt_wav", "a recording to speak like", kind="file")),
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
                    _DONE,
                ),
            ),
            Answer("audio/wav", "the speech as it is made"),
        ),
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
                    Field("voice", "its name, or an object with its id", kind="any", default="中文女"),
                    Field(
                        "instructions",
                        "how to speak; where the engine cannot be told, X-Ignored-Parameters says so",
                    ),
                    Field("response_format", "of the sound", choices=tuple(CONTENT_TYPES), default="mp3"),
                    Field(
                        "stream_format", "the file as it is made, or events", choices=("audio", "sse"), default="audio"
                    ),
                    *_WORDS,
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
