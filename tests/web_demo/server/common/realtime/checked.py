"""Server events, held against the types of the `openai` package."""

from __future__ import annotations

from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

_UNION, *_ = get_args(RealtimeServerEvent)
_TYPES: dict[str, type[BaseModel]] = {get_args(one.model_fields["type"].annotation)[0]: one for one in get_args(_UNION)}


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """The event itself. Raises pydantic's ValidationError about one that OpenAI's client does not know so."""
    assert isinstance(event.get("event_id"), str)
    _TYPES[event["type"]].model_validate(event)
    return event
