"""The session of a conversation as OpenAI Realtime describes it, and what it means for ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from web_demo.audio.patience import EAGERNESS
from web_demo.audio.vad import PADDING_S
from web_demo.server.common.realtime.events import new_id
from web_demo.server.common.realtime.fields import EventError, Fields
from web_demo.server.common.realtime.session import (
    SERVER_VAD,
    Answering,
    AudioInput,
    AudioOutput,
    answering,
    audio_input,
    audio_output,
    updated,
)
from web_demo.server.conversation.options import AnswerOptions, SessionOptions
from web_demo.server.wires.chat_settings import language_of
from web_demo.server.wires.realtime.items import Json

PCM = {"type": "audio/pcm", "rate": 24_000}
MAX_METADATA, MAX_KEY, MAX_VALUE = 16, 64, 512  # of them; characters


@dataclass(frozen=True)
class Settings:
    """`fields` are what the client is shown; the others are made of them. `begun` are the options that no client changes here."""

    fields: Json
    begun: SessionOptions
    heard: AudioInput
    spoken: AudioOutput
    answering: Answering

    @property
    def options(self) -> SessionOptions:
        turns = self.heard.turn_detection
        told = self.heard.transcription
        return replace(
            self.begun,
            system_prompt=self.answering.instructions,
            turn_detection=turns.rules if turns else None,
            patience=EAGERNESS[turns.eagerness] if turns and turns.type == "semantic_vad" else None,
            prefix_s=turns.prefix_s if turns else PADDING_S,
            language=(language_of(told.language) if told else None) or self.begun.language,
            speech=self.answering.speech,
            voice=self.spoken.voice,
            speed=self.spoken.speed,
            tools=_offered(self.answering),
            tool_choice=_choice(self.answering),
            max_tokens=self.answering.max_output_tokens,
            transcription=told is not None,
            answers_itself=turns is not None and turns.create_response,
            interrupts_itself=turns is None or turns.interrupt_response,
        )

    def updated(self, changes: Fields) -> Settings:
        """With a `session.update`. Raises EventError; then nothing changes."""
        return read(updated(self.fields, changes), self.begun)

    def answer(self, fields: Fields, context: AnswerOptions) -> tuple[AnswerOptions, Answering]:
        """What `response` of a `response.create` says of this answer, on top of `context`; both ways. Raises EventError."""
        own = answering(fields, self.answering)
        tools = "tools" in fields or "tool_choice" in fields
        return replace(
            context,
            system_prompt=own.instructions if fields.data.get("instructions") is not None else None,
            speech=own.speech,
            tools=_offered(own) if tools else None,
            tool_choice=_choice(own) if tools else None,
            max_tokens=own.max_output_tokens if fields.data.get("max_output_tokens") is not None else None,
        ), own


def begun(model: str, language: str, *, paced: bool) -> Settings:
    """Of a new session."""
    fields: Json = {
        "id": new_id("sess"),
        "object": "realtime.session",
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "expires_at": 0,
        "audio": {
            "input": {
                "format": dict(PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": dict(PCM), "voice": "alloy", "speed": 1.0},
        },
    }
    return read(fields, SessionOptions(language=language, buffered=True, paced=paced))


def read(fields: Json, options: SessionOptions) -> Settings:
    """Raises EventError."""
    session = Fields(fields, "session")
    return Settings(fields, options, audio_input(session), audio_output(session), answering(session))


def metadata_of(fields: Fields) -> Mapping[str, str] | None:
    """Of a response; it comes back as it is. Raises EventError."""
    given = fields.object("metadata")
    if given is None:
        return None
    if len(given.data) > MAX_METADATA:
        fields.refuse("metadata", f"an object of at most {MAX_METADATA} fields", f"{len(given.data)}")
    for key in given.data:
        if len(key) > MAX_KEY:
            raise EventError(f"a key of metadata has at most {MAX_KEY} characters", param=fields.full("metadata"))
        given.text(key, most=MAX_VALUE)
    return dict(given.data)


def _offered(own: Answering) -> tuple[Mapping[str, Any], ...]:
    return () if own.tool_choice == "none" else own.tools


def _choice(own: Answering) -> str:
    """As in TurnRequest."""
    if isinstance(own.tool_choice, str):
        return "required" if own.tool_choice == "required" else ""
    name = own.tool_choice.get("name")
    return name if isinstance(name, str) else ""
