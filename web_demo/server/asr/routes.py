"""The addresses of the ASR service."""

from __future__ import annotations

from dataclasses import replace

from web_demo.server.asr import api, live, openai
from web_demo.server.asr.realtime import wire
from web_demo.server.common.api.routes import FORM, JSON, Answer, Body, Field, Route
from web_demo.server.common.realtime import beta

MAX_FORM_BYTES = 1 << 30  # `--max-upload-mb` says how much less

_LANGUAGE = Field("language", "of the recording: a code, any tag such as zh-CN, a name, or auto")
_ITN = Field("itn", "write numbers as digits, where the engine can", kind="boolean", default=True)
_SEGMENTS = Field(
    "segments", "stretches of speech with their times", kind="array", of=(Field("segment", "", kind="object"),)
)
_USAGE = (Field("type", "duration", required=True), Field("seconds", "of sound", kind="number", required=True))
_ANSWERS = (
    Answer(
        about="the text; with verbose_json more",
        fields=(
            Field("text", "what is said", required=True),
            Field("usage", "what it took", kind="object", of=_USAGE),
            Field("task", "verbose_json: transcribe or translate"),
            Field("language", "verbose_json: of the text"),
            Field("duration", "verbose_json: of the recording, in seconds", kind="number"),
            Field("segments", "verbose_json: with times; the decoder's statistics are placeholders", kind="array"),
            Field("words", "verbose_json: with times, where they were asked for", kind="array"),
            Field(
                "warning", "what was wrong with the recording; where there is no room, in the header X-Audio-Warning"
            ),
        ),
    ),
    Answer("text/plain", "the text alone"),
    Answer("application/x-subrip", "subtitles"),
    Answer("text/vtt", "subtitles"),
    Answer("text/event-stream", "events, as the text is recognised"),
)


def _bodies(*more: Field) -> tuple[Body, ...]:
    """The form of OpenAI's clients, and the same in JSON."""
    fields = (
        Field("model", "without effect: there is one", unused=True),
        *more,
        Field("prompt", "free text: what Whisper has as its prompt, others as hotwords"),
        Field("keywords[]", "hotwords", kind="array"),
        Field("response_format", "of the answer", choices=openai.FORMATS, default="json"),
        Field("timestamp_granularities[]", "times in verbose_json", kind="array", choices=openai.GRANULARITIES),
        Field("stream", "server-sent events while it is recognised", kind="boolean", default=False),
        Field("temperature", "without effect", kind="number", unused=True),
    )
    recording = Field("file", "the recording, in any usual format", kind="file", required=True)
    sound = (
        Field("data", "the recording in base64", required=True),
        Field("format", "without effect: it is seen in the recording", unused=True),
    )
    spoken = Field("input_audio", "the recording; its base64 alone will do", kind="object", required=True, of=sound)
    plain = tuple(replace(field, name=field.name.removesuffix("[]")) for field in fields)
    return Body((recording, *fields), MAX_FORM_BYTES, FORM), Body((spoken, *plain), openai.JSON_LIMITS.max_bytes, JSON)


ROUTES = (
    Route(
        "POST",
        "/api/transcribe",
        api.transcribe,
        "The text of a recording.",
        bodies=(
            Body(
                (
                    Field("audio", "the recording, in any usual format", kind="file", required=True),
                    _LANGUAGE,
                    Field("hotwords", "words to listen for, with commas between them"),
                    _ITN,
                    Field("cues", "with subtitles", kind="boolean", default=False),
                    Field("stream", "server-sent events while it is recognised", kind="boolean", default=False),
                ),
                MAX_FORM_BYTES,
                FORM,
            ),
        ),
        answers=(
            Answer(
                about="the text",
                fields=(
                    Field("text", "what is said", required=True),
                    Field("language", "of it", required=True),
                    Field("success", "true", kind="boolean", required=True),
                    Field("duration", "of the recording, in seconds", kind="number"),
                    _SEGMENTS,
                    Field("cues", "subtitles", kind="array"),
                    Field("ignored_hotwords", "those that the engine cannot use", kind="array"),
                    Field("warning", "what was wrong with the recording"),
                ),
            ),
            Answer("text/event-stream", "each segment as it is recognised, then the rest"),
        ),
    ),
    Route(
        "GET",
        "/api/transcribe/stream",
        live.handle,
        'Live captions. Send sound in binary messages, then the text message {"type": "end"}; partial, final and done come back.',
        query=(
            Field("format", "of the sound", choices=("pcm16", "opus"), default="pcm16"),
            Field("rate", "of pcm16, in Hz", kind="integer", default=16_000),
            _LANGUAGE,
            Field("hotwords", "words to listen for, with commas between them"),
        ),
        socket=True,
    ),
    Route(
        "GET",
        "/v1/realtime",
        wire.handle,
        "Transcription by OpenAI's Realtime. Its events are those of web_demo/server/wires/REALTIME.md.",
        headers=(Field(beta.HEADER, beta.ABOUT),),
        socket=True,
        message_bytes=wire.MAX_MESSAGE_BYTES,
        behind={"intent": "transcription"},  # conversations are at the same address of the S2S service
    ),
    Route(
        "POST",
        "/v1/audio/transcriptions",
        openai.transcriptions,
        "The text of a recording, as OpenAI's clients ask for it.",
        bodies=_bodies(_LANGUAGE, Field("languages[]", "to choose from", kind="array")),
        answers=_ANSWERS,
    ),
    Route(
        "POST",
        "/v1/audio/translations",
        openai.translations,
        "What a recording says, in English. For engines that translate; others refuse.",
        bodies=_bodies(),
        answers=_ANSWERS,
    ),
)
