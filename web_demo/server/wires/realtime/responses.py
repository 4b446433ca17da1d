"""One answer as OpenAI Realtime tells of it: a response with its items, from `response.created` to `response.done`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from web_demo.audio.samples import WIRE_RATE, EncodedAudio
from web_demo.engines.base import ToolCall
from web_demo.errors import InvalidRequest, NothingHeard
from web_demo.server.common.realtime.audio import audio_out
from web_demo.server.common.realtime.events import Event, event, new_id
from web_demo.server.common.realtime.user_events import item_added, item_done
from web_demo.server.wires.realtime.items import Json, arguments_of, assistant_message, function_call, output_audio

BYTES_PER_TOKEN = 4  # of text; estimates, since the models here do not say
USER_TOKENS_PER_S, ANSWER_TOKENS_PER_S = 10, 20  # of sound, as OpenAI counts it
CLIENTS_FAULT = (InvalidRequest.code, NothingHeard.code)


@dataclass(frozen=True)
class Asked:
    """What the client's `response.create` said that comes back; one that nobody asked for has the defaults."""

    explicit: bool = False
    metadata: Mapping[str, str] | None = None
    remember: bool = True
    max_output_tokens: int | None = None  # 0: any number; None: as the session has it


@dataclass
class Response:
    """Of the answer `turn`. `fields` of its `response` object that do not change come from the session."""

    turn: int
    item_id: str  # of its message
    asked: Asked
    speech: bool
    fields: Json
    conversation_id: str
    input_text_bytes: int = 0
    input_s: float = 0.0
    id: str = field(default_factory=lambda: new_id("resp"))
    created: bool = False
    _output: list[Json] = field(default_factory=list)
    _message: int | None = None  # its place in the output
    _previous: str | None = None
    _text: list[str] = field(default_factory=list)
    _samples: int = 0

    def begin(self) -> Iterator[Event]:
        if not self.created:
            self.created = True
            yield event("response.created", response=self._json("in_progress", None))

    def open_message(self, previous: str | None) -> Iterator[Event]:
        """It is about to say something; `previous` is the item before it in the conversation."""
        yield from self.begin()
        if self._message is not None:
            return
        self._message, self._previous = len(self._output), previous
        item = assistant_message(self.item_id, [], "in_progress")
        self._output.append(item)
        yield self._event("response.output_item.added", output_index=self._message, item=item)
        if self.asked.remember:
            yield item_added(item, previous)
        yield self._part("response.content_part.added", part=self._part_json(""))

    def text(self, delta: str) -> Iterator[Event]:
        yield from self.open_message(None)
        self._text.append(delta)
        kind = "response.output_audio_transcript.delta" if self.speech else "response.output_text.delta"
        yield self._part(kind, delta=delta)

    def audio(self, audio: EncodedAudio) -> Iterator[Event]:
        yield from self.open_message(None)
        self._samples += audio.samples
        yield self._part("response.output_audio.delta", delta=audio_out(audio.data))

    def call(self, item_id: str, call: ToolCall, previous: str | None) -> Iterator[Event]:
        yield from self.begin()
        place = len(self._output)
        begun, done = (function_call(item_id, call, status) for status in ("in_progress", "completed"))
        self._output.append(done)
        about = {"item_id": item_id, "output_index": place, "call_id": call.call_id}
        yield self._event("response.output_item.added", output_index=place, item=begun)
        if self.asked.remember:
            yield item_added(begun, previous)
        arguments = arguments_of(call)
        yield self._event("response.function_call_arguments.delta", **about, delta=arguments)
        yield self._event("response.function_call_arguments.done", **about, name=call.name, arguments=arguments)
        yield self._event("response.output_item.done", output_index=place, item=done)
        if self.asked.remember:
            yield item_done(done, previous)

    def completed(self, *, cut: bool = False) -> Iterator[Event]:
        """`cut`: by its `max_output_tokens`."""
        status = "incomplete" if cut else "completed"
        yield from self.begin()
        yield from self._close_message(status, self._whole)
        yield self._done(status, {"type": status, "reason": "max_output_tokens"} if cut else None)

    def cancelled(self, kept: str, reason: str) -> Iterator[Event]:
        """`kept`: what the conversation keeps of its words. Nothing, where nobody was told of it yet."""
        if self.created:
            yield from self._close_message("incomplete", kept)
            yield self._done("cancelled", {"type": "cancelled", "reason": reason})

    def failed(self, message: str, code: str) -> Iterator[Event]:
        yield from self.begin()
        yield from self._close_message("incomplete", self._whole)
        kind = "invalid_request_error" if code in CLIENTS_FAULT else "server_error"
        error = {"type": kind, "code": code, "message": message}
        yield self._done("failed", {"type": "failed", "error": error})

    @property
    def _whole(self) -> str:
        return "".join(self._text)

    def _close_message(self, status: str, kept: str) -> Iterator[Event]:
        if self._message is None:
            return
        if self.speech:
            yield self._part("response.output_audio.done")
            yield self._part("response.output_audio_transcript.done", transcript=self._whole)
        else:
            yield self._part("response.output_text.done", text=self._whole)
        yield self._part("response.content_part.done", part=self._part_json(self._whole))
        content = output_audio(kept) if self.speech else {"type": "output_text", "text": kept}
        item = self._output[self._message] = assistant_message(self.item_id, [content], status)
        yield self._event("response.output_item.done", output_index=self._message, item=item)
        if self.asked.remember:
            yield item_done(item, self._previous)

    def _part_json(self, text: str) -> Json:
        return {"type": "audio", "transcript": text} if self.speech else {"type": "text", "text": text}

    def _event(self, kind: str, **fields: Any) -> Event:
        return event(kind, response_id=self.id, **fields)

    def _part(self, kind: str, **fields: Any) -> Event:
        return self._event(kind, item_id=self.item_id, output_index=self._message, content_index=0, **fields)

    def _done(self, status: str, details: Json | None) -> Event:
        return event("response.done", response=self._json(status, details) | {"usage": self._usage()})

    def _json(self, status: str, details: Json | None) -> Json:
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": list(self._output),
            "conversation_id": self.conversation_id if self.asked.remember else None,
            "output_modalities": ["audio" if self.speech else "text"],
            "metadata": dict(self.asked.metadata) if self.asked.metadata is not None else None,
            "usage": None,
            **self.fields,
        }

    def _usage(self) -> Json:
        """Estimates."""
        text_in = math.ceil(self.input_text_bytes / BYTES_PER_TOKEN)
        audio_in = math.ceil(self.input_s * USER_TOKENS_PER_S)
        text_out = math.ceil(len(self._whole.encode()) / BYTES_PER_TOKEN)
        audio_out_tokens = math.ceil(self._samples / WIRE_RATE * ANSWER_TOKENS_PER_S)
        return {
            "total_tokens": text_in + audio_in + text_out + audio_out_tokens,
            "input_tokens": text_in + audio_in,
            "output_tokens": text_out + audio_out_tokens,
            "input_token_details": {
                "text_tokens": text_in,
                "audio_tokens": audio_in,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out_tokens},
        }
