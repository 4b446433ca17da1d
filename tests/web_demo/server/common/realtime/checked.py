"""Server events, held against the types of the `openai` package."""

from __future__ import annotations

from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

_TYPES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """The event itself. Raises pydantic's ValidationError about one that OpenAI's client does not know so."""
    assert isinstance(event.get("event_id"), str)
    _TYPES.validate_python(event)
    return event
