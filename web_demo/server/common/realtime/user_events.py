"""Server events about what the user says, the same in conversations and in transcriptions. Pure."""

from __future__ import annotations

from typing import Any

from web_demo.errors import ServiceError
from web_demo.server.common.realtime.events import Event, error_fields, event

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def speech_started(item_id: str, at_s: float) -> Event:
    """`at_s` into all sound of the session, where the item begins."""
    return event("input_audio_buffer.speech_started", audio_start_ms=round(at_s * 1000), item_id=item_id)


def speech_stopped(item_id: str, at_s: float) -> Event:
    return event("input_audio_buffer.speech_stopped", audio_end_ms=round(at_s * 1000), item_id=item_id)


def committed(item_id: str, previous_item_id: str | None) -> Event:
    return event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous_item_id)


def cleared() -> Event:
    return event("input_audio_buffer.cleared")


def spoken_item(item_id: str, transcript: str | None = None) -> dict[str, Any]:
    """What the user said, as an item of the conversation."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": transcript}],
    }


def item_added(item: dict[str, Any], previous_item_id: str | None) -> Event:
    return event("conversation.item.added", previous_item_id=previous_item_id, item=item)


def item_done(item: dict[str, Any], previous_item_id: str | None) -> Event:
    return event("conversation.item.done", previous_item_id=previous_item_id, item=item)


def transcript_delta(item_id: str, delta: str) -> Event:
    return event(f"{_TRANSCRIPTION}.delta", item_id=item_id, content_index=0, delta=delta)


def transcript_completed(item_id: str, transcript: str, seconds: float, language: str = "") -> Event:
    """`seconds` of sound that were transcribed; `language` is the code of the one that was heard, where it is known."""
    return event(
        f"{_TRANSCRIPTION}.completed",
        item_id=item_id,
        content_index=0,
        transcript=transcript,
        usage={"type": "duration", "seconds": round(seconds, 3)},
        **({"languages": [{"code": language}]} if language else {}),
    )


def transcript_failed(item_id: str, error: ServiceError) -> Event:
    return event(f"{_TRANSCRIPTION}.failed", item_id=item_id, content_index=0, error=error_fields(error))
