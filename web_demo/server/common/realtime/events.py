"""The envelopes of OpenAI Realtime: what a client's message holds, and what goes back to it. Pure.

https://developers.openai.com/api/reference/resources/realtime (read in 2026); its types are `openai.types.realtime`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any, NoReturn

from web_demo.errors import InvalidRequest, ServiceError
from web_demo.server.common.realtime.fields import EventError, Fields

MAX_EVENT_BYTES = 8 << 20  # two minutes of sound
MAX_PARTS = 20_000  # commas and brackets: base64 has none, and other events have few
MAX_DEPTH = 32  # of objects and lists in one another
MAX_EVENT_ID = 512  # characters; it is sent back

Event = dict[str, Any]  # a message to a client


@dataclass(frozen=True)
class ClientEvent:
    type: str
    event_id: str | None  # the client's own
    fields: Fields


def read(message: str | bytes) -> ClientEvent:
    """One message of a client. Raises EventError, with the client's `event_id` where there is one; about what would be too much to
    read, before any work on it."""
    if isinstance(message, str):
        message = message.encode()
    _require_reasonable(message)
    try:
        data = json.loads(message, parse_constant=_no_number)
        _require_flat(data, MAX_DEPTH)
        if b"\\u" in message:
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # "\ud800" is JSON, but no text: it could not be sent back
        raise EventError("the message holds half a character (an unpaired surrogate)", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise EventError(f"the message is not JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(data, dict):
        raise EventError("an event is a JSON object with a 'type'", code="invalid_json")
    given = data.get("event_id")
    event_id = given if isinstance(given, str) and len(given) <= MAX_EVENT_ID else None
    fields = Fields(data)
    try:
        if given is not None and event_id is None:
            fields.refuse("event_id", f"a string of at most {MAX_EVENT_ID} characters")
        return ClientEvent(fields.text("type"), event_id, fields)
    except EventError as error:
        error.event_id = event_id
        raise


def event(kind: str, /, **fields: Any) -> Event:
    """A server event of this type, with an id of its own."""
    return {"type": kind, "event_id": new_id("event"), **fields}


def error_event(error: ServiceError, event_id: str | None = None) -> Event:
    """`event_id`: that of the client's event which this is the answer to, if it is one to any."""
    given = error.event_id if isinstance(error, EventError) else None
    return event("error", error=error_fields(error) | {"event_id": event_id or given})


def error_fields(error: ServiceError) -> dict[str, Any]:
    """`type`, `code`, `message` and `param`, as in an error event and in a transcription that failed."""
    return {
        "type": "invalid_request_error" if isinstance(error, InvalidRequest) or error.status < 500 else "server_error",
        "code": error.code,
        "message": error.message,
        "param": error.param if isinstance(error, EventError) else None,
    }


def unknown_event(asked: ClientEvent, known: tuple[str, ...]) -> EventError:
    return EventError(
        f"unknown event type {asked.type[:80]!r}; there are {', '.join(known)}", code="unknown_event", param="type"
    )


def text_of(sent: Event) -> str:
    """A server event as it goes out."""
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":"))


def new_id(kind: str) -> str:
    """An id such as `item_…`, that nobody guesses."""
    return f"{kind}_{secrets.token_hex(10)}"


def _require_reasonable(message: bytes) -> None:
    if len(message) > MAX_EVENT_BYTES:
        raise EventError(
            f"the event has {len(message)} bytes; at most {MAX_EVENT_BYTES} are taken", code="event_too_large"
        )
    if sum(message.count(mark) for mark in (b",", b"[", b"{")) > MAX_PARTS:
        raise EventError("the event has too many parts", code="event_too_large")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _require_flat(value: object, depth: int) -> None:
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"more than {MAX_DEPTH} objects and lists in one another")
        for inner in value.values() if isinstance(value, dict) else value:
            _require_flat(inner, depth - 1)
